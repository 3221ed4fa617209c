//! What is attached to a digest and could be a signature or an attestation: found in four places, fetched within budgets.
//!
//! The referrers API, the fallback tag where there is none, and the tags `.sig` and `.att`. Each manifest is read, whatever an
//! index says of its type: registries and clients fill that in as they like. Junk is counted and costs its place in the
//! budget; a refusal makes the place `Unknown` and leaves what was found. What the bytes are worth: `sigstore.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use rollforward_core::evidence::{Answer, Budget, Place, Referrer, Referrers, Unknown};
use rollforward_core::image::Digest;
use rollforward_core::reason::Reason;
use serde::Deserialize;
use tokio::time::Instant;

use super::Inner;
use super::pull::Wanted;
use super::referrers::MAX_REFERRERS;
use super::token::Asker;
use super::words::unknown;

/// One bundle, payload or envelope, in bytes. Provenance of large builds is some 100 KiB.
const MAX_ONE_BYTES: usize = 1024 * 1024;
/// All of them and their manifests together.
const MAX_ALL_BYTES: usize = 8 * 1024 * 1024;
/// For all requests.
const MAX_TIME: Duration = Duration::from_secs(5);
/// For the lists and manifests: one place that stalls leaves time to read what the others hold.
const MAX_LIST_TIME: Duration = Duration::from_secs(3);
/// How many are asked for at once.
const AT_ONCE: usize = 8;
/// What is kept of them by digest, in bytes.
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

/// A manifest, or an index that somebody put under the tag of signatures.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.index.v1+json";

/// What is attached to a digest: bytes, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachments {
    /// At most 64, each place in its turn.
    pub listed: Vec<Attachment>,
    /// Where was looked, and how much was there that could be evidence.
    pub looked_in: Vec<(Place, Answer<usize>)>,
    /// How much more there was, at least.
    pub n_left_out: usize,
    /// The budget that ended it.
    pub exhausted: Option<Budget>,
}

/// One thing that could be evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Where it was found.
    pub place: Place,
    /// What it calls itself.
    pub form: Form,
    /// The annotations beside it: nobody signed them.
    pub annotations: BTreeMap<String, String>,
    /// Its bytes, or why there are none.
    pub content: Result<Arc<[u8]>, String>,
}

/// The forms of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A Sigstore bundle.
    Bundle,
    /// The payload of simple signing.
    SimpleSigning,
    /// A DSSE envelope.
    Envelope,
}

impl Form {
    /// By the media type of a layer; everything else is no evidence (an SBOM without a signature, for one).
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/vnd.dev.cosign.simplesigning.v1+json" => Some(Form::SimpleSigning),
            "application/vnd.dsse.envelope.v1+json" => Some(Form::Envelope),
            other if other.starts_with("application/vnd.dev.sigstore.bundle") => Some(Form::Bundle),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    manifests: Vec<Layer>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Layer {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// One place, looked at.
struct Looked {
    place: Place,
    answer: Answer<()>,
    layers: Vec<(Form, Layer)>,
    n_left_out: usize,
    n_bytes: usize,
    exhausted: Option<Budget>,
}

impl Looked {
    fn at(place: Place, answer: Answer<()>) -> Self {
        Self { place, answer, layers: Vec::new(), n_left_out: 0, n_bytes: 0, exhausted: None }
    }

    /// Adds the layers of a manifest.
    fn add(&mut self, body: &[u8]) {
        self.n_bytes = self.n_bytes.saturating_add(body.len());
        let layers = serde_json::from_slice::<Manifest>(body).map(|manifest| manifest.layers);
        for layer in layers.unwrap_or_default() {
            if let Some(form) = Form::of(&layer.media_type) {
                self.layers.push((form, layer));
            }
        }
    }

    /// An answer that is none makes the place unknown, and the first is kept: its words are the same at each attempt.
    fn refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Junk(_) => self.n_left_out = self.n_left_out.saturating_add(1),
            Refusal::Unknown(unknown) => {
                if !matches!(self.answer, Answer::Unknown(_)) {
                    self.answer = Answer::Unknown(unknown);
                }
            }
            Refusal::TooLate(unknown) => {
                self.exhausted = Some(Budget::Time);
                self.refused(Refusal::Unknown(unknown));
            }
        }
    }
}

/// Why something was not read.
enum Refusal {
    /// It is not there, too large or not what it calls itself: whoever pushed it is to blame, and it counts for nothing.
    Junk(String),
    /// The registry did not answer.
    Unknown(Unknown),
    /// Not within the time.
    TooLate(Unknown),
}

impl From<Unknown> for Refusal {
    fn from(unknown: Unknown) -> Self {
        match unknown.reason {
            Reason::ManifestInvalid => Refusal::Junk(unknown.message),
            _ => Refusal::Unknown(unknown),
        }
    }
}

/// What was fetched by digest: it cannot change.
#[derive(Default)]
pub(super) struct Kept {
    inner: Mutex<KeptBytes>,
}

#[derive(Default)]
struct KeptBytes {
    known: BTreeMap<Digest, Arc<[u8]>>,
    /// The oldest first.
    order: VecDeque<Digest>,
    n_bytes: usize,
}

impl Kept {
    fn get(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).known.get(digest).cloned()
    }

    /// Keeps bytes; the oldest go where there are too many.
    fn keep(&self, digest: &Digest, bytes: &Arc<[u8]>) {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.known.insert(digest.clone(), Arc::clone(bytes)).is_some() {
            return;
        }
        kept.order.push_back(digest.clone());
        kept.n_bytes = kept.n_bytes.saturating_add(bytes.len());
        while MAX_KEPT_BYTES < kept.n_bytes {
            let Some(oldest) = kept.order.pop_front() else { return };
            let freed = kept.known.remove(&oldest).map_or(0, |bytes| bytes.len());
            kept.n_bytes = kept.n_bytes.saturating_sub(freed);
        }
    }
}

impl Inner {
    /// Looks in all places. Never fails as a whole: each place has an answer of its own.
    pub(super) async fn attachments(&self, asker: Asker<'_>, digest: &Digest) -> Attachments {
        let after = |time| Instant::now().checked_add(time).unwrap_or_else(Instant::now);
        let (deadline, listed_by) = (after(MAX_TIME), after(MAX_LIST_TIME));
        let tag = digest.as_str().replace(':', "-");
        let (referrers, signatures, attestations) = futures::join!(
            self.by_referrers(asker, digest, listed_by),
            self.by_tag(asker, Place::SignatureTag, format!("{tag}.sig"), listed_by),
            self.by_tag(asker, Place::AttestationTag, format!("{tag}.att"), listed_by),
        );
        let mut places: Vec<Looked> = referrers.into_iter().chain([signatures, attestations]).collect();
        let (chosen, n_left_out, exhausted) = choose(&places);
        let mut late = None;
        let mut listed = Vec::new();
        let fetch = |(at, place, form, layer): (usize, Place, Form, Layer)| async move {
            let content = in_time(deadline, asker, Box::pin(self.layer(asker, &layer))).await;
            (at, place, form, layer, content)
        };
        let mut fetched = stream::iter(chosen.into_iter().map(fetch)).buffered(AT_ONCE);
        while let Some((at, place, form, layer, content)) = fetched.next().await {
            let content = match content {
                Ok(bytes) => Ok(bytes),
                Err(Refusal::Junk(why)) => Err(why),
                Err(refusal) => {
                    late = late.or(matches!(refusal, Refusal::TooLate(_)).then_some(Budget::Time));
                    if let Some(looked) = places.get_mut(at) {
                        looked.refused(refusal);
                    }
                    continue;
                }
            };
            listed.push(Attachment {
                place,
                form,
                annotations: layer.annotations.unwrap_or_default(),
                content,
            });
        }
        drop(fetched);
        let late = late.or_else(|| places.iter().find_map(|looked| looked.exhausted));
        let counted = |looked: Looked| (looked.place, looked.answer.map(|()| looked.layers.len()));
        Attachments {
            listed,
            n_left_out,
            exhausted: late.or(exhausted),
            looked_in: places.into_iter().map(counted).collect(),
        }
    }

    /// The referrers API, or the fallback tag behind it.
    async fn by_referrers(&self, asker: Asker<'_>, digest: &Digest, deadline: Instant) -> Vec<Looked> {
        let mut place = Place::Referrers;
        let listed = async { Ok(self.referrers(asker, digest, &mut place).await?) };
        let listed = in_time(deadline, asker, Box::pin(listed)).await;
        let mut looked = Looked::at(place, Answer::Absent);
        match listed {
            Ok(None) => {}
            Ok(Some(listed)) => self.read_listed(asker, listed, &mut looked, deadline).await,
            Err(refusal) => looked.refused(refusal),
        }
        let before = (place == Place::FallbackTag).then(|| Looked::at(Place::Referrers, Answer::Absent));
        before.into_iter().chain([looked]).collect()
    }

    /// Reads the manifests of a list.
    async fn read_listed(&self, asker: Asker<'_>, listed: Referrers, looked: &mut Looked, deadline: Instant) {
        looked.answer = Answer::Found(());
        looked.n_left_out = looked.n_left_out.saturating_add(listed.n_more);
        if 0 < listed.n_more {
            looked.exhausted = Some(Budget::Count);
        }
        let fetch = |digest: Digest| async move {
            in_time(deadline, asker, Box::pin(self.attached_manifest(asker, &digest))).await
        };
        let digests = listed.listed.into_iter().map(|one| one.digest);
        let mut manifests = stream::iter(digests.map(fetch)).buffered(AT_ONCE);
        while let Some(manifest) = manifests.next().await {
            match manifest {
                Ok(body) => looked.add(&body),
                Err(refusal) => looked.refused(refusal),
            }
        }
    }

    /// A tag that clients derive from the digest: a manifest with one layer a signature, or an index of such.
    async fn by_tag(&self, asker: Asker<'_>, place: Place, tag: String, deadline: Instant) -> Looked {
        let mut looked = Looked::at(place, Answer::Absent);
        let body = match in_time(deadline, asker, Box::pin(self.tagged(asker, &tag))).await {
            Ok(Some(body)) => body,
            Ok(None) => return looked,
            Err(refusal) => {
                looked.refused(refusal);
                return looked;
            }
        };
        looked.answer = Answer::Found(());
        looked.add(&body);
        let manifests =
            serde_json::from_slice::<Manifest>(&body).map(|index| index.manifests).unwrap_or_default();
        if !manifests.is_empty() {
            let digests = manifests.iter().filter_map(|entry| Digest::parse(&entry.digest).ok());
            let listed = listed(digests);
            self.read_listed(asker, listed, &mut looked, deadline).await;
        }
        looked
    }

    async fn tagged(&self, asker: Asker<'_>, tag: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let manifest = self.pull_manifest(asker, tag, self.attached_within()).await?;
        Ok(manifest.map(|exchange| exchange.body))
    }

    async fn attached_manifest(&self, asker: Asker<'_>, digest: &Digest) -> Result<Arc<[u8]>, Refusal> {
        if let Some(bytes) = self.attached.get(digest) {
            return Ok(bytes);
        }
        let manifest = self.pull_manifest(asker, digest.as_str(), self.attached_within()).await?;
        let exchange = manifest.ok_or_else(|| Refusal::Junk(format!("{digest} is listed, and not there")))?;
        let bytes: Arc<[u8]> = exchange.body.into();
        self.attached.keep(digest, &bytes);
        Ok(bytes)
    }

    fn attached_within(&self) -> Wanted {
        let max_bytes = MAX_ONE_BYTES.min(self.settings.max_manifest_bytes);
        Wanted { accept: ACCEPTED, max_bytes, oversize: Reason::ManifestInvalid }
    }

    async fn layer(&self, asker: Asker<'_>, layer: &Layer) -> Result<Arc<[u8]>, Refusal> {
        let digest = Digest::parse(&layer.digest)
            .map_err(|error| Refusal::Junk(format!("a layer without a digest: {error}")))?;
        if let Some(bytes) = self.attached.get(&digest) {
            return Ok(bytes);
        }
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX);
        let exchange = self.pull_blob(asker, &digest, size.min(MAX_ONE_BYTES)).await?;
        let bytes: Arc<[u8]> = exchange.body.into();
        self.attached.keep(&digest, &bytes);
        Ok(bytes)
    }
}

/// Chooses what is fetched: the places in turn, so that junk in one does not hide another; within count and bytes.
#[expect(clippy::type_complexity, reason = "read once, where it is called")]
fn choose(places: &[Looked]) -> (Vec<(usize, Place, Form, Layer)>, usize, Option<Budget>) {
    let mut chosen = Vec::new();
    let mut n_left_out = places.iter().fold(0_usize, |n, looked| n.saturating_add(looked.n_left_out));
    let mut exhausted = places.iter().find_map(|looked| looked.exhausted);
    let mut n_bytes = places.iter().fold(0_usize, |n, looked| n.saturating_add(looked.n_bytes));
    let longest = places.iter().map(|looked| looked.layers.len()).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|turn| {
        places.iter().enumerate().filter_map(move |(at, looked)| {
            looked.layers.get(turn).map(|(form, layer)| (at, looked.place, *form, layer))
        })
    });
    for (at, place, form, layer) in in_turn {
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX);
        let all = n_bytes.saturating_add(size);
        let over = if MAX_REFERRERS <= chosen.len() {
            Some(Budget::Count)
        } else if MAX_ONE_BYTES < size || MAX_ALL_BYTES < all {
            Some(Budget::Bytes)
        } else {
            None
        };
        if over.is_some() {
            exhausted = exhausted.or(over);
            n_left_out = n_left_out.saturating_add(1);
            continue;
        }
        n_bytes = all;
        chosen.push((at, place, form, layer.clone()));
    }
    (chosen, n_left_out, exhausted)
}

async fn in_time<T>(
    deadline: Instant,
    asker: Asker<'_>,
    question: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::time::timeout_at(deadline, question).await.unwrap_or_else(|_| {
        let words = format!(
            "{}: signatures were not read in time, {} s in all",
            asker.repository,
            MAX_TIME.as_secs()
        );
        Err(Refusal::TooLate(unknown(Reason::RegistryUnavailable, words)))
    })
}

/// A list of manifests, cut as a list of the API is.
fn listed(digests: impl Iterator<Item = Digest>) -> Referrers {
    let mut all = Referrers { listed: Vec::new(), n_more: 0 };
    for digest in digests {
        if all.listed.len() < MAX_REFERRERS {
            let media_type = String::new();
            all.listed.push(Referrer { digest, media_type, artifact_type: None, size_bytes: 0 });
        } else {
            all.n_more = all.n_more.saturating_add(1);
        }
    }
    all
}
