//! What `kubectl apply` refuses, with the sentence that the user reads.

use std::sync::Arc;

use anyhow::{bail, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::shop::Shop;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a bad policy is refused by the apiserver with a sentence that says what was expected",
            refused,
        ),
        trial("the samples of config/samples are accepted", samples),
        trial("the record of a run cannot be changed", immutable),
    ]
}

/// Lines below `spec:`, and what the refusal must say.
const REFUSED: &[(&str, &str)] = &[
    (
        "  rollout: {bake: 1h-1m}",
        "expected hours, minutes and seconds such as 1h30m, 10m or 45s, at least 1s and at most 30 days (720h); got 1h-1m",
    ),
    ("  rollout: {bake: 0s}", "at least 1s and at most 30 days"),
    ("  rollout: {bake: 721h}", "at most 30 days (720h); got 721h"),
    (
        "  rollout: {bake: 20m, deadline: 10m}",
        "expected bake to be at most deadline; got bake 20m and deadline 10m",
    ),
    ("  rollout: {steps: [1, 2]}", "expected the last of steps to be \"100%\""),
    (
        "  rollout: {steps: [0, \"100%\"]}",
        "expected a number of pods from 1 to 1000, or a share from \"1%\" to \"100%\"; got 0",
    ),
    ("  rollout: {steps: [\"150%\", \"100%\"]}", "; got 150%"),
    ("  rollout: {steps: []}", "should have at least 1 items"),
    ("  rollout: {quarantine: {afterFails: 0}}", "should be greater than or equal to 1"),
    ("  rollout: {onDeadline: Panic}", "supported values: \"RollBack\", \"Hold\""),
    (
        "  image: {select: {level: Patch, semver: {range: ~1.4}}}",
        "expected exactly one of level, semver, calver, numeric, lexical and digest",
    ),
    ("  image: {select: {}}", "expected exactly one of level, semver, calver, numeric, lexical and digest"),
    (
        "  image: {select: {numeric: {}, digest: {tag: latest}}}",
        "expected exactly one of level, semver, calver, numeric, lexical and digest",
    ),
    ("  image: {select: {lexical: {}}}", "spec.image.select.lexical.order: Required value"),
    ("  image: {select: {numeric: {order: Down}}}", "supported values: \"Ascending\", \"Descending\""),
    ("  image: {select: {digest: {tag: \"-x\"}}}", "expected a tag of letters, digits, _, . and -; got -x"),
    (
        "  image: {source: {repository: \"quay.io/acme/web:1.0\"}}",
        "expected a registry and a path without a tag, such as quay.io/acme/web; got quay.io/acme/web:1.0",
    ),
    ("  image: {variant: {mode: Pattern}}", "expected pattern with mode Pattern, and with no other mode"),
    (
        "  image: {variant: {mode: Keep, pattern: jdk}}",
        "expected pattern with mode Pattern, and with no other mode",
    ),
    ("  image: {rebuilds: Never}", "supported values: \"Auto\", \"Follow\", \"Hold\""),
    ("  image: {tags: {include: \"(\"}}", "error parsing regexp: missing closing ): `(`"),
    (
        "  image: {tags: {extract: \"^main-([0-9]+)$\"}}",
        "expected a group named version, such as ^main-(?P<version>[0-9]+)$; got ^main-([0-9]+)$",
    ),
    (
        "  verification: {}",
        "expected a decision: unsigned, authorities, or what makes those of the namespace stricter",
    ),
    ("  verification: {unsigned: Perhaps}", "supported values: \"Allow\", \"Deny\""),
    ("  verification: {unsigned: Allow, soak: {unsigned: 1d}}", "expected hours, minutes and seconds"),
    ("  schedule: {interval: 0s}", "at least 1s"),
    ("  mode: Maybe", "supported values: \"Enforce\", \"DryRun\""),
    ("  delivery: {mode: Git}", "unknown field \"spec.delivery\""),
];

async fn refused(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = Shop::open(&cluster, "refused").await?;
    for (spec, says) in REFUSED {
        let text = spec.replacen("  schedule:", "  suspend: false\n  schedule:", 1);
        match shop.policy(&text) {
            Ok(_) => bail!("{spec} was accepted; expected a refusal that says {says:?}"),
            Err(error) => ensure!(error.to_string().contains(says), "{spec}: expected {says:?} in: {error}"),
        }
    }
    let target = |target: &str| {
        let yaml = format!(
            "apiVersion: rollforward.dev/v1alpha1\nkind: UpdatePolicy\nmetadata: {{name: web}}\nspec: {{targets: [{target}]}}"
        );
        cluster.apply("refused", &yaml).map(drop).map_err(|error| error.to_string()).err().unwrap_or_default()
    };
    let neither = target("{apiVersion: apps/v1, kind: Deployment}");
    ensure!(neither.contains("expected exactly one of name and selector"), "{neither}");
    let kind = target("{apiVersion: batch/v1, kind: Job, name: x}");
    ensure!(
        kind.contains("expected apiVersion apps/v1 with kind Deployment, StatefulSet or DaemonSet, batch/v1 with CronJob, or argoproj.io/v1alpha1 with Rollout; got batch/v1 Job"),
        "{kind}"
    );
    shop.close()
}

async fn samples(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = Shop::open(&cluster, "samples").await?;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder)?.flatten() {
        let yaml = std::fs::read_to_string(entry.path())?;
        cluster.apply("samples", &yaml).map_err(|error| error.context(entry.path().display().to_string()))?;
        count += 1;
    }
    ensure!(0 < count, "no samples");
    shop.close()
}

async fn immutable(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "immutable").await?;
    super::canary::in_canary(&mut shop).await?;
    let run = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
    let patch =
        shop.kubectl(&["patch", run.trim(), "--type=merge", "-p", "{\"spec\":{\"toTag\":\"9.9.9\"}}"]);
    let error = patch.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(
        error.contains("the spec of an UpdateRun is the record of what was done and does not change"),
        "{error}"
    );
    shop.close()
}
