//! Whether the tag still names what it named, and whether the digest is new. A moved tag starts its soak again; an old
//! digest under a newer name is refused: that is how a known-bad image is brought back.

use crate::gate::{Subject, Verdict, Word};
use crate::image::Tag;
use crate::reason::Reason;
use crate::text;
use crate::version::Version;

/// Passes where the digest is new under this tag.
pub fn judge(subject: &Subject<'_>) -> Verdict {
    let Some(digest) = subject.digest else {
        return Verdict::skipped(Reason::LedgerClean);
    };
    let version = Version::parse(subject.tag.as_str());
    // A floating name (`latest`) goes with every release: only a version can be older.
    let is_older = |name: &&Tag| {
        let name = Version::parse(name.as_str());
        name.is_some() && name < version
    };
    let older = subject.ledger.other_names(subject.tag, digest).find(is_older);
    if let Some(older) = older {
        return Verdict::new(
            Word::Fail,
            Reason::RetaggedDigest,
            "a new build under a new tag",
            format!("the digest of {older}"),
        )
        .hint("Publish a new build, or delete the tag.");
    }
    match subject.ledger.moved_from(subject.tag, digest) {
        Some(before) => Verdict::new(
            Word::Pass,
            Reason::TagMoved,
            "the tag to keep its content",
            format!(
                "pushed again: {} since {}, {} now; its soak started again",
                before.digest.short(),
                text::instant(before.first_seen),
                digest.short()
            ),
        ),
        None => Verdict::new(Word::Pass, Reason::LedgerClean, "a new digest", "a new digest"),
    }
}
