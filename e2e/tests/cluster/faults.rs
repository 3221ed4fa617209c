//! Images that fail on a real node: what is done, the cause by its code, the sentence. Surroundings: `surroundings.rs`.

use std::sync::Arc;

use e2e::cluster::Cluster;
use e2e::fault::{Action, Fault, When};
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::Shop;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("an image that exits at start is named by its exit code, rolled back and quarantined", crash),
        trial("an image that crashes after having been Ready is rolled back all the same", late_crash),
        trial("an image that ends by a signal is named by the signal", signal),
        trial("an image that needs more memory than it may have is named so", out_of_memory),
        trial("an image whose program is missing is named by the runtime's words", missing_program),
        trial("an image that runs as root where that is forbidden is refused by security, and said so", root),
        trial("an image whose user is a name cannot be told from root, and that is said", named_user),
        trial(
            "an image that never becomes Ready is rolled back at the deadline with the probe's words",
            never_ready,
        ),
        trial("an image that has moved its readiness path is rolled back with the probe's words", moved_path),
        trial("an image without the node's platform is not begun with", wrong_platform),
        trial("an image whose program is of another machine than it says is rolled back", lying_platform),
        trial("an image whose layer is gone when the node pulls it is named so", layer_gone),
        trial("a digest deleted from the registry before the node pulls it is named so", digest_gone),
        trial(
            "an image that writes where the root is read-only is told to be likely blocked by that",
            read_only_root,
        ),
    ]
}

async fn crash(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--exit", "78"]),
        reason: "CrashExit",
        says: &[
            "expected the canary to stay up 3s, observed 3 crashes in ",
            "exit code 78, on node-a. The image is at fault, not the cluster: 2 of 2 old pods Ready with 0 restarts, and none shows this. ",
            "Publish a newer tag, or: kubectl rollforward release web sha256:",
        ],
        ..Fault::new("crash")
    };
    fault.check(cluster).await
}

async fn late_crash(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--exit", "1", "--after", "1500"]),
        reason: "CrashExit",
        says: &["exit code 1, on node-a"],
        bake: "8s",
        ..Fault::new("late-crash")
    };
    fault.check(cluster).await
}

async fn signal(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--signal", "11"]),
        reason: "CrashSignal",
        says: &["3 crashes in ", "ended by SIGSEGV, on node-a"],
        ..Fault::new("signal")
    };
    fault.check(cluster).await
}

async fn out_of_memory(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--alloc"]),
        container: "        resources: {limits: {memory: 16Mi}}",
        reason: "OutOfMemory",
        says: &["3 crashes in ", "memory", "limit 16Mi"],
        ..Fault::new("memory")
    };
    fault.check(cluster).await
}

async fn missing_program(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").entrypoint("/renamed"),
        reason: "StartFailed",
        says: &["observed ", "/renamed", "no such file or directory"],
        ..Fault::new("missing-program")
    };
    fault.check(cluster).await
}

async fn root(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // The running image has a user of its own; the new one does not.
    let fault = Fault {
        old: Image::new("1.0.0").user("1000"),
        container: "        securityContext: {runAsNonRoot: true}",
        reason: "RunAsNonRoot",
        says: &[
            "the security layer refused it, not the application: ",
            "container has runAsNonRoot and image will run as root",
        ],
        ..Fault::new("root")
    };
    fault.check(cluster).await
}

async fn named_user(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        old: Image::new("1.0.0").user("1000"),
        new: Image::new("1.0.1").user("app"),
        container: "        securityContext: {runAsNonRoot: true}",
        reason: "RunAsNonRoot",
        says: &[
            "the security layer refused it, not the application: ",
            "numeric user (app), cannot verify user is non-root",
        ],
        ..Fault::new("named-user")
    };
    fault.check(cluster).await
}

async fn never_ready(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--never-ready"]),
        reason: "NotReady",
        says: &[
            "expected the canary to start and stay Ready for 3s, observed Readiness probe failed: HTTP probe failed with statuscode: 503",
        ],
        deadline: "12s",
        ..Fault::new("never-ready")
    };
    fault.check(cluster).await
}

async fn moved_path(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--ready-path", "/healthz"]),
        reason: "NotReady",
        says: &["observed Readiness probe failed: HTTP probe failed with statuscode: 404"],
        deadline: "12s",
        ..Fault::new("moved-path")
    };
    fault.check(cluster).await
}

async fn wrong_platform(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        new: Image::new("1.0.1").architecture("riscv64"),
        action: Action::Held,
        reason: "PlatformMissing",
        says: &[
            "1.0.1@",
            "expected an image for linux/",
            "observed only linux/riscv64. Publish it for linux/",
        ],
        ..Fault::new("wrong-platform")
    };
    fault.check(cluster).await
}

async fn lying_platform(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // runc has given its place to the program when the kernel refuses that: 255 is all that the API shows.
    let fault = Fault {
        new: Image::new("1.0.1").foreign(),
        reason: "CrashExit",
        says: &["3 crashes in ", "exit code 255, on node-a"],
        ..Fault::new("lying-platform")
    };
    fault.check(cluster).await
}

async fn layer_gone(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // The layer's blob is removed behind the registry's back: the manifest is there, the content is not.
    let fault = Fault {
        new: Image::new("1.0.1-gone"),
        change: Some((When::Soaking, remove_layer)),
        reason: "PullNotFound",
        says: &["expected the node to pull the image, observed "],
        deadline: "15s",
        ..Fault::new("layer-gone")
    };
    fault.check(cluster).await
}

/// Removes the layer of a manifest from the registry's storage.
pub(crate) fn remove_layer(shop: &Shop, digest: &str) -> anyhow::Result<()> {
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(blob(shop, digest))?)?;
    let layer = manifest["layers"][0]["digest"].as_str().unwrap_or_default().to_owned();
    Ok(std::fs::remove_file(blob(shop, &layer))?)
}

fn blob(shop: &Shop, digest: &str) -> std::path::PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let root = shop.cluster.folder.join("registry/docker/registry/v2/blobs/sha256");
    root.join(&hex[..2]).join(hex).join("data")
}

async fn digest_gone(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // The policy looks seldom: what it knows of the tag is older than the deletion.
    let fault = Fault {
        interval: "60s",
        change: Some((When::Soaking, |shop, digest| {
            let repository =
                shop.cluster.folder.join("registry/docker/registry/v2/repositories").join(&shop.repository);
            let hex = digest.trim_start_matches("sha256:");
            std::fs::remove_dir_all(repository.join("_manifests/revisions/sha256").join(hex))?;
            Ok(std::fs::remove_dir_all(repository.join("_manifests/tags/1.0.1"))?)
        })),
        reason: "PullNotFound",
        says: &["expected the node to pull the image, observed "],
        deadline: "15s",
        ..Fault::new("digest-gone")
    };
    fault.check(cluster).await
}

async fn read_only_root(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // The last words of a program are read where the pod lets the kubelet keep them.
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--write", "/cache"]),
        container: "        securityContext: {readOnlyRootFilesystem: true}\n        terminationMessagePolicy: FallbackToLogsOnError",
        reason: "ReadOnlyRootBlocked",
        says: &[
            "exit code 1, \"open /cache: Read-only file system\", and the pod has readOnlyRootFilesystem: true",
            "likely",
        ],
        ..Fault::new("read-only-root")
    };
    fault.check(cluster).await
}
