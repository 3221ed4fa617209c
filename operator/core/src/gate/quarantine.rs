//! Whether the digest has failed here. A failure that a second try may end otherwise is tried once more, at a time that is
//! said; a quarantined digest waits for a person, and a newer one does not wait for it.

use jiff::Timestamp;

use crate::gate::{Subject, Verdict, Word};
use crate::reason::Reason;
use crate::text;

/// Passes where the digest has not failed, or its retry is due. The verdict's reason is the cause of the failure.
pub fn judge(subject: &Subject<'_>, policy: &str, now: Timestamp) -> Verdict {
    let Some(digest) = subject.digest else {
        return Verdict::skipped(Reason::NotQuarantined);
    };
    let Some(failure) = subject.ledger.failures.get(digest) else {
        return Verdict::new(Word::Pass, Reason::NotQuarantined, "no failure here", "no failure here");
    };
    let observed = format!("{}, {} in run {}", failure.message, text::instant(failure.since), failure.run);
    match failure.retry_at {
        Some(retry_at) if now < retry_at => Verdict::new(
            Word::Waiting(retry_at),
            failure.reason,
            "the failed digest to be tried once more",
            observed,
        )
        .hint(format!(
            "Nothing to do; to go sooner: kubectl rollforward retry {policy} {digest}"
        )),
        Some(_) => Verdict::new(Word::Pass, Reason::RetryPending, "the retry to be due", observed),
        None => Verdict::new(
            Word::Fail,
            failure.reason,
            "a digest that has not failed here",
            observed,
        )
        .hint(format!(
            "Publish a newer tag, or: kubectl rollforward release {policy} {digest}. Not retried by itself."
        )),
    }
}
