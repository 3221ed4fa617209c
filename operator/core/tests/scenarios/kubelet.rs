//! Pods whose behaviour depends on their image: when they are Ready, when they end, how the kubelet restarts them.
//!
//! The first restart comes at once, the second after 10 s, then the pause doubles up to 300 s, as the kubelet does it. Who
//! creates and removes pods: `native.rs`.

use jiff::{SignedDuration, Timestamp};
use rollforward_core::image::Digest;
use rollforward_core::workload::{ContainerState, Pod, Termination};

use crate::build;

/// What an image does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Ready this long after its start, and for ever.
    Good(SignedDuration),
    /// Ends with this exit code, this long after each start; Ready until then where that is long.
    Crash(i32, SignedDuration),
    /// Killed for memory, 2 s after each start.
    Oom,
    /// Runs and is never Ready.
    NeverReady,
    /// The node does not find it.
    Missing,
    /// It names no program: no container can be made of it.
    NoCommand,
}

impl Behaviour {
    /// Reads `good 20s`, `crash 78`, `crash 78 after 5m`, `oom`, `never-ready`, `missing`, `no-command`; nothing is `good 3s`.
    pub fn parse(words: &[&str]) -> Self {
        match words {
            [] | ["good"] => Self::Good(SignedDuration::from_secs(3)),
            ["good", after] => Self::Good(build::duration(after)),
            ["crash", code] => Self::Crash(code.parse().unwrap(), SignedDuration::from_secs(1)),
            ["crash", code, "after", after] => Self::Crash(code.parse().unwrap(), build::duration(after)),
            ["oom"] => Self::Oom,
            ["never-ready"] => Self::NeverReady,
            ["missing"] => Self::Missing,
            ["no-command"] => Self::NoCommand,
            _ => panic!("unknown behaviour: {words:?}"),
        }
    }

    fn ready_after(&self) -> Option<SignedDuration> {
        match self {
            Self::Good(after) => Some(*after),
            Self::Crash(_, after) if SignedDuration::from_secs(5) < *after => {
                Some(SignedDuration::from_secs(3))
            }
            Self::Crash(..) | Self::Oom | Self::NeverReady | Self::Missing | Self::NoCommand => None,
        }
    }

    fn ends_after(&self) -> Option<SignedDuration> {
        match self {
            Self::Crash(_, after) => Some(*after),
            Self::Oom => Some(SignedDuration::from_secs(2)),
            Self::Good(_) | Self::NeverReady | Self::Missing | Self::NoCommand => None,
        }
    }

    fn end(&self, at: Timestamp) -> Termination {
        match self {
            Self::Oom => build::ended(137, "OOMKilled", "", at),
            Self::Crash(code, _) => build::ended(*code, "Error", "", at),
            Self::Good(_) | Self::NeverReady | Self::Missing | Self::NoCommand => {
                build::ended(0, "Completed", "", at)
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Life {
    Running(Timestamp),
    BackOff(Timestamp),
    Pulling,
}

/// One simulated pod.
#[derive(Debug, Clone)]
pub struct SimPod {
    pub name: String,
    pub owner: String,
    pub image: String,
    pub ready_since: Option<Timestamp>,
    pub node: String,
    uid: String,
    created_at: Timestamp,
    digest: Digest,
    behaviour: Behaviour,
    life: Life,
    restarts: i32,
    last_end: Option<Termination>,
}

impl SimPod {
    /// A pod that was just bound to a node.
    pub fn new(
        (name, owner, node): (String, String, String),
        image: String,
        (digest, behaviour): (Digest, Behaviour),
        now: Timestamp,
    ) -> Self {
        let starts = ![Behaviour::Missing, Behaviour::NoCommand].contains(&behaviour);
        let life = if starts { Life::Running(now) } else { Life::Pulling };
        let uid = format!("{name}-{now}");
        Self {
            name,
            uid,
            owner,
            image,
            ready_since: None,
            node,
            created_at: now,
            digest,
            behaviour,
            life,
            restarts: 0,
            last_end: None,
        }
    }

    /// How a run of it ends; `None` where it does not.
    pub fn exit_code(&self) -> Option<i32> {
        crate::cron::exit_code(&self.behaviour)
    }

    /// Whether it stays Ready for ever.
    pub fn is_good(&self) -> bool {
        matches!(self.behaviour, Behaviour::Good(_))
    }

    /// The kubelet tries a missing image again; tells whether it is there now.
    pub fn retry(&mut self, pull: crate::native::Pull<'_>, now: Timestamp) -> bool {
        let (digest, behaviour) =
            if matches!(self.life, Life::Pulling) { pull(&self.image) } else { return false };
        let found = ![Behaviour::Missing, Behaviour::NoCommand].contains(&behaviour);
        if found {
            (self.digest, self.behaviour, self.life) = (digest, behaviour, Life::Running(now));
        }
        found
    }

    /// Lets time pass; tells whether anything changed.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        loop {
            match self.life {
                Life::Running(since) => {
                    let end = self.behaviour.ends_after().map(|after| since + after);
                    if let Some(at) = end.filter(|at| *at <= now) {
                        self.end(at);
                        changed = true;
                        continue;
                    }
                    let ready = self.behaviour.ready_after().map(|after| since + after);
                    if let Some(at) = ready.filter(|at| *at <= now && self.ready_since.is_none()) {
                        self.ready_since = Some(at);
                        changed = true;
                    }
                    return changed;
                }
                Life::BackOff(until) if until <= now => {
                    self.restarts += 1;
                    self.life = Life::Running(until);
                    changed = true;
                }
                Life::BackOff(_) | Life::Pulling => return changed,
            }
        }
    }

    fn end(&mut self, at: Timestamp) {
        self.ready_since = None;
        self.last_end = Some(self.behaviour.end(at));
        if self.restarts == 0 {
            self.restarts = 1;
            self.life = Life::Running(at);
        } else {
            let pause = 10_i64.saturating_mul(1 << (self.restarts - 1).min(5)).min(300);
            self.life = Life::BackOff(at + SignedDuration::from_secs(pause));
        }
    }

    /// When it changes next by itself.
    pub fn next_event(&self) -> Option<Timestamp> {
        match self.life {
            Life::Running(since) => {
                let ready = self.behaviour.ready_after().filter(|_| self.ready_since.is_none());
                let times = [self.behaviour.ends_after(), ready];
                times.into_iter().flatten().map(|after| since + after).min()
            }
            Life::BackOff(until) => Some(until),
            Life::Pulling => None,
        }
    }

    /// As the apiserver shows it.
    pub fn shown(&self) -> Pod {
        let mut pod = build::pod(&self.name, &self.owner, &self.image, self.created_at);
        pod.uid.clone_from(&self.uid);
        pod.node = Some(self.node.clone());
        pod.ready_since = self.ready_since;
        let container = &mut pod.containers[0];
        container.running_digest = Some(self.digest.clone());
        container.ready = self.ready_since.is_some();
        container.restarts = self.restarts;
        container.last_end.clone_from(&self.last_end);
        let waiting =
            |reason: &str, message: String| ContainerState::Waiting { reason: reason.to_owned(), message };
        match self.life {
            Life::Running(since) => container.state = ContainerState::Running { started_at: Some(since) },
            Life::BackOff(_) => {
                container.state =
                    waiting("CrashLoopBackOff", "back-off restarting failed container".to_owned());
            }
            Life::Pulling if self.behaviour == Behaviour::NoCommand => {
                "Pending".clone_into(&mut pod.phase);
                let message =
                    "failed to generate container spec: failed to generate spec: no command specified";
                container.state = waiting("CreateContainerError", message.to_owned());
            }
            Life::Pulling => {
                "Pending".clone_into(&mut pod.phase);
                container.running_digest = None;
                let image = &self.image;
                container.state = waiting(
                    "ErrImagePull",
                    format!(
                        "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
                    ),
                );
            }
        }
        pod
    }
}
