//! `rollforward run`: the operator. Wires watches to the walk and serves health and metrics.
//!
//! One watch a kind: policies and runs are kept (stripped), workloads only wake. Our own status writes wake nobody: a
//! watch passes on an object only when its generation, annotations, finalizers or deletion changed.

mod standings;
mod waking;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::{FutureExt as _, Shared};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use kube::api::{Api, ListParams};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config as ControllerConfig};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt as _};
use kube::{Client, Resource, ResourceExt as _};
use rollforward_api::exception::VerificationException;
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::run::UpdateRun;
use rollforward_api::trust_root::TrustRoot;
use rollforward_api::verification::VerificationPolicy;
use rollforward_core::workload::Kind;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
use crate::kubernetes::brake::{self, Brake};
use crate::kubernetes::delegates::objects::{Canary, Rollout};
use crate::kubernetes::delegates::{self, Delegates, Points};
use crate::kubernetes::events::Events;
use crate::kubernetes::lease::{self, Candidate, Leadership};
use crate::kubernetes::named;
use crate::kubernetes::pod_watch::PodWatches;
use crate::prometheus::Meter;
use crate::reconcile::at_rest::AtRest;
use crate::reconcile::explain::Words;
use crate::reconcile::ledgers::Ledgers;
use crate::reconcile::observe::Stores;
use crate::reconcile::preflight::Obstacles;
use crate::reconcile::trust::{self, TrustStores};
use crate::reconcile::{Context, Error, gather, reconcile};
use crate::registry::Registry;
use crate::scans::Scans;
use crate::server::{self, Readiness};
use crate::telemetry::{self, Metrics};

use standings::Standings;
use waking::{policies_by, policies_in, policies_of, policy_of_run};

/// How many passes run at once.
const CONCURRENCY: u16 = 64;

type Policies = Store<DeserializeGuard<UpdatePolicy>>;
type Stop = Shared<futures::future::BoxFuture<'static, ()>>;

pub(crate) async fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)?;
    telemetry::start_logs(&config);
    let registry = Registry::new(config.registries.clone()).context("the registry client")?;
    let (metrics, exported) = Metrics::new(registry.clone());
    let readiness = Readiness::waiting("starting: the apiserver has not been asked yet");
    let listener = TcpListener::bind(&config.listen)
        .await
        .with_context(|| format!("`listen: {}`: expected a free address and port", config.listen))?;
    let serving = tokio::spawn(server::serve(listener, readiness.clone(), exported));
    let stop = stop()?;
    let client = super::client().await?;
    tokio::select! {
        () = wait_for_crds(&client, &config, &readiness) => {}
        () = stop.clone() => return Ok(ExitCode::SUCCESS),
    }
    let brake = follow_brake(&client, &config);
    tokio::select! {
        () = told(brake.clone()) => {}
        () = stop.clone() => return Ok(ExitCode::SUCCESS),
    }
    let mut candidate = candidate(&client, &config);
    let leadership = candidate.as_ref().map_or_else(Leadership::alone, Candidate::leadership);
    if !stood_by(&mut candidate, &readiness, &stop).await {
        return Ok(ExitCode::SUCCESS);
    }
    let spaces: Vec<Option<String>> = match config.watch_namespaces.as_slice() {
        [] => vec![None],
        named => named.iter().cloned().map(Some).collect(),
    };
    let mut pods = PodWatches::default();
    let watches = spaces.iter().map(|space| Watches::new(&client, space.as_deref(), (&brake, &mut pods)));
    let watches: Vec<Watches> = watches.collect();
    let stores = Stores::new(
        watches.iter().map(|watch| watch.policies.clone()).collect(),
        watches.iter().map(|watch| watch.runs.clone()).collect(),
        watches.iter().map(|watch| watch.trust.clone()).collect(),
    );
    let events = Events::new(client.clone());
    let ctx = Arc::new(Context {
        client,
        config,
        registry,
        scans: Scans::default(),
        roots: trust::KnownRoots::default(),
        cache: gather::Cache::default(),
        events,
        metrics,
        words: Words::default(),
        meter: Meter::new().context("the client for Prometheus")?,
        at_rest: AtRest::default(),
        obstacles: Obstacles::default(),
        delegates: Delegates::default(),
        pods,
        ledgers: Ledgers::default(),
        stores,
        brake,
        leadership,
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    readiness.set(Ok(()));
    let lost = act(watches, &ctx, &stop, &mut candidate).await;
    serving.abort();
    if let Some(why) = lost {
        // What was under way meets the fence; a new process stands by.
        anyhow::bail!(
            "stopped acting: {why}; open runs stay held and go on with the operator that holds the Lease"
        );
    }
    tracing::info!("stopped; open runs stay held and go on after a restart");
    Ok(ExitCode::SUCCESS)
}

/// Acts until the operator is stopped, or until it has lost the Lease: then says why.
async fn act(
    watches: Vec<Watches>,
    ctx: &Arc<Context>,
    stop: &Stop,
    candidate: &mut Option<Candidate>,
) -> Option<String> {
    let controllers = watches.into_iter().map(|watch| {
        let walk = watch.controller.run_until(stop.clone(), Arc::clone(ctx));
        let standings = watch.standings.run_until(stop.clone(), Arc::clone(ctx));
        futures::future::join(walk, standings)
    });
    let lost = tokio::select! {
        _ = futures::future::join_all(controllers) => None,
        why = lost(candidate) => Some(why),
    };
    if let Some(candidate) = candidate {
        candidate.release().await;
    }
    lost
}

/// The operator as a candidate for the Lease, where there is an election.
fn candidate(client: &Client, config: &Config) -> Option<Candidate> {
    config.leader_election.then(|| {
        let identity = lease::identity(std::env::var("HOSTNAME").ok(), crate::clock::now());
        Candidate::new(client.clone(), &own_namespace(client, config), identity)
    })
}

/// Waits for the Lease, where there is an election; false where the operator is stopped meanwhile.
async fn stood_by(candidate: &mut Option<Candidate>, readiness: &Readiness, stop: &Stop) -> bool {
    let Some(candidate) = candidate else { return true };
    readiness.set(Ok(())); // a rollout of the operator must not wait for the Lease
    tokio::select! {
        () = candidate.acquire() => true,
        () = stop.clone() => false,
    }
}

/// Waits until the Lease is lost; for ever where there is no election.
async fn lost(candidate: &mut Option<Candidate>) -> String {
    match candidate {
        Some(candidate) => candidate.keep().await,
        None => std::future::pending().await,
    }
}

fn own_namespace(client: &Client, config: &Config) -> String {
    config.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())
}

/// Begins to follow the brake for everything.
fn follow_brake(client: &Client, config: &Config) -> watch::Receiver<Brake> {
    let (sender, receiver) = watch::channel(Brake::Unknown);
    tokio::spawn(brake::follow(client.clone(), own_namespace(client, config), sender));
    receiver
}

/// Waits until the apiserver has said whether everything is paused: a restart must not begin what is paused.
async fn told(mut brake: watch::Receiver<Brake>) {
    let _ = brake.wait_for(|brake| *brake != Brake::Unknown).await;
}

/// Resolves at SIGTERM or SIGINT.
fn stop() -> anyhow::Result<Stop> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    // Polled in a task of its own, so that a signal counts whoever is listening.
    let task = tokio::spawn(stop);
    Ok(async move {
        let _ = task.await;
    }
    .boxed()
    .shared())
}

/// Waits until the apiserver serves our kinds; `/ready` says what is missing.
async fn wait_for_crds(client: &Client, config: &Config, readiness: &Readiness) {
    let namespace = config.watch_namespaces.first().cloned();
    loop {
        let one = ListParams::default().limit(1);
        let policies: Api<DeserializeGuard<UpdatePolicy>> = scoped(client, namespace.as_deref());
        let trust: Api<DeserializeGuard<VerificationPolicy>> = scoped(client, namespace.as_deref());
        let (kind, error) = match (policies.list(&one).await, trust.list(&one).await) {
            (Ok(_), Ok(_)) => return,
            (Err(error), _) => ("updatepolicies", error),
            (Ok(_), Err(error)) => ("verificationpolicies", error),
        };
        let words = match crate::kubernetes::status(&error).map(|status| status.code) {
            Some(404) => {
                "the custom resource definitions are missing: kubectl apply -f crds/, or install the chart"
                    .to_owned()
            }
            Some(403) => {
                format!("no right to list {kind}.rollforward.dev: {}", crate::kubernetes::words(&error))
            }
            _ => format!("the apiserver does not answer: {}", crate::kubernetes::words(&error)),
        };
        tracing::warn!("not ready: {words}");
        readiness.set(Err(words));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The watches of one namespace, or of all.
struct Watches {
    policies: Policies,
    runs: Store<DeserializeGuard<UpdateRun>>,
    trust: TrustStores,
    controller: Walker,
    standings: Standings,
}

struct Walker(Controller<DeserializeGuard<UpdatePolicy>>);

/// Lets the workloads of a kind wake the policies that mean them.
fn waking<K>(
    controller: Controller<DeserializeGuard<UpdatePolicy>>,
    client: &Client,
    namespace: Option<&str>,
    (kind, policies): (Kind, &Policies),
) -> Controller<DeserializeGuard<UpdatePolicy>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = scoped(client, namespace);
    let changes = watcher(api, watcher::Config::default()).default_backoff().touched_objects();
    let known = policies.clone();
    controller.watches_stream(changes, move |object| policies_of(&known, kind, &object))
}

/// Lets who rolls workloads out wake the policies that mean those workloads: a verdict is read within seconds.
fn waking_by<K>(
    controller: Controller<DeserializeGuard<UpdatePolicy>>,
    client: &Client,
    namespace: Option<&str>,
    policies: &Policies,
) -> Controller<DeserializeGuard<UpdatePolicy>>
where
    K: Points + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let known = policies.clone();
    let changes = delegates::changes::<K>(client.clone(), namespace);
    controller.watches_stream(changes, move |object| {
        object.0.as_ref().map_or_else(|_| Vec::new(), |object| policies_by(&known, object))
    })
}

impl Watches {
    fn new(
        client: &Client,
        namespace: Option<&str>,
        (brake, pods): (&watch::Receiver<Brake>, &mut PodWatches),
    ) -> Self {
        let (policies, writer) = reflector::store();
        let api: Api<DeserializeGuard<UpdatePolicy>> = scoped(client, namespace);
        let changes = watcher(api, watcher::Config::default())
            .default_backoff()
            .modify(strip_policy)
            .reflect(writer)
            .touched_objects()
            .predicate_filter(meaning, PredicateConfig::default());
        let (runs, writer) = reflector::store();
        let api: Api<DeserializeGuard<UpdateRun>> = scoped(client, namespace);
        let run_changes = watcher(api, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .touched_objects()
            .predicate_filter(meaning, PredicateConfig::default());
        let (decisions, decision_changes) =
            trusted::<DeserializeGuard<VerificationPolicy>>(client, namespace);
        let (exceptions, exception_changes) =
            trusted::<DeserializeGuard<VerificationException>>(client, namespace);
        let (roots, root_changes) = trusted::<DeserializeGuard<TrustRoot>>(client, namespace);
        let trust = TrustStores { policies: decisions, roots, exceptions, doubts: named::Doubts::default() };
        let [map_changes, root_maps, decision_maps] = {
            let (trust, policies) = (trust.clone(), policies.clone());
            named::follow(client.clone(), trust.doubts.clone(), move || trust.named(&policies))
        };
        let (root_changes, roots_too) = standings::told_twice(root_changes);
        let standings = Standings::new(client, namespace, &trust, (root_maps, decision_maps, roots_too));
        let wake = |known: &Policies| {
            let known = known.clone();
            move |space: Option<String>| policies_in(&known, space.as_deref())
        };
        let (on_decision, on_exception) = (wake(&policies), wake(&policies));
        let (on_root, on_map) = (wake(&policies), wake(&policies));
        let controller = Controller::for_stream(changes, policies.clone())
            .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
            .reconcile_all_on(brake::changes(brake.clone()))
            .reconcile_on(pods.listen(namespace))
            .watches_stream(run_changes, policy_of_run)
            .watches_stream(decision_changes, move |changed| on_decision(changed.namespace()))
            .watches_stream(exception_changes, move |changed| on_exception(changed.namespace()))
            .watches_stream(root_changes, move |changed| on_root(changed.namespace()))
            .watches_stream(map_changes.map(Ok), move |changed| on_map(changed.namespace()));
        let controller = waking::<Deployment>(controller, client, namespace, (Kind::Deployment, &policies));
        let controller = waking::<StatefulSet>(controller, client, namespace, (Kind::StatefulSet, &policies));
        let controller = waking::<DaemonSet>(controller, client, namespace, (Kind::DaemonSet, &policies));
        let controller = waking::<CronJob>(controller, client, namespace, (Kind::CronJob, &policies));
        let controller = waking_by::<Rollout>(controller, client, namespace, &policies);
        let controller = waking_by::<Canary>(controller, client, namespace, &policies);
        Self { policies, runs, trust, controller: Walker(controller), standings }
    }
}

/// A watch of what a namespace trusts: kept, and told where it means something else.
fn trusted<K>(
    client: &Client,
    namespace: Option<&str>,
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let changes = watcher(scoped::<K>(client, namespace), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .touched_objects()
        .predicate_filter(meaning, PredicateConfig::default());
    (store, changes)
}

impl Walker {
    async fn run_until(self, stop: Stop, ctx: Arc<Context>) {
        self.0
            .graceful_shutdown_on(stop)
            .run(reconcile, on_error, ctx)
            .for_each(|result| async move {
                if let Err(error) = result {
                    // A policy that was deleted meanwhile is not found: no fault.
                    tracing::debug!(%error, "pass ended early");
                }
            })
            .await;
    }
}

fn on_error(object: Arc<DeserializeGuard<UpdatePolicy>>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.metrics.pass_errors.inc();
    let name = object.meta().name.clone().unwrap_or_default();
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    tracing::warn!(policy = %name, %namespace, %error, "the apiserver did not do what was asked; tried again");
    let code = match error {
        Error::Api(cause) => cause.code(),
        Error::NotLeading => None,
    };
    // A conflict or a vanished object is read again at once; an apiserver in trouble gets time.
    let wait = if matches!(code, Some(404 | 409)) { 200 } else { 2_000 };
    Action::requeue(Duration::from_millis(wait))
}

/// What decisions never read of a watched policy: a third of its size.
fn strip_policy(object: &mut DeserializeGuard<UpdatePolicy>) {
    object.meta_mut().managed_fields = None;
    if let Ok(policy) = &mut object.0 {
        policy.status = None;
        policy.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Changes when an object means something else; a status or a bookkeeping field changes nothing.
fn meaning<K: Resource>(object: &K) -> Option<u64> {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.generation.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    Some(hasher.finish())
}
