//! The real controllers of Argo Rollouts and Flagger, each for one namespace, with their own definitions of their kinds.
//!
//! The definitions are taken from the module that the part was built from; nothing of theirs is kept here.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::keeper;
use crate::wait::{Seen, wait_until};

/// A running controller.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// Argo Rollouts.
    pub async fn argo(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        define(cluster, "argo", "github.com/argoproj/argo-rollouts", "manifests/crds", |file| {
            file.ends_with("-crd.yaml")
        })
        .await?;
        let (metrics, health) = (port()?, port()?);
        let arguments = [
            "--namespaced".to_owned(),
            format!("--namespace={namespace}"),
            "--leader-elect=false".to_owned(),
            format!("--metricsPort={metrics}"),
            format!("--healthzPort={health}"),
        ];
        Self::start(cluster, namespace, "rollouts-controller", &arguments)
    }

    /// Flagger without a mesh: it switches Services, and looks at no metric unless a Canary names one.
    pub async fn flagger(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        define(cluster, "flagger", "github.com/fluxcd/flagger", "artifacts/flagger", |file| {
            file == "crd.yaml"
        })
        .await?;
        let arguments = [
            format!("-namespace={namespace}"),
            "-mesh-provider=kubernetes".to_owned(),
            "-metrics-server=http://127.0.0.1:9".to_owned(),
            "-control-loop-interval=1s".to_owned(),
            "-log-level=info".to_owned(),
            format!("-port={}", port()?),
        ];
        Self::start(cluster, namespace, "flagger", &arguments)
    }

    fn start(cluster: &Cluster, namespace: &str, program: &str, more: &[String]) -> anyhow::Result<Self> {
        let log = cluster.folder.join(format!("{program}-{namespace}.log"));
        let out = fs::File::create(&log)?;
        let child = Command::new(cluster.parts.program(program))
            .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
            .args(more)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| program.to_owned())?;
        keeper::remember(&cluster.folder, child.id())?;
        Ok(Self { child, log })
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Applies the definitions that a module brings; two trials may do so at once.
async fn define(
    cluster: &Cluster,
    part: &str,
    module: &str,
    folder: &str,
    is_wanted: fn(&str) -> bool,
) -> anyhow::Result<()> {
    let part = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts").join(part);
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .env("GOFLAGS", "-mod=readonly")
        .current_dir(part)
        .output()
        .context("go")?;
    if !output.status.success() {
        bail!("go mod download {module}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let folder = Path::new(told["Dir"].as_str().context("Dir")?).join(folder);
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_wanted(name) {
            let path = path.display().to_string();
            cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path])?;
            let established = ["wait", "--for=condition=Established", "--timeout=5s", "-f", &path];
            wait_until(&format!("{name} to be served"), Duration::from_secs(60), || async {
                let waited = cluster.kubectl(&established);
                Ok(waited.map_or_else(|error| Seen::NotYet(error.to_string()), |_| Seen::Yes(())))
            })
            .await?;
        }
    }
    Ok(())
}
