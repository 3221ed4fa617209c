//! One candidate with all that the layers look at.

use crate::evidence::{Answer, Attached, Manifest, Shape};
use crate::image::{Digest, Repository, Tag};
use crate::ledger::{Abandoned, Ledger};
use crate::scan::Scan;
use crate::select::Order;

/// One candidate, as the layers read it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The policy, as commands name it.
    pub policy: &'a str,
    /// Its tag.
    pub tag: &'a Tag,
    /// The digest that the tag names now, where it is known.
    pub digest: Option<&'a Digest>,
    /// What the registry said of the tag; `None` where it was not asked yet.
    pub answer: Option<&'a Answer<Digest>>,
    /// What the registry said of the digest; `None` where it was not asked yet.
    pub manifest: Option<&'a Answer<Manifest>>,
    /// The mirror from which it would be pulled, where there is one, and whether it serves the digest; `None` where it was
    /// not asked yet.
    pub mirror: Option<(&'a Repository, Option<&'a Answer<()>>)>,
    /// The memory of the repository.
    pub ledger: &'a Ledger,
    /// The digest that runs.
    pub running: Option<&'a Digest>,
    /// A version that a person went back from.
    pub left: Option<&'a Abandoned>,
    /// How the policy orders tags.
    pub order: Order<'a>,
    /// The names of the repository, the one that is asked first.
    pub repositories: &'a [String],
    /// What is attached to the digest; `None` where nobody asks, or it was not asked yet.
    pub attached: Option<&'a Answer<Attached>>,
    /// What is attached to the digest that runs, where the candidate is a rebuild of it.
    pub running_attached: Option<&'a Answer<Attached>>,
    /// The shape of the digest.
    pub shape: Option<&'a Shape>,
    /// The shape of the digest that runs.
    pub running_shape: Option<&'a Shape>,
    /// What the repository listed.
    pub scan: Option<&'a Answer<Scan>>,
}

impl<'a> Subject<'a> {
    /// What is attached to the digest, nothing where that was answered.
    ///
    /// # Errors
    /// What was observed instead of an answer.
    pub fn looked(&self) -> Result<Option<&'a Attached>, String> {
        match self.attached {
            Some(Answer::Found(attached)) => Ok(Some(attached)),
            Some(Answer::Absent) => Ok(None),
            Some(Answer::Unknown(unknown)) => Err(unknown.message.clone()),
            None => Err("not asked yet".to_owned()),
        }
    }

    /// Whether the repository has a tag of that version.
    #[must_use]
    pub fn lists_version(&self, version: &str) -> bool {
        let plain = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
        let wanted = plain(version);
        let known = self.ledger.tags.keys().any(|tag| plain(tag.as_str()) == wanted);
        known
            || match self.scan {
                Some(Answer::Found(scan)) => scan.tags.iter().any(|tag| plain(tag) == wanted),
                Some(Answer::Absent | Answer::Unknown(_)) | None => false,
            }
    }
}
