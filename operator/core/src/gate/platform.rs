//! Whether the image runs on every platform of the nodes in use. An image that names no platform at all is believed: the
//! kubelet will say otherwise, and the canary will show it.

use std::collections::BTreeSet;

use crate::evidence::{Answer, Platform};
use crate::gate::{Subject, Verdict, Word};
use crate::reason::Reason;
use crate::text;

/// Passes where every platform of the nodes is served.
pub fn judge(subject: &Subject<'_>, nodes: &BTreeSet<Platform>) -> Verdict {
    let Some(Answer::Found(manifest)) = subject.manifest else {
        return Verdict::skipped(Reason::PlatformPresent);
    };
    let missing: Vec<String> = nodes
        .iter()
        .filter(|node| {
            !manifest.platforms.is_empty() && !manifest.platforms.iter().any(|image| image.serves(node))
        })
        .map(Platform::to_string)
        .collect();
    let wanted = nodes.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ");
    if missing.is_empty() {
        return Verdict::new(Word::Pass, Reason::PlatformPresent, wanted.clone(), wanted);
    }
    let offered = manifest.platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ");
    Verdict::new(
        Word::Fail,
        Reason::PlatformMissing,
        format!("an image for {wanted}"),
        format!("only {}", text::clean(&offered, 100)),
    )
    .hint(format!("Publish it for {}.", missing.join(", ")))
}
