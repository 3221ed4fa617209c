//! kill -9 after each write of a run, on the real apiserver: the next operator comes to the same end.
//!
//! A door in front of the apiserver (`e2e/src/door.rs`) kills the operator when the apiserver has answered a write: one way
//! through a history for each write that it has. Pods are simulated. In CI every third write, beginning with another one
//! each day; `ROLLFORWARD_EVERY_WRITE=1` goes through all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::door::{Door, Which};
use e2e::harness::{self, Named, trial};
use e2e::image::Image;
use e2e::keeper;
use e2e::operator::Operator;
use e2e::shop::{PATIENCE, Shop, Workload, held, image, tail};
use e2e::simulated::{Life, SCHEDULER, Simulated};
use e2e::wait::{Seen, wait_until};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use rollforward_api::run::UpdateRun;
use serde_json::{Value, json};

const POLICY: &str = "  verification: {unsigned: Allow, soak: {unsigned: 0s}}
  rollout: {bake: 1s, deadline: 2m, steps: [1, \"50%\", \"100%\"], quarantine: {afterFails: 1}}";
const REPLICAS: u32 = 4;
/// Passes side by side.
const AT_ONCE: usize = 3;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("kill -9 after each write of a run to a good image: promoted, pinned, restored, once", good),
        trial("kill -9 after each write of a run to a bad image: rolled back and quarantined, once", bad),
        trial("kill -9 after each write of a policy's deletion in mid-canary: restored, and gone", deleted),
    ]
}

/// A history that is gone through again and again, each time with the operator killed after another write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Good,
    Bad,
    Deleted,
}

/// What is looked at when a history has come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    image: String,
    held: Vec<String>,
    /// Revisions that the native controller made: one more for each write of an image.
    revision: String,
    templates: usize,
    finalizers: usize,
    /// Phase and reason of each run that was opened.
    runs: Vec<(String, String)>,
    /// Tag, failed tries and whether it is quarantined.
    failed: Vec<(String, i64, bool)>,
    completed: Option<String>,
}

fn expected(story: Story, repository: &str, digest: &str) -> End {
    let end = End {
        image: format!("{repository}:1.0.0"),
        held: Vec::new(),
        revision: "3".to_owned(),
        templates: 2,
        finalizers: 0,
        runs: Vec::new(),
        failed: Vec::new(),
        completed: Some("1.0.0".to_owned()),
    };
    let run = |phase: &str, reason: &str| vec![(phase.to_owned(), reason.to_owned())];
    match story {
        Story::Good => End {
            image: format!("{repository}:1.0.1@{digest}"),
            revision: "2".to_owned(),
            runs: run("Succeeded", "RolledForward"),
            completed: Some("1.0.1".to_owned()),
            ..end
        },
        Story::Bad => {
            End { runs: run("RolledBack", "CrashExit"), failed: vec![("1.0.1".to_owned(), 1, true)], ..end }
        }
        // A ledger is the registry's memory, not the policy's: it stays.
        Story::Deleted => end,
    }
}

async fn good(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let kinds = [
        "imageledgers: created",
        "updatepolicies: finalizer set",
        "updateruns: created",
        "deployments: start",
    ];
    let more = [
        "deployments: widen",
        "deployments: promote",
        "updateruns: Succeeded, result",
        "updateruns: deleted",
    ];
    let last = ["updateruns: finalizer removed", "updatepolicies: finalizer removed"];
    sweep(cluster, Story::Good, &[&kinds[..], &more, &last].concat()).await
}

async fn bad(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let kinds =
        ["imageledgers: PATCH status", "updateruns: created", "deployments: start", "deployments: revert"];
    let more = ["updateruns: RolledBack, cause, intent, result", "updatepolicies: finalizer removed"];
    sweep(cluster, Story::Bad, &[&kinds[..], &more].concat()).await
}

async fn deleted(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let kinds = ["deployments: revert", "updateruns: finalizer removed", "updatepolicies: finalizer removed"];
    sweep(cluster, Story::Deleted, &kinds).await
}

/// Goes through a history for every write, and demands that the kinds of writes it is about were among them.
async fn sweep(cluster: Arc<Cluster>, story: Story, kinds: &[&str]) -> anyhow::Result<()> {
    let simulated = Arc::new(Simulated::start(&cluster).await?);
    let whole = Pass { cluster: Arc::clone(&cluster), simulated, story, earlier: None };
    let (mut all, record) = whole.go("first", None).await.context("without a kill")?;
    let whole = Pass { earlier: record, ..whole };
    if story == Story::Good {
        // With runs of long ago there are more writes: those that prune.
        (all, _) = whole.go("second", None).await.context("without a kill")?;
    }
    let missing: Vec<&&str> = kinds.iter().filter(|kind| !all.iter().any(|one| one == *kind)).collect();
    ensure!(missing.is_empty(), "the history has no {missing:?}: {all:?}");
    let stride = if std::env::var_os("ROLLFORWARD_EVERY_WRITE").is_some() { 1 } else { 3 };
    let first = usize::try_from(jiff::Timestamp::now().as_second() / 86_400)? % stride;
    let chosen = (0..all.len()).filter(|index| index % stride == first);
    let killed: Vec<anyhow::Result<Option<String>>> = futures::stream::iter(chosen)
        .map(|index| {
            let same = all[..index].iter().filter(|one| **one == all[index]).count();
            let (pass, which) = (&whole, (all[index].clone(), same));
            async move { pass.killed_after(index, which).await }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (passed, failed): (Vec<_>, Vec<_>) = killed.into_iter().partition(Result::is_ok);
    let transitions: Vec<String> = passed.into_iter().filter_map(Result::ok).flatten().collect();
    let failures: Vec<String> =
        failed.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    harness::measured(json!({
        "kill": format!("{story:?}"), "writes": all.len(), "transitions": transitions.len(),
        "failures": failures.len(), "after": transitions,
    }));
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    // A status that is written now and then may be written once less.
    ensure!(
        all.len() / stride <= transitions.len() + 3,
        "{} kills in {} writes",
        transitions.len(),
        all.len()
    );
    Ok(())
}

/// One way through a history.
struct Pass {
    cluster: Arc<Cluster>,
    simulated: Arc<Simulated>,
    story: Story,
    /// The run of the first pass, as the operator recorded it: copies of it are the runs that are pruned.
    earlier: Option<UpdateRun>,
}

impl Pass {
    async fn killed_after(&self, index: usize, which: Which) -> anyhow::Result<Option<String>> {
        let words = format!("{:?}, killed after write {}: {}", self.story, index + 1, which.0);
        let (_, _, killed) = self.through(&(index + 1).to_string(), Some(which)).await.context(words)?;
        Ok(killed)
    }

    async fn go(&self, word: &str, which: Option<Which>) -> anyhow::Result<(Vec<String>, Option<UpdateRun>)> {
        self.through(word, which).await.map(|(writes, run, _)| (writes, run))
    }

    /// Goes through the history: the writes of the first operator, the run, and after which write it was killed.
    async fn through(
        &self,
        word: &str,
        which: Option<Which>,
    ) -> anyhow::Result<(Vec<String>, Option<UpdateRun>, Option<String>)> {
        let name = format!("kill-{}-{word}", format!("{:?}", self.story).to_lowercase());
        let shop = Shop::open(&self.cluster, &name).await?;
        let digest = self.prepare(&shop).await?;
        let door = Door::open(&self.cluster, &name).await?;
        let operator = self.spawn(&door, &name)?;
        let mut before = 0;
        if self.story == Story::Deleted {
            door.aim(operator.pid(), None);
            shop.wait_state("Canary").await?;
            quiet(&door).await?;
            before = door.writes().len();
        }
        door.aim(operator.pid(), which);
        if self.story == Story::Deleted {
            shop.kubectl(&["delete", "updatepolicy", "web", "--wait=false"])?;
        }
        let log = operator.log();
        let wanted = expected(self.story, &shop.full_repository(), &digest);
        let ended = tokio::select! {
            _ = door.killed() => None,
            ended = self.ended(&shop, &wanted) => Some(ended),
        };
        if let Some(ended) = ended {
            ended.with_context(|| tail(&log))?;
            quiet(&door).await?;
        }
        let writes = door.writes().split_off(before);
        let killed = door.was_killed();
        if killed.is_some() {
            operator.kill()?;
            let operator = self.spawn(&door, &name)?;
            door.aim(operator.pid(), None);
            operator.wait_ready().await?;
            self.ended(&shop, &wanted).await.with_context(|| {
                format!("{}\nthe log:\n{}", door.writes().join("\n"), tail(&operator.log()))
            })?;
            self.looked_again(&shop).await?;
            let end = self.end(&shop).await?;
            ensure!(end == wanted, "after one more look: expected {wanted:?}, got {end:?}");
        }
        let runs = Api::<UpdateRun>::namespaced(self.cluster.client().await?, &name);
        Ok((writes, runs.list(&ListParams::default()).await?.items.into_iter().find(ours), killed))
    }

    fn spawn(&self, door: &Door, name: &str) -> anyhow::Result<Operator> {
        let config = format!(
            "watchNamespaces: [{name}]\nregistries: {{plainHttp: [\"{}\"]}}\n",
            self.cluster.registry_host()
        );
        let folder = &self.cluster.folder;
        let operator = Operator::spawn(folder, &door.kubeconfig, &format!("operator-{name}"), &config)?;
        keeper::remember(folder, operator.pid())?;
        Ok(operator)
    }

    /// Everything that is there before the operator is: the old pods, the new image, the policy, earlier runs.
    async fn prepare(&self, shop: &Shop) -> anyhow::Result<String> {
        let old = self.cluster.pusher().push(&shop.repository, "1.0.0", &Image::new("1.0.0")).await?;
        self.simulated.know(&format!("{}:1.0.0", shop.full_repository()), &old, Life::Ready);
        shop.workload(&Workload { replicas: REPLICAS, container: SCHEDULER, ..Workload::default() })?;
        shop.wait_available(REPLICAS.try_into()?).await?;
        let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
        let life = match self.story {
            Story::Good => Life::Ready,
            Story::Bad => Life::Crashes(78),
            Story::Deleted => Life::Pending,
        };
        self.simulated.know(&format!("{}:1.0.1", shop.full_repository()), &digest, life);
        shop.policy(POLICY)?;
        if let (Some(run), Story::Good) = (&self.earlier, self.story) {
            let runs = Api::<UpdateRun>::namespaced(self.cluster.client().await?, &shop.namespace);
            for number in 1..=3 {
                let copy = earlier(run, &shop.namespace, number);
                runs.create(&PostParams::default(), &copy).await?;
                let status = Patch::Merge(json!({"status": copy.status}));
                runs.patch_status(&copy.name_any(), &PatchParams::default(), &status).await?;
            }
        }
        Ok(digest)
    }

    /// Waits until everything is as it should be at the end, and the policy says so.
    async fn ended(&self, shop: &Shop, wanted: &End) -> anyhow::Result<()> {
        wait_until("the history to end", PATIENCE, || async {
            let end = self.end(shop).await?;
            if end != *wanted {
                return Ok(Seen::NotYet(format!("{end:?}\nexpected {wanted:?}")));
            }
            let said = self.says(shop).await?;
            Ok(if said { Seen::Yes(()) } else { Seen::NotYet("the policy says otherwise".to_owned()) })
        })
        .await
    }

    async fn says(&self, shop: &Shop) -> anyhow::Result<bool> {
        let (kind, reason) = match self.story {
            Story::Good => ("UpToDate", "NewestRuns"),
            Story::Bad => ("Blocked", "CrashExit"),
            Story::Deleted => return Ok(shop.read_policy("web").await.is_err()),
        };
        let status = shop.read_policy("web").await?.status.unwrap_or_default();
        Ok(status
            .conditions
            .iter()
            .flatten()
            .any(|one| one.type_ == kind && one.reason == reason && one.status == "True"))
    }

    /// One whole pass more, asked for and answered.
    async fn looked_again(&self, shop: &Shop) -> anyhow::Result<()> {
        if self.story == Story::Deleted {
            return Ok(());
        }
        let asked = jiff::Timestamp::now().to_string();
        shop.kubectl(&["annotate", "updatepolicy", "web", &format!("rollforward.dev/requestedAt={asked}")])?;
        wait_until("the look that was asked for", PATIENCE, || async {
            let handled =
                shop.read_policy("web").await?.status.and_then(|status| status.last_handled_request);
            Ok(if handled.as_ref() == Some(&asked) {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{handled:?}"))
            })
        })
        .await
    }

    async fn end(&self, shop: &Shop) -> anyhow::Result<End> {
        let client = self.cluster.client().await?;
        let workload = shop.read_workload().await?;
        let sets = Api::<ReplicaSet>::namespaced(client.clone(), &shop.namespace)
            .list(&ListParams::default())
            .await?;
        let runs =
            Api::<UpdateRun>::namespaced(client, &shop.namespace).list(&ListParams::default()).await?.items;
        let policy = shop.read_policy("web").await.ok();
        let finalizers = runs.iter().map(|run| run.finalizers().len()).sum::<usize>()
            + policy.as_ref().map_or(0, |policy| policy.finalizers().len());
        let status = |run: &UpdateRun| {
            let status = run.status.clone().unwrap_or_default();
            let reason = status.result.map_or(String::new(), |result| result.reason);
            (status.phase.unwrap_or_default(), reason)
        };
        let ledger: Value = serde_json::from_str(&shop.kubectl(&["get", "imageledgers", "-o", "json"])?)?;
        let ledger = &ledger["items"][0]["status"];
        let failed = ledger["quarantine"].as_array().into_iter().flatten().map(|one| {
            let tag = one["tag"].as_str().unwrap_or_default().to_owned();
            (tag, one["fails"].as_i64().unwrap_or_default(), one["quarantined"] == true)
        });
        Ok(End {
            image: image(&workload),
            held: held(&workload),
            revision: workload
                .annotations()
                .get("deployment.kubernetes.io/revision")
                .cloned()
                .unwrap_or_default(),
            templates: sets.items.len(),
            finalizers,
            // A deleted policy takes its runs along, some time later.
            runs: if policy.is_some() {
                runs.iter().filter(|run| ours(run)).map(status).collect()
            } else {
                Vec::new()
            },
            failed: failed.collect(),
            completed: ledger["workloads"][0]["completed"].as_str().map(str::to_owned),
        })
    }
}

fn ours(run: &UpdateRun) -> bool {
    run.spec.to_tag == "1.0.1"
}

/// A run of long ago that went well, made from a recorded one.
fn earlier(run: &UpdateRun, namespace: &str, number: u32) -> UpdateRun {
    let mut copy = UpdateRun::new(&format!("web-earlier-{number}"), run.spec.clone());
    copy.metadata.namespace = Some(namespace.to_owned());
    copy.metadata.labels = Some(BTreeMap::from([("rollforward.dev/policy".to_owned(), "web".to_owned())]));
    copy.spec.to_tag = format!("0.9.{number}");
    copy.status = run.status.clone();
    copy
}

/// Waits until nothing was written for a second and a half: longer than a look at an open run takes to come again.
async fn quiet(door: &Door) -> anyhow::Result<()> {
    let (mut known, mut since) = (0, std::time::Instant::now());
    loop {
        let now = door.writes().len();
        if now != known {
            (known, since) = (now, std::time::Instant::now());
        }
        if Duration::from_millis(1500) < since.elapsed() {
            return Ok(());
        }
        ensure!(now < 500, "{}", door.writes().join("\n"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
