//! A manifest or index that a stranger wrote: read as far as it could be evidence, and never more of it kept than is looked at.
//!
//! A mebibyte holds 16,000 layers of no content: they are counted while they are read, and dropped.

use std::collections::BTreeMap;
use std::fmt;

use rollforward_core::evidence::{Referrer, Referrers};
use rollforward_core::image::Digest;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Form;
use crate::registry::referrers::{MAX_REFERRERS, push};

/// How many annotations of a layer are kept: cosign writes six.
const MAX_ANNOTATIONS: usize = 32;

/// What of a manifest could be evidence, or list it.
#[derive(Deserialize, Default)]
pub(super) struct Manifest {
    /// Layers of a form of evidence.
    #[serde(default, deserialize_with = "of_evidence")]
    pub(super) layers: Few<(Form, Layer)>,
    /// What an index lists.
    #[serde(default, deserialize_with = "with_digest")]
    pub(super) manifests: Few<Referrer>,
}

/// What an index lists, each once.
pub(super) fn listed(manifests: Few<Referrer>) -> Referrers {
    let mut all = Referrers { listed: Vec::new(), n_more: manifests.n_more };
    manifests.kept.into_iter().for_each(|one| push(&mut all, one));
    all
}

/// The first of a list, each once, and how many more there were.
pub(super) struct Few<T> {
    pub(super) kept: Vec<T>,
    pub(super) n_more: usize,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), n_more: 0 }
    }
}

/// A layer, or an entry of an index.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default, deserialize_with = "few_annotations")]
    pub(super) annotations: BTreeMap<String, String>,
}

fn of_evidence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Few<(Form, Layer)>, D::Error> {
    few(deserializer, |layer| Some((Form::of(&layer.media_type)?, layer)))
}

fn with_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Few<Referrer>, D::Error> {
    few(deserializer, |entry| {
        let digest = Digest::parse(&entry.digest).ok()?;
        Some(Referrer { digest, media_type: String::new(), artifact_type: None, size_bytes: entry.size })
    })
}

/// The first of those that count.
fn few<'de, D: Deserializer<'de>, T: PartialEq>(
    deserializer: D,
    counts: fn(Layer) -> Option<T>,
) -> Result<Few<T>, D::Error> {
    struct Counted<T>(fn(Layer) -> Option<T>);

    impl<'de, T: PartialEq> Visitor<'de> for Counted<T> {
        type Value = Few<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of descriptors")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
            let mut few = Few::default();
            while let Some(layer) = list.next_element()? {
                let Some(one) = (self.0)(layer).filter(|one| !few.kept.contains(one)) else { continue };
                if few.kept.len() < MAX_REFERRERS {
                    few.kept.push(one);
                } else {
                    few.n_more = few.n_more.saturating_add(1);
                }
            }
            Ok(few)
        }

        fn visit_unit<E>(self) -> Result<Few<T>, E> {
            Ok(Few::default())
        }
    }

    deserializer.deserialize_any(Counted(counts))
}

/// The first annotations; nothing where there are none or `null`.
fn few_annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Annotations;

    impl<'de> Visitor<'de> for Annotations {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("annotations")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while kept.len() < MAX_ANNOTATIONS {
                let Some((name, value)) = map.next_entry()? else { return Ok(kept) };
                kept.insert(name, value);
            }
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(kept)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }
    }

    deserializer.deserialize_any(Annotations)
}
