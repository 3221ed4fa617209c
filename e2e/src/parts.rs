//! The programs of the real parts: built once by `parts/build.sh`, then found here by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// What the machine must have beside Rust: program, what it is for, how to get it.
const NEEDED: &[(&str, &str, &str)] = &[
    ("go", "builds the Kubernetes parts", "the golang package of your distribution, 1.26 or newer"),
    ("gcc", "compiles runc and the sample images", "apt-get install gcc"),
    ("pkg-config", "finds libseccomp", "apt-get install pkg-config"),
    ("ip", "makes the nodes' networks", "apt-get install iproute2"),
    ("nsenter", "enters the nodes' networks", "apt-get install util-linux"),
    ("mount", "is used by containerd", "apt-get install mount"),
];

/// Where each program is.
#[derive(Debug, Clone)]
pub struct Parts {
    folders: BTreeMap<String, PathBuf>,
}

/// What a cluster alone is made of; the trials also need the other tools beside it.
pub const CLUSTER: &[&str] = &["etcd", "cni", "runc", "registry", "containerd", "kubernetes"];

impl Parts {
    /// Builds what is missing of these parts, or of all where none is named, with progress on standard error.
    pub fn ensure(parts: &[&str]) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("run this as root: it makes network namespaces, mounts and cgroups of its own");
        }
        let missing: Vec<String> = NEEDED
            .iter()
            .filter(|(program, _, _)| !on_path(program))
            .map(|(program, purpose, install)| format!("{program} ({purpose}): {install}"))
            .collect();
        if !missing.is_empty() {
            bail!("missing on this machine:\n  {}", missing.join("\n  "));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts/build.sh");
        let built = Command::new("bash").arg(&script).args(parts).status().context("parts/build.sh")?;
        if !built.success() {
            bail!("the parts could not be built: see above");
        }
        let listed =
            Command::new("bash").arg(&script).arg("--print").output().context("parts/build.sh --print")?;
        let folders = String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(part, folder)| (part.to_owned(), PathBuf::from(folder)))
            .collect();
        Ok(Self { folders })
    }

    /// For a cluster that somebody else runs: the machine's own kubectl, and nothing is built.
    pub fn of_the_machine() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folder = std::env::split_paths(&path).find(|folder| folder.join("kubectl").exists());
        let folder = folder.context(
            "missing on this machine: kubectl (speaks to the cluster of KUBECONFIG): https://kubernetes.io/docs/tasks/tools",
        )?;
        Ok(Self { folders: [("kubectl".to_owned(), folder)].into() })
    }

    /// The folder of a part.
    pub fn folder(&self, part: &str) -> &Path {
        &self.folders[part]
    }

    /// A program by name.
    pub fn program(&self, name: &str) -> PathBuf {
        let found = self.folders.values().map(|folder| folder.join(name)).find(|path| path.exists());
        found.unwrap_or_else(|| panic!("no part has a program {name}"))
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).any(|folder| folder.join(program).exists())
}
