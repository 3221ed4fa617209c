//! Who rolls a workload out in our place, and what they say of it: Argo Rollouts and Flagger.
//!
//! Only what their objects tell, read by the rules of their own controllers. Filled by the controller's observation; what a
//! run does with it is in `rollout/delegated.rs`.

use jiff::{SignedDuration, Timestamp};

use crate::judge::Blame;
use crate::text;

/// Who rolls a workload out in our place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delegate {
    /// Argo Rollouts: the workload is a Rollout, or the Deployment that a Rollout names by `workloadRef`.
    Argo(Box<Argo>),
    /// Flagger: the workload is the target of a Canary.
    Flagger(Box<Flagger>),
    /// Whether there is one could not be read; why, and what to do.
    Unknown(String),
}

/// A Rollout of Argo Rollouts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Argo {
    /// Its name.
    pub name: String,
    /// Its generation, and the one that its status is of; `None` where the status names no number, as it did before 0.10.
    pub generation: (i64, Option<i64>),
    /// With `workloadRef`: the Deployment's generation, and the one that the status is of.
    pub referred: Option<(i64, Option<i64>)>,
    /// `spec.paused`.
    pub is_paused: bool,
    /// `status.phase`.
    pub phase: String,
    /// `status.message`.
    pub message: String,
    /// `status.abort`.
    pub is_aborted: bool,
    /// `status.stableRS`: the hash of the template that serves.
    pub stable: String,
    /// `status.currentPodHash`: the hash of the newest template.
    pub current: String,
    /// `status.pauseConditions`: the first one's reason and beginning.
    pub pause: Option<(String, Option<Timestamp>)>,
    /// `status.controllerPause`.
    pub is_controller_pause: bool,
    /// The step that it is at, and how many there are.
    pub step: Option<(usize, usize)>,
    /// How long the pause of that step lasts; `None` where it waits for a person.
    pub pause_lasts: Option<SignedDuration>,
    /// Its condition `Progressing`.
    pub progressing: Option<Told>,
}

/// A Canary of Flagger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flagger {
    /// Its name.
    pub name: String,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// `spec.suspend`.
    pub is_suspended: bool,
    /// `status.phase`.
    pub phase: String,
    /// `status.failedChecks`: set back to 0 with the verdict.
    pub failed_checks: i64,
    /// `status.lastAppliedSpec`: the hash of the template that it looked at last.
    pub applied: String,
    /// `status.lastPromotedSpec`: the hash of the template that serves.
    pub promoted: String,
    /// Its condition `Promoted`.
    pub condition: Option<Told>,
    /// `status.lastTransitionTime`: moves with every step and every failed check.
    pub moved_at: Option<Timestamp>,
    /// Its newest Warning Event that says more than that it failed; read only after a failure.
    pub warning: Option<String>,
}

/// A condition of a delegate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// When it was updated.
    pub at: Option<Timestamp>,
}

/// What a delegate says of the template that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It is at work; its own words.
    Progressing(String),
    /// It waits: for a time of its own, or for a person, and how that person goes on.
    Paused(String),
    /// The template serves; its own words.
    Passed(String),
    /// It gave the template up, and whose fault that is.
    Failed(String, Blame),
}

impl Delegate {
    /// As sentences name it: `Argo Rollouts (Rollout/web)`.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Delegate::Argo(own) => format!("Argo Rollouts (Rollout/{})", own.name),
            Delegate::Flagger(own) => format!("Flagger (Canary/{})", own.name),
            Delegate::Unknown(_) => "somebody".to_owned(),
        }
    }

    /// What its verdict stands on now. A verdict that still stands on the same is that of the template before.
    #[must_use]
    pub fn mark(&self) -> String {
        let condition = match self {
            Delegate::Argo(own) => own.progressing.as_ref(),
            Delegate::Flagger(own) => own.condition.as_ref(),
            Delegate::Unknown(_) => None,
        };
        condition.map_or_else(String::new, |told| {
            let at = told.at.map_or_else(String::new, text::instant_seconds);
            text::clean(&format!("{} {at}", told.reason), 120)
        })
    }

    /// When it last did something.
    #[must_use]
    pub fn moved_at(&self) -> Option<Timestamp> {
        match self {
            Delegate::Argo(own) => own.progressing.as_ref().and_then(|told| told.at),
            Delegate::Flagger(own) => own.moved_at,
            Delegate::Unknown(_) => None,
        }
    }

    /// Why a new template must not be written now; `None` where it is at rest.
    #[must_use]
    pub fn busy(&self) -> Option<String> {
        match self {
            Delegate::Argo(own) => own.busy(),
            Delegate::Flagger(own) => own.busy(),
            Delegate::Unknown(why) => Some(why.clone()),
        }
    }

    /// What it says of the template that is there, which was written when its verdict stood on `mark`.
    #[must_use]
    pub fn word(&self, mark: &str) -> Word {
        match self {
            Delegate::Argo(own) => own.word(self.mark() == mark),
            Delegate::Flagger(own) => own.word(self.mark() == mark),
            Delegate::Unknown(why) => Word::Progressing(why.clone()),
        }
    }
}

/// A metric that could not be measured aborts as one that failed does; its message tells them apart.
const NOT_MEASURED: &str = "assessed Error";

impl Argo {
    fn is_observed(&self) -> bool {
        let seen = |(wanted, seen): (i64, Option<i64>)| seen.is_none_or(|seen| wanted <= seen);
        seen(self.generation) && self.referred.is_none_or(seen)
    }

    fn told(&self) -> String {
        let words = if self.message.is_empty() {
            String::new()
        } else {
            format!(": {}", self.message.trim_end_matches('.'))
        };
        let phase = if self.phase.is_empty() { "without a phase" } else { self.phase.as_str() };
        text::clean(&format!("Rollout/{} is {phase}{words}", self.name), 300)
    }

    /// Healthy or Degraded, it takes a new template; with an update under way that is not ours it would be overrun.
    fn busy(&self) -> Option<String> {
        if !self.is_observed() {
            return Some(format!("Rollout/{} has not looked at its newest template yet", self.name));
        }
        match self.phase.as_str() {
            "Healthy" if self.is_paused => Some(format!("Rollout/{}: `spec.paused: true`", self.name)),
            "Healthy" | "Degraded" => None,
            "" => Some(format!("Rollout/{} has no phase yet: no controller has looked at it", self.name)),
            _ => Some(self.told()),
        }
    }

    fn word(&self, is_as_before: bool) -> Word {
        if !self.is_observed() {
            return Word::Progressing(format!(
                "Rollout/{} has not looked at the new template yet",
                self.name
            ));
        }
        if self.is_aborted {
            return self.failed();
        }
        match self.phase.as_str() {
            // A verdict that stands on what it stood on before the write is that of the last template.
            "Degraded" if is_as_before => Word::Progressing(self.told()),
            "Degraded" => self.failed(),
            "Paused" if self.is_controller_pause && self.pause.is_none() => Word::Progressing(self.told()),
            "Paused" => Word::Paused(self.paused()),
            "Healthy" if !self.stable.is_empty() && self.stable == self.current => Word::Passed(format!(
                "Rollout/{} is Healthy, and its stable pods are the new ones",
                self.name
            )),
            _ => Word::Progressing(self.told()),
        }
    }

    fn failed(&self) -> Word {
        // Between abort and message the phase may still be another; the condition has the words.
        let own = self.progressing.as_ref().filter(|_| self.phase != "Degraded");
        let words = match own {
            Some(told) => {
                let message = told.message.trim_end_matches('.');
                text::clean(&format!("Rollout/{} aborted: {}: {message}", self.name, told.reason), 300)
            }
            None => self.told(),
        };
        let environment = words.contains(NOT_MEASURED) || self.message.starts_with("InvalidSpec");
        Word::Failed(words, if environment { Blame::Environment } else { Blame::Image })
    }

    fn paused(&self) -> String {
        let name = &self.name;
        let go_on = format!("a person goes on with `kubectl argo rollouts promote {name}`");
        let Some((reason, since)) = &self.pause else {
            return format!("Rollout/{name} is paused by `spec.paused: true`; {go_on}");
        };
        let at = match (reason.as_str(), self.step) {
            ("CanaryPauseStep", Some((step, all))) => {
                format!(" at step {} of {all}", step.saturating_add(1).min(all))
            }
            _ => String::new(),
        };
        let began = since.map_or_else(String::new, |at| format!(" since {}", text::instant_seconds(at)));
        let ends = self.pause_lasts.zip(*since).and_then(|(lasts, since)| since.checked_add(lasts).ok());
        match ends.filter(|_| reason == "CanaryPauseStep" || reason == "BlueGreenPause") {
            Some(ends) => format!(
                "Rollout/{name} is paused{at} ({reason}){began}, by its own plan until {}",
                text::instant_seconds(ends)
            ),
            None => format!("Rollout/{name} is paused{at} ({reason}){began} without an end; {go_on}"),
        }
    }
}

impl Flagger {
    fn told(&self) -> String {
        let failed = match self.failed_checks {
            0 => String::new(),
            1 => ", 1 failed check".to_owned(),
            more => format!(", {more} failed checks"),
        };
        let message = self.condition.as_ref().filter(|told| told.reason == self.phase);
        let words = message
            .filter(|told| !told.message.is_empty())
            .map_or_else(String::new, |told| format!(": {}", told.message));
        let words = text::clean(words.trim_end_matches('.'), 200);
        format!("Canary/{} is {}{failed}{words}", self.name, text::clean(&self.phase, 40))
    }

    /// Written while the primary is made, a template would pass as the one that serves; in mid-analysis it would begin it anew.
    fn busy(&self) -> Option<String> {
        let name = &self.name;
        if self.deleting {
            return Some(format!("Canary/{name} is being deleted"));
        }
        if self.is_suspended {
            return Some(format!("Canary/{name}: `spec.suspend: true`"));
        }
        match self.phase.as_str() {
            "Initialized" | "Succeeded" | "Failed" => None,
            "" => Some(format!("Canary/{name} has no phase yet: no controller has looked at it")),
            _ => Some(self.told()),
        }
    }

    fn word(&self, is_as_before: bool) -> Word {
        if self.is_suspended {
            return Word::Paused(format!(
                "Canary/{} is suspended by `spec.suspend: true`; a person goes on by setting it to false",
                self.name
            ));
        }
        if is_as_before {
            // The phase Failed is written again with the new template before its analysis begins: not of it yet.
            return Word::Progressing(format!(
                "Canary/{} has not begun with the new template; its last word was {}",
                self.name,
                text::clean(&self.phase, 40)
            ));
        }
        match self.phase.as_str() {
            "Waiting" | "WaitingPromotion" => {
                Word::Paused(format!("{}; its confirmation webhook decides when it goes on", self.told()))
            }
            "Succeeded" if self.promoted == self.applied => Word::Passed(self.told()),
            "Failed" => {
                let more = self.warning.as_ref().map_or_else(String::new, |words| {
                    format!("; its last warning: {}", text::clean(words.trim_end_matches('.'), 250))
                });
                Word::Failed(format!("{}{more}", self.told()), Blame::Image)
            }
            _ => Word::Progressing(self.told()),
        }
    }
}
