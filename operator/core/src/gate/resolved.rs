//! Whether the tag names a digest now, and whether the mirror serves it, where the image is pulled from one. The tag is
//! resolved once; from here on only the digest counts.

use crate::evidence::Answer;
use crate::gate::{SILENCE, Subject, Verdict, Word};
use crate::image::Digest;
use crate::reason::Reason;

/// Passes where the registry names a digest and its manifest is one that can be run.
pub fn judge(subject: &Subject<'_>) -> Verdict {
    match (subject.answer, subject.manifest) {
        (Some(Answer::Unknown(unknown)), _) | (_, Some(Answer::Unknown(unknown))) => {
            Verdict::new(Word::Unknown, unknown.reason, "the manifest of the tag", unknown.message.clone())
                .hint(SILENCE)
        }
        (Some(Answer::Absent), _) | (_, Some(Answer::Absent)) => Verdict::new(
            Word::Absent,
            Reason::TagGone,
            "the listed tag to exist",
            "the registry has no manifest for it",
        )
        .hint("Push it again, or ignore it; the workload stays."),
        (Some(Answer::Found(digest)), Some(Answer::Found(_))) => served(subject, digest),
        (Some(Answer::Found(_)) | None, None) | (None, Some(Answer::Found(_))) => Verdict::new(
            Word::Unknown,
            Reason::RegistryUnavailable,
            "the manifest of the tag",
            "not asked yet",
        ),
    }
}

/// Passes where there is no mirror, or where it serves the digest that was found at the source.
fn served(subject: &Subject<'_>, digest: &Digest) -> Verdict {
    let pass = || Verdict::new(Word::Pass, Reason::Resolved, "a digest", digest.short());
    let Some((mirror, answer)) = subject.mirror else { return pass() };
    let expected = format!("the mirror {mirror} to serve the digest");
    match answer {
        Some(Answer::Found(())) => pass(),
        Some(Answer::Absent) => {
            Verdict::new(Word::Absent, Reason::MirrorLacksDigest, expected, "it has no manifest for it")
                .hint("Copy the image there; tried again by itself.")
        }
        Some(Answer::Unknown(unknown)) => {
            Verdict::new(Word::Unknown, unknown.reason, expected, unknown.message.clone()).hint(SILENCE)
        }
        None => Verdict::new(Word::Unknown, Reason::RegistryUnavailable, expected, "not asked yet"),
    }
}
