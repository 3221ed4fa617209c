//! The trust ledger: how much the evidence together speaks for a candidate, in decibans (ten times the decimal logarithm of a
//! likelihood ratio). Lower is safer. It is printed; where somebody asks for it it gates, and then can only add delay.
//!
//! The weights and their sources are a table of the public documentation (`docs/verification.md`). Times ten, in integers: the
//! same evidence gives the same number everywhere.

use jiff::{SignedDuration, Timestamp};

use crate::gate::{Layer, Verdict, Word};
use crate::reason::Reason;
use crate::text;

/// One bad candidate in a thousand, before anything is known.
pub const PRIOR: i32 = -300;
/// What a signed candidate needs to start. The canary's own weight (1 dB) counts only afterwards, so this is 1 dB looser than
/// what a routine update is worth (-46 dB).
pub const NEEDED_SIGNED: i32 = -450;
/// What an unsigned one needs to start.
pub const NEEDED_UNSIGNED: i32 = -410;
/// How long undetected, and what that is worth: from 14 public incidents, publication to removal.
pub const TIME: [(SignedDuration, i32); 5] = [
    (SignedDuration::from_hours(6), 30),
    (SignedDuration::from_hours(12), 52),
    (SignedDuration::from_hours(72), 63),
    (SignedDuration::from_hours(120), 78),
    (SignedDuration::from_hours(336), 100),
];

/// What speaks for a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// By family: what it was made from, and its weight times ten; positive speaks for the candidate.
    pub entries: Vec<(&'static str, String, i32)>,
    /// The sum, times ten.
    pub total: i32,
    /// What is needed, times ten.
    pub needed: i32,
    /// When time alone makes it enough; `None` where it does not.
    pub enough_at: Option<Timestamp>,
}

/// What the score reads beside the layers' words.
#[derive(Debug, Clone, Copy)]
pub struct Witness {
    /// Whether enough authorities signed.
    pub signed: bool,
    /// How many of them, counted by identity.
    pub n_signers: usize,
    /// The sum of what is different from what runs, times ten; `None` where it could not be compared.
    pub shape: Option<i32>,
    /// When the digest was first seen here.
    pub first_seen: Option<Timestamp>,
    /// Whether all who vouch are new to a repository whose signers are known.
    pub newly_signed: bool,
    /// In how many other namespaces a run of the digest succeeded.
    pub n_elsewhere: usize,
}

/// What each other namespace is worth in which the digest runs well, and all of them together at most. Not their names: a
/// tenant learns a number.
const CROWD: (i32, i32) = (5, 20);

/// Adds up.
#[must_use]
pub fn score(verdicts: &[(Layer, Verdict)], witness: Witness, now: Timestamp) -> Score {
    let passes = |layer: Layer, reason: Reason| {
        verdicts.iter().any(|(one, verdict)| *one == layer && verdict.passes() && verdict.reason == reason)
    };
    let weight = |holds: bool, weight: i32| if holds { weight } else { 0 };
    let papers = weight(witness.signed, 40)
        .saturating_add(weight(witness.signed && passes(Layer::Log, Reason::LogProofPresent), 10))
        .saturating_add(weight(passes(Layer::Provenance, Reason::AttestationVerified), 20))
        .saturating_add(weight(1 < witness.n_signers, 20))
        .min(60);
    let moved = verdicts.iter().any(|(_, verdict)| verdict.reason == Reason::TagMoved);
    let meaning = weight(passes(Layer::Binding, Reason::VersionBound), 20)
        .saturating_add(weight(passes(Layer::Ledger, Reason::LedgerClean), 10))
        .min(30);
    let shape = witness.shape.map_or(0, |sum| if sum == 0 { 20 } else { sum.max(-100) });
    let age = witness.first_seen.map_or(SignedDuration::ZERO, |seen| now.duration_since(seen));
    let time = TIME.iter().rev().find(|(least, _)| *least <= age).map_or(0, |(_, weight)| *weight);
    let against: Vec<&str> = [(moved, "tag moved"), (witness.newly_signed, "identity newly seen")]
        .iter()
        .filter_map(|(holds, words)| holds.then_some(*words))
        .collect();
    let negative = weight(moved, -80).saturating_add(weight(witness.newly_signed, -30));
    let (each, most) = CROWD;
    let namespaces = if witness.n_elsewhere == 1 { "namespace" } else { "namespaces" };
    let crowd = i32::try_from(witness.n_elsewhere).unwrap_or(most).saturating_mul(each).min(most);
    let entries = vec![
        ("papers", "signature, log, provenance, second authority".to_owned(), papers),
        ("meaning", "version bound, ledger clean".to_owned(), meaning),
        ("shape", "compared with what runs".to_owned(), shape),
        ("time", format!("known for {}", text::span(age)), time),
        ("crowd", format!("healthy in {} other {namespaces}", witness.n_elsewhere), crowd),
        ("negative", against.join(", "), negative),
    ];
    let sum = |time: i32| {
        let others: i32 =
            entries.iter().filter(|(family, _, _)| *family != "time").map(|(_, _, weight)| *weight).sum();
        PRIOR.saturating_sub(others).saturating_sub(time)
    };
    let needed = if witness.signed { NEEDED_SIGNED } else { NEEDED_UNSIGNED };
    let enough = TIME.iter().find(|(_, weight)| sum(*weight) <= needed).map(|(least, _)| *least);
    let enough = if sum(0) <= needed { Some(SignedDuration::ZERO) } else { enough };
    let enough_at = enough.and_then(|least| witness.first_seen?.checked_add(least).ok());
    let total = sum(time);
    Score { entries, total, needed, enough_at }
}

/// `-41.2`.
#[must_use]
pub fn decibans(tenths: i32) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let (whole, tenth) = (tenths.unsigned_abs().checked_div(10), tenths.unsigned_abs().checked_rem(10));
    format!("{sign}{}.{}", whole.unwrap_or_default(), tenth.unwrap_or_default())
}

impl Score {
    /// Its parts in one line: `-41.0 dB, needed -45.0: papers 6.0, meaning 3.0, shape 2.0, time 0.0`. What is not always
    /// there is told in words: `negative -3.0 (identity newly seen)`.
    #[must_use]
    pub fn line(&self) -> String {
        let seldom = |family: &str| matches!(family, "negative" | "crowd");
        let parts: Vec<String> = self
            .entries
            .iter()
            .filter(|(family, _, weight)| !seldom(family) || *weight != 0)
            .map(|(family, words, weight)| {
                let words = if seldom(family) { format!(" ({words})") } else { String::new() };
                format!("{family} {}{words}", decibans(*weight))
            })
            .collect();
        format!(
            "{} dB, needed {} (lower is safer): {}",
            decibans(self.total),
            decibans(self.needed),
            parts.join(", ")
        )
    }

    /// What it says as a layer.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        let expected = format!("{} dB in the trust ledger", decibans(self.needed));
        let observed = format!("{} dB", decibans(self.total));
        if self.total <= self.needed {
            return Verdict::new(Word::Pass, Reason::TrustEnough, expected, observed);
        }
        let short = format!("{observed}, short by {}", decibans(self.total.saturating_sub(self.needed)));
        match self.enough_at {
            Some(at) if now < at => Verdict::new(Word::Waiting(at), Reason::TrustShort, expected, short)
                .hint("Nothing to do; time adds to it."),
            Some(_) | None => Verdict::new(Word::Fail, Reason::TrustShort, expected, short).hint(
                "Time alone does not suffice: sign it, bind its version, or set `trustLedger: Report`.",
            ),
        }
    }
}
