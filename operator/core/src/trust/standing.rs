//! How a trust decision stands by itself, before any image is judged by it: whether everything that it names can be used. For the
//! status of a VerificationPolicy, so that who writes one reads there what is wrong with it.

use jiff::Timestamp;

use crate::gate::signature;
use crate::reason::Reason;
use crate::text;
use crate::trust::merge::RootState;
use crate::trust::{Authority, Decision, Effective, Means, Origin, Roots, Unreadable};

/// How long the sentence may be, characters.
const MAX_MESSAGE: usize = 1000;

/// The condition `Ready` of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a standing that nobody publishes leaves the security team in the dark"]
pub struct Standing {
    /// `None` where the apiserver gave no answer: nothing is concluded.
    pub is_ready: Option<bool>,
    /// The code.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

/// How a decision stands. `rules` are those of its rules that cannot be run: the type of the statement, and why.
pub fn standing(decision: &Decision, roots: &Roots, rules: &[(String, String)], now: Timestamp) -> Standing {
    let effective = Effective { decisions: vec![decision], roots, soak_unsigned: Default::default() };
    let authorities = decision.authorities.iter();
    let lacking = authorities.filter_map(|one| {
        let told = signature::unusable(decision, one, effective.usable(one, now).err()?)?;
        // The object itself is at fault, and there is nothing in it to name.
        let object = match &one.means {
            Means::Unreadable { why: Unreadable::Object(reason, _) } => Some(*reason),
            Means::Unreadable { .. } | Means::Key { .. } | Means::Keyless { .. } => None,
        };
        Some((one.name.as_str(), object, told))
    });
    let lacking: Vec<_> = lacking.collect();
    let silent = lacking.iter().find(|(_, _, told)| told.reason == Reason::AuthorityUnknown);
    if let Some((_, _, told)) = silent {
        let said = format!("expected {}, observed {}. {}", told.expected, told.observed, told.hint);
        return said_as(None, told.reason, &said);
    }
    if let Some((name, object, told)) = lacking.first() {
        let about =
            if object.is_some() { String::new() } else { format!("authority {name} cannot be asked: ") };
        let n_usable = decision.authorities.len().saturating_sub(lacking.len());
        let rest = consequence(decision, n_usable, lacking.len(), object.is_some());
        let said =
            format!("{about}expected {}, observed {}. {}{rest}", told.expected, told.observed, told.hint);
        return said_as(Some(false), object.unwrap_or(told.reason), &said);
    }
    if let Some((kind, why)) = rules.first() {
        let said = format!(
            "expected a rule over {} that can be run, observed {}. Correct it; until then no statement satisfies it, and nothing that it is about moves.",
            text::clean(kind, 120),
            text::clean(why, 200)
        );
        return said_as(Some(false), Reason::RuleNotRun, &said);
    }
    said_as(Some(true), Reason::Usable, &account(decision, roots))
}

fn said_as(is_ready: Option<bool>, reason: Reason, said: &str) -> Standing {
    Standing { is_ready, reason, message: text::clean(&format!("{reason}: {said}"), MAX_MESSAGE) }
}

/// What it means for images that an authority cannot be asked.
fn consequence(decision: &Decision, n_usable: usize, n_lacking: usize, is_object: bool) -> String {
    if is_object {
        return String::new(); // said already
    }
    let others = match n_lacking.saturating_sub(1) {
        0 => String::new(),
        1 => " Another authority cannot be asked either.".to_owned(),
        n => format!(" {n} other authorities cannot be asked either."),
    };
    let then = if decision.allows_unsigned() {
        "Unsigned images are allowed: until then images count as unsigned."
    } else if decision.require <= n_usable {
        "Until then the other authorities have to sign."
    } else {
        "Until then nothing that it is about moves; nothing is rolled back by this."
    };
    format!("{others} {then}")
}

/// What it asks for, in a line that changes only with the decision and its roots.
fn account(decision: &Decision, roots: &Roots) -> String {
    let about = match decision.repositories.as_slice() {
        [] => "all repositories".to_owned(),
        patterns => text::clean(&patterns.join(", "), 200),
    };
    if decision.authorities.is_empty() {
        let unsigned = if decision.allows_unsigned() { "may run" } else { "are denied" };
        return format!("about {about}; no authority, unsigned images {unsigned}.");
    }
    let named: Vec<String> = decision.authorities.iter().map(|one| by(one, roots)).collect();
    format!("about {about}; signed by {} of: {}.", decision.require, named.join(", "))
}

fn by(authority: &Authority, roots: &Roots) -> String {
    let name = &authority.name;
    match &authority.means {
        Means::Key { .. } | Means::Unreadable { .. } => format!("{name} (key)"),
        Means::Keyless { root, .. } => {
            let ends = roots.get(root).and_then(|root| root.expires);
            let ends = ends.map_or(String::new(), |at| format!(", ends {}", text::instant(at)));
            format!("{name} (TrustRoot {root}{ends})")
        }
    }
}

impl<'a> Effective<'a> {
    /// Whether an authority can be asked at all.
    ///
    /// # Errors
    /// Why not.
    pub fn usable(
        &self,
        authority: &'a Authority,
        now: Timestamp,
    ) -> Result<(), super::signers::Missing<'a>> {
        use super::signers::Missing;
        match &authority.means {
            Means::Unreadable { why } => Err(Missing::KeyUnreadable(why)),
            Means::Keyless { root, .. } => match self.root(root, now) {
                RootState::Missing => Err(Missing::NoRoot(root)),
                RootState::Unreadable(why) => Err(Missing::RootUnreadable(root, why)),
                RootState::Expired(at) => Err(Missing::RootExpired(root, at)),
                RootState::Usable(_) => Ok(()),
            },
            Means::Key { .. } => Ok(()),
        }
    }
}

/// The standing of an object that cannot be read as a decision at all.
pub fn unreadable(name: &str, why: &str) -> Standing {
    let origin = Origin::VerificationPolicy(name.to_owned());
    let needed = super::unreadable::Needed::Key { authority: "", origin: &origin };
    let fault = Unreadable::Object(Reason::Unreadable, why.to_owned());
    let (expected, observed, hint) = (fault.expected(needed), fault.observed(), fault.hint(needed));
    said_as(Some(false), Reason::Unreadable, &format!("expected {expected}, observed {observed}. {hint}"))
}
