//! What outside systems said, in three values, and the facts on a digest that layers read.
//!
//! `Unknown` is never `Absent`, and `Absent` is never a pass: a timeout is not an absence, and a registry that answers
//! 429 has not said that there is nothing. Who asks: the controller's `gather.rs`. Who judges: `gate.rs`.

pub mod attached;
pub mod shape;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use attached::{
    Attached, Budget, Content, Fault, FaultKind, Item, Place, Provenance, Questions, RuleAnswer, Signer,
    Verifier,
};
pub use shape::Shape;

use crate::image::Digest;
use crate::reason::Reason;

/// What an outside system said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It has it, and this is it.
    Found(T),
    /// It answered, and does not have it.
    Absent,
    /// It did not answer, or not in a way that can be believed.
    Unknown(Unknown),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The cause, as the user reads it.
    pub reason: Reason,
    /// What was observed: raw, cleaned where it is shown.
    pub message: String,
    /// When to ask again, where the other side said so (`Retry-After`).
    pub retry_at: Option<Timestamp>,
}

impl<T> Answer<T> {
    /// Applies a function to what was found.
    pub fn map<U>(self, function: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Found(found) => Answer::Found(function(found)),
            Answer::Absent => Answer::Absent,
            Answer::Unknown(unknown) => Answer::Unknown(unknown),
        }
    }

    /// The same answer, borrowed.
    pub fn as_ref(&self) -> Answer<&T> {
        match self {
            Answer::Found(found) => Answer::Found(found),
            Answer::Absent => Answer::Absent,
            Answer::Unknown(unknown) => Answer::Unknown(unknown.clone()),
        }
    }
}

/// An operating system and an architecture, as nodes and image indexes name them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// For example `linux`.
    pub os: String,
    /// For example `amd64`.
    pub architecture: String,
    /// For example `v7` of `arm`. Images name it, nodes do not: the kubelet reports none.
    pub variant: Option<String>,
}

impl Platform {
    /// An operating system and an architecture.
    #[must_use]
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self { os: os.into(), architecture: architecture.into(), variant: None }
    }

    /// The same with a variant.
    #[must_use]
    pub fn with_variant(self, variant: impl Into<String>) -> Self {
        Self { variant: Some(variant.into()), ..self }
    }

    /// Whether an image for this platform runs on a node of that one.
    ///
    /// Lenient where one side names no variant: a node never does, so an image for `arm/v7` alone is believed to run on an
    /// `arm` node; the canary shows where it does not. Where both name one, a lower one runs on a higher node.
    #[must_use]
    pub fn serves(&self, node: &Platform) -> bool {
        let number = |variant: &str| variant.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
        let variant = match (&self.variant, &node.variant) {
            (Some(own), Some(nodes)) => match (number(own), number(nodes)) {
                (Some(own), Some(nodes)) => own <= nodes,
                _ => own == nodes,
            },
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        self.os == node.os && self.architecture == node.architecture && variant
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

/// What refers to an image in its registry: signatures, attestations, SBOMs. What they are worth is not said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrers {
    /// At most as many as the operator looks at, in the registry's order.
    pub listed: Vec<Referrer>,
    /// How many more there were, at least: whoever finds nothing among those listed has not seen everything.
    pub n_more: usize,
}

/// One thing that refers to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its manifest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// What it is, where the registry says so.
    pub artifact_type: Option<String>,
    /// The size of the manifest in bytes, as the registry says.
    pub size_bytes: u64,
}

/// What a manifest says about the platforms it serves, and of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of the manifest or index that the tag named: what is written and pinned.
    pub digest: Digest,
    /// The platforms it can run on. Empty where a single image's config named none.
    pub platforms: BTreeSet<Platform>,
    /// The version that it gives itself: `org.opencontainers.image.version`, of its annotations or its config's labels.
    pub version: Option<String>,
    /// The first image of an index that gives no version: its labels may.
    pub child: Option<Digest>,
    /// The images of an index, by platform.
    pub images: BTreeMap<Platform, Digest>,
    /// The shape of a single image; of an index each image has its own.
    pub shape: Option<Shape>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_counts_only_where_both_sides_name_one() {
        let check = |image: &str, node: &str, expected: bool| {
            let platform = |text: &str| {
                let mut parts = text.split('/').map(str::to_owned);
                let named = Platform::new(parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                Platform { variant: parts.next(), ..named }
            };
            assert_eq!(platform(image).to_string(), image);
            assert_eq!(platform(image).serves(&platform(node)), expected, "{image} on {node}");
        };
        check("linux/arm64/v8", "linux/arm64", true);
        check("linux/arm64", "linux/arm64", true);
        check("linux/arm/v7", "linux/arm", true);
        check("linux/arm/v6", "linux/arm/v7", true);
        check("linux/arm/v7", "linux/arm/v6", false);
        check("linux/arm/v10", "linux/arm/v9", false);
        check("linux/arm", "linux/arm/v6", true);
        check("linux/x/hard", "linux/x/soft", false);
        check("linux/arm/v7", "linux/arm64", false);
        check("windows/amd64", "linux/amd64", false);
    }
}
