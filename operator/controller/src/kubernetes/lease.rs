//! Leader election by a Lease, with a fence: who could not renew it in time writes nothing any more, whatever is under way.
//!
//! A holder may act for [`ACTS_FOR`] after it began its last successful renewal; another takes the Lease only when it has seen
//! it unchanged for [`TAKEN_AFTER`] by its own clock. No two clocks are compared, and an apiserver that does not answer makes
//! nobody a leader.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::patch::FIELD_MANAGER;
use super::{ApiError, optional};

/// The Lease's name.
pub const NAME: &str = "rollforward";
/// How long a holder acts after its last renewal.
pub const ACTS_FOR: Duration = Duration::from_secs(10);
/// How long a Lease has to be unchanged until another takes it.
pub const TAKEN_AFTER: Duration = Duration::from_secs(15);
/// How often it is renewed, or looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How long one request may take: several fit into the time for which a holder acts.
const REQUEST: Duration = Duration::from_secs(3);

/// Whether this process may act; cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership(Option<Arc<Mutex<Option<Instant>>>>);

impl Leadership {
    /// Without an election: there is one operator.
    #[must_use]
    pub fn alone() -> Self {
        Self(None)
    }

    /// Whether writes are allowed now.
    #[must_use]
    pub fn acts(&self) -> bool {
        let Some(until) = &self.0 else { return true };
        let until = until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// One candidate of the election.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    until: Arc<Mutex<Option<Instant>>>,
    /// The Lease as it was seen to change last: holder, renewals as text, and when by our own clock.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    /// A candidate for the Lease of this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, identity, until: Arc::default(), seen: None }
    }

    /// Whether this candidate may act, for those who write.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership(Some(Arc::clone(&self.until)))
    }

    /// Waits until the Lease is held.
    pub async fn acquire(&mut self) {
        let mut told = String::new();
        loop {
            match self.attempt().await {
                Ok(None) => {
                    tracing::info!(identity = %self.identity, "holds the Lease {NAME}");
                    return;
                }
                Ok(Some(holder)) if holder != told => {
                    tracing::info!(%holder, "stands by: another operator holds the Lease {NAME}");
                    told = holder;
                }
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(%error, "the Lease {NAME} cannot be taken; tried again"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Renews the Lease until it is lost, and says why.
    pub async fn keep(&mut self) -> String {
        loop {
            tokio::time::sleep(EVERY).await;
            let why = match self.attempt().await {
                Ok(None) => continue,
                Ok(Some(holder)) => format!("{holder} holds the Lease now"),
                Err(error) => {
                    tracing::warn!(%error, "the Lease {NAME} could not be renewed; tried again");
                    format!("not renewed for {} s: {error}", ACTS_FOR.as_secs())
                }
            };
            if !self.leadership().acts() {
                return why;
            }
        }
    }

    /// Lets the Lease go, so that another takes it at once.
    pub async fn release(&mut self) {
        if !self.leadership().acts() {
            return;
        }
        self.set(None);
        let body = json!({"spec": {"holderIdentity": null}});
        let params = PatchParams::default();
        let patch = Patch::Merge(&body);
        let released = tokio::time::timeout(REQUEST, self.api.patch(NAME, &params, &patch)).await;
        if !matches!(released, Ok(Ok(_))) {
            tracing::warn!(
                "the Lease {NAME} could not be let go; another takes it in {} s",
                TAKEN_AFTER.as_secs()
            );
        }
    }

    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// One try to take or renew: nothing where it is held now, the holder where another has it.
    async fn attempt(&mut self) -> Result<Option<String>, ApiError> {
        // Counted from before the request: it may have been stored at once and answered late.
        let began = Instant::now();
        let tried = tokio::time::timeout(REQUEST, self.turn(began)).await;
        let found = tried.unwrap_or_else(|_| {
            let late = kube::Error::Service("no answer within 3 s".into());
            Err(ApiError::of("renew the Lease")(late))
        })?;
        match &found {
            None => self.set(began.checked_add(ACTS_FOR)),
            Some(_) => self.set(None),
        }
        Ok(found)
    }

    async fn turn(&mut self, began: Instant) -> Result<Option<String>, ApiError> {
        let Some(lease) = optional(self.api.get(NAME).await).map_err(ApiError::of("get the Lease"))? else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let spec = Some(self.spec(&LeaseSpec::default()));
            let params =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            let created = self.api.create(&params, &Lease { metadata, spec }).await;
            return created.map(|_| None).map_err(ApiError::of("create the Lease"));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let state = format!("{holder} {:?}", spec.renew_time);
        if self.seen.as_ref().is_none_or(|(known, _)| *known != state) {
            self.seen = Some((state, began));
        }
        let since = self.seen.as_ref().map_or(Duration::ZERO, |(_, at)| began.duration_since(*at));
        if !holder.is_empty() && holder != self.identity && since < TAKEN_AFTER {
            return Ok(Some(holder));
        }
        let body = json!({
            "metadata": {"resourceVersion": lease.resource_version()},
            "spec": self.spec(&spec),
        });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let renewed = self.api.patch(NAME, &params, &Patch::Merge(&body)).await;
        renewed.map(|_| None).map_err(ApiError::of("renew the Lease"))
    }

    fn spec(&self, before: &LeaseSpec) -> LeaseSpec {
        let now = MicroTime(crate::clock::now());
        let same = before.holder_identity.as_deref() == Some(&self.identity);
        let changes = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(TAKEN_AFTER.as_secs()).ok(),
            acquire_time: if same { before.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if same { changes } else { changes.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }
}

/// A name that no other process has: the pod's, and the moment of its start.
#[must_use]
pub fn identity(pod: Option<String>, now: Timestamp) -> String {
    let pod = pod.filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".to_owned());
    format!("{pod}_{}_{}", std::process::id(), now.as_millisecond())
}
