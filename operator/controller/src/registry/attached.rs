//! What is attached to a digest and could be a signature or an attestation: found in four places, fetched within budgets.
//!
//! The referrers API, the fallback tag where there is none, and the tags `.sig` and `.att`. Each manifest is read, whatever an
//! index says of its type: registries and clients fill that in as they like. Junk is counted and costs its place in the
//! budget; a refusal makes the place `Unknown` and leaves what was found. How a manifest is read: `attached/manifest.rs`. What
//! the bytes are worth: `sigstore.rs`.

mod manifest;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use rollforward_core::evidence::{Answer, Budget, Place, Referrer, Referrers, Unknown};
use rollforward_core::image::Digest;
use rollforward_core::reason::Reason;
use tokio::time::Instant;

use super::Inner;
use super::pull::Wanted;
use super::referrers::MAX_REFERRERS;
use super::token::Asker;
use super::words::unknown;
use manifest::{Layer, Manifest};

/// One bundle, payload or envelope, in bytes. Provenance of large builds is some 100 KiB.
const MAX_ONE_BYTES: usize = 1024 * 1024;
/// All of them and their manifests together.
const MAX_ALL_BYTES: usize = 8 * 1024 * 1024;
/// The manifests of one place: however large they are in all three, there is room for what is signed.
const MAX_PLACE_BYTES: usize = 2 * 1024 * 1024;
/// What is set aside for a manifest at least: the size in a list is often wrong.
const LEAST_BYTES: usize = 64 * 1024;
/// For all requests.
const MAX_TIME: Duration = Duration::from_secs(5);
/// For the lists and manifests: one place that stalls leaves time to read what the others hold.
const MAX_LIST_TIME: Duration = Duration::from_secs(3);
/// How many are asked for at once.
const AT_ONCE: usize = 8;
/// What is kept of them by digest, in bytes.
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;
/// What one costs beside its bytes: its digest, twice.
const KEPT_BESIDE: usize = 256;

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

/// One place, looked at.
struct Looked {
    place: Place,
    answer: Answer<()>,
    /// At most 64, each once.
    layers: Vec<(Form, Layer)>,
    /// How many there were.
    n_layers: usize,
    n_left_out: usize,
    n_bytes: usize,
    exhausted: Option<Budget>,
}

impl Looked {
    fn at(place: Place, answer: Answer<()>) -> Self {
        Self { place, answer, layers: Vec::new(), n_layers: 0, n_left_out: 0, n_bytes: 0, exhausted: None }
    }

    /// Adds the layers of a manifest, and says what else it lists. What is no manifest holds nothing.
    fn add(&mut self, body: &[u8]) -> Referrers {
        self.n_bytes = self.n_bytes.saturating_add(body.len());
        let Manifest { layers, manifests } = serde_json::from_slice(body).unwrap_or_default();
        self.n_layers = self.n_layers.saturating_add(layers.n_more);
        self.left_out(layers.n_more, Budget::Count);
        for (form, layer) in layers.kept {
            // The same under several manifests is one thing.
            if self.layers.iter().any(|(_, known)| *known == layer) {
                continue;
            }
            self.n_layers = self.n_layers.saturating_add(1);
            if self.layers.len() < MAX_REFERRERS {
                self.layers.push((form, layer));
            } else {
                self.left_out(1, Budget::Count);
            }
        }
        manifest::listed(manifests)
    }

    fn left_out(&mut self, n: usize, budget: Budget) {
        self.n_left_out = self.n_left_out.saturating_add(n);
        if 0 < n {
            self.exhausted = self.exhausted.or(Some(budget));
        }
    }

    /// An answer that is none makes the place unknown, and the first is kept: its words are the same at each attempt.
    fn refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Junk(_) => self.n_left_out = self.n_left_out.saturating_add(1),
            Refusal::TooMuch => self.left_out(1, Budget::Bytes),
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
    /// There is no room for it.
    TooMuch,
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

/// The bytes that the manifests of a place may still have.
struct Room(AtomicUsize);

impl Room {
    fn take(&self, n_bytes: usize) -> Result<(), Refusal> {
        let less = |room: usize| room.checked_sub(n_bytes);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.map(|_| ()).map_err(|_| Refusal::TooMuch)
    }

    fn give_back(&self, n_bytes: usize) {
        self.0.fetch_add(n_bytes, Ordering::Relaxed);
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
        kept.n_bytes = kept.n_bytes.saturating_add(KEPT_BESIDE.saturating_add(bytes.len()));
        while MAX_KEPT_BYTES < kept.n_bytes {
            let Some(oldest) = kept.order.pop_front() else { return };
            let freed = kept.known.remove(&oldest).map_or(0, |bytes| KEPT_BESIDE.saturating_add(bytes.len()));
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
                Err(refusal @ (Refusal::TooMuch | Refusal::Unknown(_) | Refusal::TooLate(_))) => {
                    late = late.or(matches!(refusal, Refusal::TooLate(_)).then_some(Budget::Time));
                    if let Some(looked) = places.get_mut(at) {
                        looked.refused(refusal);
                    }
                    continue;
                }
            };
            listed.push(Attachment { place, form, annotations: layer.annotations, content });
        }
        drop(fetched);
        let late = late.or_else(|| places.iter().find_map(|looked| looked.exhausted));
        let counted = |looked: Looked| (looked.place, looked.answer.map(|()| looked.n_layers));
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

    /// Reads the manifests of a list, as far as there is room: the small ones first, so that two large ones shut out no other.
    async fn read_listed(
        &self,
        asker: Asker<'_>,
        mut listed: Referrers,
        looked: &mut Looked,
        deadline: Instant,
    ) {
        looked.answer = Answer::Found(());
        listed.listed.sort_by_key(|one| one.size_bytes);
        looked.left_out(listed.n_more, Budget::Count);
        let room = Room(AtomicUsize::new(MAX_PLACE_BYTES.saturating_sub(looked.n_bytes)));
        let room = &room;
        let fetch = |one: Referrer| async move {
            // Set aside before it is asked for: what is on its way counts too.
            let size = usize::try_from(one.size_bytes).unwrap_or(usize::MAX);
            let set_aside = size.clamp(LEAST_BYTES, MAX_ONE_BYTES);
            room.take(set_aside)?;
            let manifest = self.attached_manifest(asker, &one.digest, set_aside);
            let manifest = in_time(deadline, asker, Box::pin(manifest)).await?;
            room.give_back(set_aside.saturating_sub(manifest.as_ref().map_or(0, |bytes| bytes.len())));
            manifest.ok_or_else(|| Refusal::Junk(format!("{} is listed, and not there", one.digest)))
        };
        let mut manifests = stream::iter(listed.listed.into_iter().map(fetch)).buffered(AT_ONCE);
        while let Some(manifest) = manifests.next().await {
            match manifest {
                // An index in a list leads no further.
                Ok(body) => drop(looked.add(&body)),
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
        let listed = looked.add(&body);
        if !listed.listed.is_empty() {
            self.read_listed(asker, listed, &mut looked, deadline).await;
        }
        looked
    }

    async fn tagged(&self, asker: Asker<'_>, tag: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let manifest = self.pull_manifest(asker, tag, self.attached_within(MAX_ONE_BYTES)).await?;
        Ok(manifest.map(|exchange| exchange.body))
    }

    async fn attached_manifest(
        &self,
        asker: Asker<'_>,
        digest: &Digest,
        max_bytes: usize,
    ) -> Result<Option<Arc<[u8]>>, Refusal> {
        if let Some(bytes) = self.attached.get(digest) {
            return within(bytes, max_bytes).map(Some);
        }
        let manifest = self.pull_manifest(asker, digest.as_str(), self.attached_within(max_bytes)).await?;
        let Some(exchange) = manifest else { return Ok(None) };
        let bytes: Arc<[u8]> = exchange.body.into();
        self.attached.keep(digest, &bytes);
        Ok(Some(bytes))
    }

    fn attached_within(&self, max_bytes: usize) -> Wanted {
        let max_bytes = max_bytes.min(self.settings.max_manifest_bytes);
        Wanted { accept: ACCEPTED, max_bytes, oversize: Reason::ManifestInvalid }
    }

    async fn layer(&self, asker: Asker<'_>, layer: &Layer) -> Result<Arc<[u8]>, Refusal> {
        let digest = Digest::parse(&layer.digest)
            .map_err(|error| Refusal::Junk(format!("a layer without a digest: {error}")))?;
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX).min(MAX_ONE_BYTES);
        if let Some(bytes) = self.attached.get(&digest) {
            return within(bytes, size);
        }
        let exchange = self.pull_blob(asker, &digest, size).await?;
        let bytes: Arc<[u8]> = exchange.body.into();
        self.attached.keep(&digest, &bytes);
        Ok(bytes)
    }
}

/// Bytes that were fetched before, for another descriptor perhaps: what it says of their number counts as if they came now.
fn within(bytes: Arc<[u8]>, max_bytes: usize) -> Result<Arc<[u8]>, Refusal> {
    if bytes.len() <= max_bytes {
        return Ok(bytes);
    }
    Err(Refusal::Junk(format!("longer than {max_bytes} bytes, as it is listed")))
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
