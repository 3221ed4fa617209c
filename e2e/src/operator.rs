//! The operator as a child process: started from the workspace's own binary, seen by its log, its ports and its exit.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cluster::Cluster;
use crate::keeper;
use crate::wait::{Seen, wait_until};

/// The operator's binary: built unless it is fresh, or named by `ROLLFORWARD_BINARY`.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("ROLLFORWARD_BINARY") {
        return Ok(PathBuf::from(named));
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    // The whole workspace, so that features are those of `cargo test --workspace` and nothing is built twice.
    let build = escargot::CargoBuild::new().manifest_path(manifest).arg("--workspace").bin("rollforward");
    let build = if cfg!(debug_assertions) { build } else { build.release() };
    Ok(build.run().context("the operator's binary could not be built")?.path().to_owned())
}

/// A running operator.
pub struct Operator {
    child: Option<Child>,
    log: PathBuf,
    port: u16,
    binary: PathBuf,
    kubeconfig: PathBuf,
}

impl Operator {
    /// Starts the operator against a cluster; `extra` is YAML of further configuration keys.
    pub async fn start(cluster: &Cluster, name: &str, extra: &str) -> anyhow::Result<Self> {
        let registry = cluster.registry_host();
        Self::start_with(cluster, name, &format!("registries: {{plainHttp: [\"{registry}\"]}}\n{extra}\n"))
            .await
    }

    /// Starts the operator against a cluster with this configuration and waits until it is ready.
    pub async fn start_with(cluster: &Cluster, name: &str, config: &str) -> anyhow::Result<Self> {
        let operator = Self::spawn(&cluster.folder, cluster.kubeconfig(), name, config)?;
        keeper::remember(&cluster.folder, operator.pid())?;
        operator.wait_ready().await?;
        Ok(operator)
    }

    /// Starts the operator with a configuration, without waiting.
    pub fn spawn(folder: &Path, kubeconfig: &Path, name: &str, config: &str) -> anyhow::Result<Self> {
        let binary = binary()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let file = folder.join(format!("{name}.yaml"));
        fs::write(
            &file,
            format!(
                "listen: 127.0.0.1:{port}\nlog: {{format: Text, level: \"info,rollforward=debug\"}}\n{config}"
            ),
        )?;
        let log = folder.join(format!("{name}.log"));
        let out = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let child = Command::new(&binary)
            .arg("run")
            .arg("--config")
            .arg(&file)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("the operator")?;
        Ok(Self { child: Some(child), log, port, binary, kubeconfig: kubeconfig.to_owned() })
    }

    /// Waits until `/ready` answers.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        wait_until("the operator to be ready", Duration::from_secs(30), || async {
            let (code, text) = self.get("/ready").await?;
            Ok(if code == 200 { Seen::Yes(()) } else { Seen::NotYet(text) })
        })
        .await
        .with_context(|| self.log())
    }

    /// GET of the operator's own port: status and text.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The value of a metric, summed over its labels.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let named = lines.filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(named.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse::<u64>()? * 1024)
    }

    /// Processor time that it has used, seconds, in user and kernel.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15, in ticks.
        let (_, rest) = stat.rsplit_once(')').context("a stat line")?;
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill −9.
    pub fn kill(mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Lets it run on after this process.
    pub fn leave(mut self) {
        self.child.take();
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("running")?;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let started = std::time::Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Duration::from_secs(15) < started.elapsed() {
                child.kill()?;
                bail!("the operator did not end within 15 s of SIGTERM");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs another command of the binary.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        command(&self.binary, &self.kubeconfig, arguments)
    }
}

/// Runs a command of the operator's binary.
pub fn command(binary: &Path, kubeconfig: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    Command::new(binary).args(arguments).env("KUBECONFIG", kubeconfig).output().context("rollforward")
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
