//! What the world looks like when a pass begins: the policy whole, its workloads and pods, scans, ledgers and runs.
//!
//! Nothing is decided here. What does not answer becomes an `Unknown` inside what was seen; only the apiserver's own
//! failure ends the pass.

mod runs;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::run::UpdateRun;
use rollforward_core::breaker::{self, Failed, Trying};
use rollforward_core::evidence::{Answer, Platform, Unknown};
use rollforward_core::image::{Digest, Repository};
use rollforward_core::ledger::Ledger;
use rollforward_core::policy::{Policy, PolicyId, RepositorySeen, Seen, Track};
use rollforward_core::reason::Reason;
use rollforward_core::rollout::Run;
use rollforward_core::scan::{self, Scan};
use rollforward_core::trust::Decision;
use rollforward_core::workload::{Kind, Workload};
use tokio::sync::Mutex;

use super::places::{Known, Places, RunName, Wanted};
use super::trust::{self, TrustStores};
use super::{Context, Error};
use crate::clock;
use crate::config::Config;
use crate::convert;
use crate::kubernetes::secrets::{self, Trouble};
use crate::kubernetes::workloads::Object;
use crate::kubernetes::{store, workloads};
use crate::registry::Credential;
use crate::registry::pull_secret::Keyring;
use crate::scans::Ask;
use crate::spread;

use runs::{last_runs, open_runs, unstarted, wholes};
pub use targets::matches_labels;
use targets::{conflict, split, targets};

/// How long the list of nodes is believed.
const NODES_KEPT: SignedDuration = SignedDuration::from_secs(30);

/// The platforms of the nodes, and when they were read.
type Platforms = (BTreeSet<Platform>, Timestamp);

/// What the watches keep: policies without status, and runs. One store a watched namespace, or one for all.
#[derive(Clone)]
pub struct Stores {
    policies: Vec<Store<DeserializeGuard<UpdatePolicy>>>,
    runs: Vec<Store<DeserializeGuard<UpdateRun>>>,
    trust: Arc<[TrustStores]>,
    platforms: Arc<Mutex<Option<Platforms>>>,
    places: Arc<Places>,
}

impl Stores {
    /// The stores of the watches.
    #[must_use]
    pub fn new(
        policies: Vec<Store<DeserializeGuard<UpdatePolicy>>>,
        runs: Vec<Store<DeserializeGuard<UpdateRun>>>,
        trust: Vec<TrustStores>,
    ) -> Self {
        Self { policies, runs, trust: trust.into(), platforms: Arc::default(), places: Arc::default() }
    }

    /// The watches of what is trusted.
    #[must_use]
    pub fn trust(&self) -> &[TrustStores] {
        &self.trust
    }

    fn open_runs(&self) -> Vec<Arc<DeserializeGuard<UpdateRun>>> {
        let mut runs: Vec<_> = self.runs.iter().flat_map(Store::state).collect();
        runs.retain(|run| run.0.as_ref().is_ok_and(convert::run::is_open));
        runs
    }

    /// The runs that the watch shows, but for those that wait for their approval and take no place.
    fn known_runs(&self) -> BTreeMap<RunName, Known> {
        let read = |run: Arc<DeserializeGuard<UpdateRun>>| {
            let run = run.0.as_ref().ok()?;
            let (open, takes) = (convert::run::is_open(run), convert::run::takes_place(run));
            // A CronJob's run may be watched for weeks: it takes no place.
            let open = open && run.spec.workload.kind != Kind::CronJob.name();
            let known = Known {
                open,
                digest: format!("{}@{}", run.spec.repository, run.spec.to_digest),
                succeeded: convert::run::proves(run),
                trying: convert::run::trying(run),
            };
            (!open || takes).then_some(((run.namespace()?, run.name_any()), known))
        };
        self.runs.iter().flat_map(Store::state).filter_map(read).collect()
    }

    /// Digests that open runs of other policies try and that have not succeeded anywhere yet.
    fn trying(&self, policy: &PolicyId) -> BTreeMap<(Repository, Digest), Vec<Trying>> {
        let runs: Vec<_> = self.runs.iter().flat_map(Store::state).collect();
        let read = || runs.iter().filter_map(|run| run.0.as_ref().ok());
        let moves = |run: &UpdateRun| (run.spec.repository.clone(), run.spec.to_digest.clone());
        let succeeded: BTreeSet<(String, String)> =
            read().filter(|run| convert::run::proves(run)).map(moves).collect();
        let open = read()
            .filter(|run| convert::run::takes_place(run) && run.spec.policy.uid != policy.uid)
            .filter(|run| run.spec.workload.kind != Kind::CronJob.name())
            .filter(|run| !succeeded.contains(&moves(run)));
        let mut trying: BTreeMap<(Repository, Digest), Vec<Trying>> = BTreeMap::new();
        for run in open {
            let moves = (Repository::parse(&run.spec.repository), Digest::parse(&run.spec.to_digest));
            if let (Ok(repository), Ok(digest)) = moves {
                trying.entry((repository, digest)).or_default().push(convert::run::trying(run));
            }
        }
        trying
    }

    /// In how many namespaces but this one a run to a digest succeeded and none was rolled back. A number, never a name: tenants
    /// learn nothing else of one another. With rights in one namespace there is nothing to count.
    fn crowd(&self, namespace: &str) -> BTreeMap<Digest, usize> {
        let ended = |run: Arc<DeserializeGuard<UpdateRun>>| {
            let run = run.0.as_ref().ok()?;
            let well = match run.status.as_ref()?.phase.as_deref()? {
                "Succeeded" if convert::run::proves(run) => true,
                "RolledBack" => false,
                _ => return None,
            };
            Some((run.namespace()?, Digest::parse(&run.spec.to_digest).ok()?, well))
        };
        healthy_elsewhere(self.runs.iter().flat_map(Store::state).filter_map(ended), namespace)
    }

    /// The runs that were rolled back, as the breaker reads them.
    fn failed(&self) -> Vec<Failed> {
        let read = |run: Arc<DeserializeGuard<UpdateRun>>| {
            let run = run.0.as_ref().ok()?;
            let status = run.status.as_ref()?;
            let cause = status.cause.as_ref().filter(|_| status.phase.as_deref() == Some("RolledBack"))?;
            Some(Failed {
                at: status.finished_at.as_ref()?.0,
                namespace: run.namespace()?,
                workload: run.spec.workload.name.clone(),
                digest: run.spec.to_digest.clone(),
                reason: convert::reason(&cause.reason),
                signature: cause.signature.clone(),
                environment: cause.environment == Some(true),
            })
        };
        self.runs.iter().flat_map(Store::state).filter_map(read).collect()
    }

    /// Whether the watch shows an ended run of the policy that still carries our finalizer.
    #[must_use]
    pub fn has_bound_ended_run(&self, policy: &PolicyId) -> bool {
        self.runs.iter().flat_map(Store::state).any(|run| {
            run.0.as_ref().is_ok_and(|run| {
                run.spec.policy.uid == policy.uid
                    && !convert::run::is_open(run)
                    && run.finalizers().iter().any(|one| one == store::FINALIZER)
            })
        })
    }

    /// How many runs are open, in all watched namespaces.
    #[must_use]
    pub fn n_open_runs(&self) -> usize {
        self.open_runs().len()
    }

    /// Claims a place for a run that is about to begin; false where another pass was faster, with the place or with the
    /// digest, unless that is `proven`.
    #[must_use]
    pub fn claim(&self, run: &Run, proven: bool, config: &Config, now: Timestamp) -> bool {
        let name = (run.workload.namespace.clone(), run.name.clone());
        let digest = format!("{}@{}", run.repository, run.to_digest);
        let wanted = Wanted { run: &name, digest: &digest, proven, patience: run.settings.deadline };
        self.places.claim(&self.known_runs(), wanted, config, now)
    }
}

/// By digest, in how many namespaces but one's own runs ended well and none otherwise. A run is its namespace, its digest and
/// whether it succeeded.
fn healthy_elsewhere(
    runs: impl Iterator<Item = (String, Digest, bool)>,
    own: &str,
) -> BTreeMap<Digest, usize> {
    let mut ended: BTreeMap<Digest, BTreeMap<String, bool>> = BTreeMap::new();
    for (namespace, digest, well) in runs.filter(|(namespace, _, _)| namespace != own) {
        *ended.entry(digest).or_default().entry(namespace).or_insert(true) &= well;
    }
    let count = |namespaces: BTreeMap<String, bool>| namespaces.values().filter(|well| **well).count();
    ended.into_iter().map(|(digest, namespaces)| (digest, count(namespaces))).collect()
}

/// A policy as the apiserver has it now.
pub enum Whole {
    /// Deleted meanwhile.
    Gone,
    /// It cannot be read as a policy: what can be read of it, and why.
    Unreadable(Box<UpdatePolicy>, String),
    /// Here it is.
    Readable(Box<UpdatePolicy>),
}

/// What was observed, and the credentials that it was observed with.
pub struct Observed {
    /// What was seen.
    pub seen: Seen,
    /// The credential of each repository.
    pub credentials: BTreeMap<Repository, Credential>,
    /// What the policy itself trusts, with the keys that its ConfigMaps hold.
    pub own: Option<Decision>,
    /// Whether the pods of every open run are watched: then what happens to them needs no asking.
    pub pods_wake: bool,
}

/// Reads the policy with its status: the watch keeps it stripped.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn whole(ctx: &Context, object: &DeserializeGuard<UpdatePolicy>) -> Result<Whole, Error> {
    let (namespace, name) = match &object.0 {
        Ok(policy) => (policy.namespace().unwrap_or_default(), policy.name_any()),
        Err(invalid) => (
            invalid.metadata.namespace.clone().unwrap_or_default(),
            invalid.metadata.name.clone().unwrap_or_default(),
        ),
    };
    Ok(match store::policy(&ctx.client, &namespace, &name).await? {
        None => {
            ctx.pods.keep(&ctx.client, (&namespace, &name), BTreeSet::new());
            Whole::Gone
        }
        Some(DeserializeGuard(Err(invalid))) => {
            match store::rest_of_policy(&ctx.client, &namespace, &name).await? {
                Some(rest) => Whole::Unreadable(Box::new(rest), invalid.error),
                None => Whole::Gone,
            }
        }
        Some(DeserializeGuard(Ok(policy))) => Whole::Readable(Box::new(policy)),
    })
}

/// Observes everything that a pass needs. The registry is not asked where there is a reason not to.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn observe(
    ctx: &Context,
    (object, policy): (&UpdatePolicy, &Policy),
    unasked: Option<&Unknown>,
    now: Timestamp,
) -> Result<Observed, Error> {
    let namespace = &policy.id.namespace;
    let runs = store::runs_of(&ctx.client, namespace, &policy.id.name).await?;
    let runs: Vec<Run> = runs.iter().filter_map(convert::run::from_api).collect();
    let (found, mut untracked) = targets(ctx, object, namespace).await?;
    let (open_runs, pods) = open_runs(ctx, &runs, &found).await?;
    let pods_wake = ctx.pods.keep(&ctx.client, (namespace, &policy.id.name), pods);
    let wholes = wholes(ctx, &policy.id, &found, &open_runs, now).await;
    let mut tracks = Vec::new();
    let mut wishes: BTreeMap<Repository, Wish> = BTreeMap::new();
    for ((target, containers), (whole, unreadable)) in found.iter().zip(wholes) {
        let workloads::Whole { workload, revisions, pods } = whole;
        for mut track in split(&workload, containers, object, &mut untracked) {
            track.revisions.clone_from(&revisions);
            track.pods.clone_from(&pods);
            track.conflict = conflict(ctx, object, target, &track);
            track.busy = busy(ctx, policy, &track.workload);
            track.unreadable.clone_from(&unreadable);
            if unasked.is_none() && !wishes.contains_key(&track.repository) {
                let wish = wish(ctx, object, policy, target, &track.repository).await;
                wishes.insert(track.repository.clone(), wish);
            }
            if let Some(wish) = wishes.get_mut(&track.repository) {
                wish.narrow(policy, &track);
            }
            tracks.push(track);
        }
    }
    let mut repositories = BTreeMap::new();
    let mut credentials = BTreeMap::new();
    let ambiguous = ambiguous_source(policy, wishes.keys());
    for (repository, wish) in wishes {
        let seen = match &ambiguous {
            Some(unknown) => RepositorySeen {
                scan: Answer::Unknown(unknown.clone()),
                ledger: ledger(ctx, namespace, &repository).await?,
            },
            None => repository_seen(ctx, object, policy, &repository, &wish, now).await?,
        };
        repositories.insert(repository.clone(), with_trouble(seen, wish.trouble));
        credentials.extend(wish.credential.map(|credential| (repository, credential)));
        credentials.extend(policy.source.clone().zip(wish.source_credential));
    }
    for open in &open_runs {
        if !repositories.contains_key(&open.run.repository) {
            let ledger = ledger(ctx, namespace, &open.run.repository).await?;
            repositories.insert(open.run.repository.clone(), unlisted(unasked, ledger));
        }
    }
    let uids: Vec<&str> = tracks.iter().map(|track| track.workload.id.uid.as_str()).collect();
    let obstacles = ctx.obstacles.of(&uids, now);
    let trusted = trust::read(ctx, object, policy.trust.clone(), now).await;
    let seen = Seen {
        tracks,
        untracked,
        repositories,
        platforms: platforms(ctx, now).await?,
        last_runs: last_runs(&runs),
        obstacles,
        open_runs,
        decisions: trusted.decisions,
        roots: trusted.roots,
        exceptions: trusted.exceptions,
        concurrency: ctx.stores.places.count(&ctx.stores.known_runs(), namespace, &ctx.config, now),
        trying: ctx.stores.trying(&policy.id),
        crowd: ctx.stores.crowd(namespace),
        incident: breaker::incident(&ctx.stores.failed(), ctx.config.breaker, namespace, now),
        unstarted: unstarted(&runs),
        paused: ctx.paused(object),
        asked: convert::levers::asked(object).into_iter().map(|(_, asked)| asked).collect(),
        requested: convert::policy::requested(object),
        namespace_deleting: workloads::namespace_is_deleting(&ctx.client, namespace).await?,
    };
    Ok(Observed { seen, credentials, own: trusted.own, pods_wake })
}

/// A repository that is not asked for its tags: only an open run runs it, or nothing may begin.
fn unlisted(unasked: Option<&Unknown>, ledger: Ledger) -> RepositorySeen {
    let scan = unasked.map_or(Answer::Absent, |why| Answer::Unknown(why.clone()));
    RepositorySeen { scan, ledger }
}

fn busy(ctx: &Context, policy: &Policy, workload: &Workload) -> Option<String> {
    ctx.stores.open_runs().iter().find_map(|run| {
        let run = run.0.as_ref().ok()?;
        let other = run.spec.workload.uid == workload.id.uid && run.spec.policy.uid != policy.id.uid;
        other.then(|| run.name_any())
    })
}

fn pull_secrets(object: &UpdatePolicy) -> Vec<String> {
    let named = object.spec.image.as_ref().and_then(|image| image.image_pull_secrets.as_ref());
    named.into_iter().flatten().map(|secret| secret.name.clone()).collect()
}

async fn ledger(ctx: &Context, namespace: &str, repository: &Repository) -> Result<Ledger, Error> {
    let stored = store::ledger(&ctx.client, namespace, repository).await?;
    Ok(stored.map_or_else(
        || Ledger::new(repository.clone()),
        |stored| convert::ledger::from_api(repository, &stored),
    ))
}

/// What a policy wants of one repository.
struct Wish {
    credential: Option<Credential>,
    /// For the policy's source, where there is one.
    source_credential: Option<Credential>,
    trouble: Option<Trouble>,
    /// What the tags begin with that could be chosen; `None` where any tag could.
    beginnings: Option<BTreeSet<String>>,
}

impl Wish {
    /// Adds what the rule could choose for one more track.
    fn narrow(&mut self, policy: &Policy, track: &Track) {
        let running = track.containers.first().and_then(|(_, image)| image.tag.as_ref());
        // Where the version is a later part of the tag, what the tag begins with says nothing of it.
        let running =
            running.filter(|tag| policy.filter.span(tag.as_str()).is_some_and(|span| span.start == 0));
        match (scan::beginning(&policy.rule, &policy.rule_text, running), &mut self.beginnings) {
            (Some(text), Some(known)) => {
                known.insert(text);
            }
            (None, _) | (_, None) => self.beginnings = None,
        }
    }
}

async fn wish(
    ctx: &Context,
    object: &UpdatePolicy,
    policy: &Policy,
    workload: &Object,
    repository: &Repository,
) -> Wish {
    let namespace = object.namespace().unwrap_or_default();
    let (keyring, mut trouble) =
        secrets::keyring(&ctx.client, &namespace, &pull_secrets(object), workload.template()).await;
    let credential = credential(ctx, &keyring, repository, &mut trouble).await;
    let source_credential = match &policy.source {
        Some(source) => self::credential(ctx, &keyring, source, &mut trouble).await,
        None => None,
    };
    Wish { credential, source_credential, trouble, beginnings: Some(BTreeSet::new()) }
}

/// The credentials for a repository, in turn. The node's come after the pod's; so do the operator's own.
async fn credential(
    ctx: &Context,
    keyring: &Keyring,
    repository: &Repository,
    trouble: &mut Option<Trouble>,
) -> Option<Credential> {
    match ctx.registry.credential(repository, keyring.credential_for(repository)).await {
        Ok(credential) => credential,
        Err(error) => {
            let own = Trouble { reason: Reason::PullSecretInvalid, message: error.to_string() };
            *trouble = trouble.take().or(Some(own));
            None
        }
    }
}

/// One source cannot be that of several repositories.
fn ambiguous_source<'a>(
    policy: &Policy,
    repositories: impl ExactSizeIterator<Item = &'a Repository>,
) -> Option<Unknown> {
    let source = policy.source.as_ref().filter(|_| 1 < repositories.len())?;
    let named: Vec<String> = repositories.map(ToString::to_string).collect();
    let message = format!(
        "the containers run {} repositories ({}) and `image.source` names one, {source}",
        named.len(),
        named.join(", ")
    );
    Some(Unknown { reason: Reason::SourceAmbiguous, message, retry_at: None })
}

async fn repository_seen(
    ctx: &Context,
    object: &UpdatePolicy,
    policy: &Policy,
    repository: &Repository,
    wish: &Wish,
    now: Timestamp,
) -> Result<RepositorySeen, Error> {
    let mut ledger = ledger(ctx, &policy.id.namespace, repository).await?;
    for (_, asked) in convert::levers::asked(object) {
        asked.carry_out(&mut ledger, now);
    }
    let interval = spread::interval(policy.interval, &policy.id.uid);
    let scheduled = now.checked_sub(interval).unwrap_or(Timestamp::MIN);
    let hinted = convert::policy::requested(object);
    let (asked, credential) = match &policy.source {
        Some(source) => (source, wish.source_credential.as_ref()),
        None => (repository, wish.credential.as_ref()),
    };
    let ask = Ask {
        repository: asked,
        credential,
        not_before: if hinted { now } else { scheduled },
        interval: policy.interval,
        beginnings: wish.beginnings.as_ref(),
        follows: scan::followed(&policy.rule),
        hinted,
    };
    let (scan, taken) = ctx.scans.latest(&ctx.registry, ask).await;
    if taken {
        ctx.metrics.scans.inc();
    }
    Ok(RepositorySeen { scan, ledger })
}

/// Where the registry refused and a pull secret could not be used, the secret is the cause.
fn with_trouble(seen: RepositorySeen, trouble: Option<Trouble>) -> RepositorySeen {
    let refused = |unknown: &Unknown| {
        matches!(unknown.reason, Reason::RegistryUnauthorized | Reason::RepositoryNotFound)
    };
    let scan: Answer<Scan> = match (seen.scan, trouble) {
        (Answer::Unknown(unknown), Some(trouble)) if refused(&unknown) => Answer::Unknown(Unknown {
            reason: trouble.reason,
            message: format!("{}; {}", trouble.message, unknown.message),
            retry_at: unknown.retry_at,
        }),
        (scan, _) => scan,
    };
    RepositorySeen { scan, ..seen }
}

async fn platforms(ctx: &Context, now: Timestamp) -> Result<BTreeSet<Platform>, Error> {
    let mut kept = ctx.stores.platforms.lock().await;
    if let Some((platforms, at)) = kept.as_ref()
        && clock::now().duration_since(*at) < NODES_KEPT
    {
        return Ok(platforms.clone());
    }
    let platforms = workloads::platforms(&ctx.client).await?;
    *kept = Some((platforms.clone(), now));
    Ok(platforms)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_digest_is_healthy_in_each_other_namespace_where_it_succeeded_and_was_never_rolled_back() {
        let digest = |letter: &str| Digest::parse(&format!("sha256:{}", letter.repeat(64))).unwrap();
        let runs = [
            ("own", "a", true),
            ("x", "a", true),
            ("x", "a", true),
            ("y", "a", true),
            ("z", "a", true),
            ("z", "a", false),
            ("z", "b", false),
        ];
        let runs = runs.map(|(namespace, letter, well)| (namespace.to_owned(), digest(letter), well));
        let counted = healthy_elsewhere(runs.into_iter(), "own");
        assert_eq!(counted, [(digest("a"), 2), (digest("b"), 0)].into());
        assert_eq!(healthy_elsewhere(std::iter::empty(), "own"), BTreeMap::new());
    }

    #[test]
    fn one_source_is_not_that_of_several_repositories() {
        let object: UpdatePolicy = serde_json::from_value(serde_json::json!({
            "apiVersion": "rollforward.dev/v1alpha1",
            "kind": "UpdatePolicy",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"targets": [], "image": {"source": {"repository": "quay.io/acme/web"}}},
        }))
        .unwrap();
        let policy = convert::policy::policy(&object, &Config::load(None).unwrap().defaults).unwrap();
        let named = ["r.test/a", "r.test/b"].map(|name| Repository::parse(name).unwrap());
        assert_eq!(ambiguous_source(&policy, named.iter().take(1)), None);
        let unknown = ambiguous_source(&policy, named.iter()).unwrap();
        assert_eq!(unknown.reason, Reason::SourceAmbiguous);
        assert_eq!(
            unknown.message,
            "the containers run 2 repositories (r.test/a, r.test/b) and `image.source` names one, quay.io/acme/web"
        );
        let without = Policy { source: None, ..policy };
        assert_eq!(ambiguous_source(&without, named.iter()), None);
    }
}
