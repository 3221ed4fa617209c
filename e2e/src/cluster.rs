//! A real Kubernetes of our own: etcd, apiserver, controller-manager, scheduler, the reference registry, and nodes.
//!
//! Everything lives in one folder, on one bridge, under one number, so that several clusters can be up at once and each can
//! be swept alone (`keeper.rs`). Start with [`Cluster::start`].

pub mod certificates;
pub mod node;

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Namespace, Node as NodeObject, ServiceAccount};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::image::{Image, Pusher};
use crate::keeper;
use crate::parts::Parts;
use crate::wait::{Seen, wait_until};
use certificates::Authority;

/// What a cluster has.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Real nodes, 0 to 4.
    pub nodes: u8,
    /// The parts that must be there: [`parts::CLUSTER`](crate::parts::CLUSTER), or all of them, which is none named.
    pub parts: &'static [&'static str],
}

/// A running cluster. Dropping it removes everything.
pub struct Cluster {
    /// Its number: in the names of bridge, namespaces, cgroups and in its addresses.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The bridge's address: the apiserver and the registry listen on it.
    pub address: String,
    /// The programs.
    pub parts: Parts,
    authority: Option<Authority>,
    kubeconfig: PathBuf,
    apiserver_port: u16,
    registry: String,
    pusher: Option<Pusher>,
    children: Mutex<Vec<Child>>,
    keeper: Option<Child>,
}

impl Cluster {
    /// Starts a cluster and waits until it can be used.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let parts = Parts::ensure(options.parts)?;
        let (id, folder) = claim()?;
        let keeper = keeper::start(&folder)?;
        let address = format!("172.30.{id}.1");
        let bridge = format!("rf{id}");
        run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{address}/24"), "dev", &bridge])?;
        run("ip", &["link", "set", &bridge, "up"])?;
        let authority = Authority::create(&folder.join("pki"))?;
        let apiserver_port = free_port(&address)?;
        let server = format!("https://{address}:{apiserver_port}");
        let kubeconfig = authority.kubeconfig("admin", "admin", &["system:masters"], &server)?;
        let registry = format!("{address}:{}", free_port(&address)?);
        let mut cluster = Self {
            id,
            folder,
            address,
            parts,
            authority: Some(authority),
            kubeconfig,
            apiserver_port,
            registry,
            pusher: None,
            children: Mutex::default(),
            keeper: Some(keeper),
        };
        cluster.start_registry()?;
        cluster.start_control_plane()?;
        cluster.wait_control_plane().await?;
        let pusher = Pusher::new(&cluster.registry, &cluster.folder)?;
        pusher
            .push("pause", "1", &Image::new("pause").arguments(&["--sleep"]))
            .await
            .context("the pause image")?;
        cluster.pusher = Some(pusher);
        for number in 1..=options.nodes {
            node::start(&cluster, number)?;
        }
        cluster.wait_nodes(options.nodes).await?;
        Ok(cluster)
    }

    /// A cluster that somebody else runs, with a plain-http registry that its nodes can pull from. Nothing is started.
    pub fn existing(kubeconfig: &Path, registry: &str) -> anyhow::Result<Self> {
        let parts = Parts::of_the_machine()?;
        let (id, folder) = claim()?;
        let pusher = Pusher::new(registry, &folder)?;
        Ok(Self {
            id,
            keeper: Some(keeper::start(&folder)?),
            folder,
            address: String::new(),
            parts,
            authority: None,
            kubeconfig: kubeconfig.to_owned(),
            apiserver_port: 0,
            registry: registry.to_owned(),
            pusher: Some(pusher),
            children: Mutex::default(),
        })
    }

    /// Leaves everything running after this process; `cargo run -p e2e -- remove ID` ends it.
    pub fn keep(mut self) -> anyhow::Result<()> {
        fs::write(self.folder.join("kept"), "")?;
        if let Some(mut keeper) = self.keeper.take() {
            keeper.kill()?;
            keeper.wait()?;
        }
        Ok(())
    }

    pub(crate) fn authority(&self) -> anyhow::Result<&Authority> {
        self.authority.as_ref().context("this cluster is somebody else's")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The apiserver's address.
    pub fn server(&self) -> String {
        format!("https://{}:{}", self.address, self.apiserver_port)
    }

    /// The apiserver's port on [`Cluster::address`].
    pub fn apiserver_port(&self) -> u16 {
        self.apiserver_port
    }

    /// The registry's `host:port`, the same for nodes and for the machine; plain http.
    pub fn registry_host(&self) -> &str {
        &self.registry
    }

    /// Pushes images to the registry.
    pub fn pusher(&self) -> &Pusher {
        self.pusher.as_ref().expect("started")
    }

    /// A client with all rights.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let file = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Runs the real kubectl as administrator and answers what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.kubectl_output(arguments)?;
        if !output.status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs the real kubectl as administrator.
    pub fn kubectl_output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(self.parts.program("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments).output().context("kubectl")
    }

    /// `kubectl apply -f -` of a text; the refusal's words where it is refused.
    pub fn apply(&self, namespace: &str, yaml: &str) -> anyhow::Result<String> {
        use std::io::Write as _;
        let mut child = Command::new(self.parts.program("kubectl"))
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["-n", namespace, "apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl")?;
        child.stdin.take().context("stdin")?.write_all(yaml.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs the real helm as administrator.
    pub fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(self.parts.program("helm"))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", self.folder.join("helm"))
            .args(arguments)
            .output()
            .context("helm")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "helm {}: {printed}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(printed)
    }

    /// Makes a namespace and waits until pods can be created in it.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let client = self.client().await?;
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        let accounts = Api::<ServiceAccount>::namespaced(client, name);
        wait_until("the namespace's default ServiceAccount", Duration::from_secs(20), || async {
            let found = accounts.get_opt("default").await?;
            Ok(if found.is_some() { Seen::Yes(()) } else { Seen::NotYet("none".to_owned()) })
        })
        .await
    }

    /// Starts a process of the cluster with its output in a log file, ended by the sweep.
    pub(crate) fn spawn(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let log = fs::File::create(self.folder.join(format!("{name}.log")))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // Ctrl-C ends it by the sweep, in order
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        keeper::remember(&self.folder, child.id())?;
        self.children.lock().expect("not poisoned").push(child);
        Ok(())
    }

    fn start_registry(&self) -> anyhow::Result<()> {
        let file = self.folder.join("registry.yml");
        fs::write(
            &file,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {0}/registry}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"{1}\"}}\n",
                self.folder.display(),
                self.registry
            ),
        )?;
        let file = file.display().to_string();
        self.spawn("registry", &self.parts.program("registry"), &["serve", &file], &[])
    }

    /// A second door to the same images that wants the user `anna` with the password `geheim`: its `host:port`.
    pub fn guarded_registry(&self, name: &str) -> anyhow::Result<String> {
        let host = format!("{}:{}", self.address, free_port(&self.address)?);
        let passwords = self.folder.join(format!("{name}.htpasswd"));
        fs::write(&passwords, "anna:$2b$04$f2pNR2rjHH.oT2ZT9vJkWOlI04GzF1XKn4YG4VnRTOY86xuDFxq1C\n")?;
        let file = self.folder.join(format!("{name}.yml"));
        fs::write(
            &file,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {0}/registry}}}}\nhttp: {{addr: \"{host}\"}}\nauth: {{htpasswd: {{realm: guarded, path: {1}}}}}\n",
                self.folder.display(),
                passwords.display()
            ),
        )?;
        let file = file.display().to_string();
        self.spawn(name, &self.parts.program("registry"), &["serve", &file], &[])?;
        self.speaks_plain_http(&host)?;
        Ok(host)
    }

    fn start_control_plane(&self) -> anyhow::Result<()> {
        let (client, peer) = (free_port("127.0.0.1")?, free_port("127.0.0.1")?);
        let etcd = [
            format!("--data-dir={}/etcd", self.folder.display()),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=error".to_owned(),
        ];
        self.spawn_all("etcd", &etcd)?;
        let pki = self.folder.join("pki");
        let authority = self.authority()?;
        let (certificate, key) = authority.issue(
            "apiserver",
            "kube-apiserver",
            &[],
            &[&self.address, "127.0.0.1", "10.96.0.1", "localhost", "kubernetes", "kubernetes.default.svc"],
        )?;
        let (kubelet_certificate, kubelet_key) =
            authority.issue("apiserver-kubelet", "apiserver-kubelet", &["system:masters"], &[])?;
        let apiserver = [
            format!("--etcd-servers=http://127.0.0.1:{client}"),
            format!("--bind-address={}", self.address),
            format!("--advertise-address={}", self.address),
            format!("--secure-port={}", self.apiserver_port),
            format!("--tls-cert-file={}", certificate.display()),
            format!("--tls-private-key-file={}", key.display()),
            format!("--client-ca-file={}/ca.crt", pki.display()),
            format!("--kubelet-client-certificate={}", kubelet_certificate.display()),
            format!("--kubelet-client-key={}", kubelet_key.display()),
            // Nodes have no names that resolve: `kubectl logs` goes by their addresses.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}/sa.pub", pki.display()),
            format!("--service-account-signing-key-file={}/sa.key", pki.display()),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        self.spawn_all("kube-apiserver", &apiserver)?;
        let manager = self.component("controller-manager", "system:kube-controller-manager")?;
        let manager = [
            format!("--kubeconfig={manager}"),
            format!("--service-account-private-key-file={}/sa.key", pki.display()),
            format!("--root-ca-file={}/ca.crt", pki.display()),
            "--use-service-account-credentials=true".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        self.spawn_all("kube-controller-manager", &manager)?;
        let scheduler = self.component("scheduler", "system:kube-scheduler")?;
        let scheduler = [
            format!("--kubeconfig={scheduler}"),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        self.spawn_all("kube-scheduler", &scheduler)
    }

    fn component(&self, name: &str, user: &str) -> anyhow::Result<String> {
        Ok(self.authority()?.kubeconfig(name, user, &[], &self.server())?.display().to_string())
    }

    fn spawn_all(&self, name: &str, arguments: &[String]) -> anyhow::Result<()> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.spawn(name, &self.parts.program(name), &arguments, &[])
    }

    async fn wait_control_plane(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        wait_until("the apiserver", Duration::from_secs(60), || async {
            Api::<Namespace>::all(client.clone()).get("default").await?;
            let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
            Ok(match accounts.get_opt("default").await? {
                Some(_) => Seen::Yes(()),
                None => {
                    Seen::NotYet("no default ServiceAccount: the controller-manager is not up".to_owned())
                }
            })
        })
        .await
        .with_context(|| self.log_tails(&["kube-apiserver", "etcd", "kube-controller-manager"]))
    }

    async fn wait_nodes(&self, wanted: u8) -> anyhow::Result<()> {
        if wanted == 0 {
            return Ok(());
        }
        let nodes = Api::<NodeObject>::all(self.client().await?);
        wait_until("the nodes to be Ready", Duration::from_secs(90), || async {
            let listed = nodes.list(&ListParams::default()).await?;
            let ready = listed.items.iter().filter(|node| is_ready(node)).count();
            Ok(if ready == usize::from(wanted) {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{ready} of {wanted} Ready"))
            })
        })
        .await
        .with_context(|| self.log_tails(&["kubelet-1", "containerd-1"]))
    }

    /// The last lines of logs, for a failure's text.
    pub fn log_tails(&self, names: &[&str]) -> String {
        let tail = |name: &&str| {
            let text = fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}", lines[lines.len().saturating_sub(8)..].join("\n"))
        };
        names.iter().map(tail).collect::<Vec<_>>().join("\n")
    }

    /// Removes everything and answers what is left, which should be nothing.
    pub fn stop(mut self) -> Vec<String> {
        self.end();
        keeper::leftovers(&self.folder)
    }

    fn end(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // Its input closes; it sweeps and ends.
            drop(keeper.stdin.take());
            let reaper = self.children.get_mut().expect("not poisoned");
            loop {
                for child in reaper.iter_mut() {
                    let _ = child.try_wait();
                }
                match keeper.try_wait() {
                    Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                    Ok(Some(_)) | Err(_) => return,
                }
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_ready(node: &NodeObject) -> bool {
    node.status.as_ref().is_some_and(|status| {
        status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

/// The folder of all clusters of this machine.
pub fn root() -> PathBuf {
    std::env::temp_dir().join("rollforward-e2e")
}

/// Claims a free number and its folder; sweeps those whose owner is gone.
fn claim() -> anyhow::Result<(String, PathBuf)> {
    let root = root();
    fs::create_dir_all(&root)?;
    for entry in fs::read_dir(&root)?.flatten() {
        let owner = fs::read_to_string(entry.path().join("owner")).unwrap_or_default();
        let alive = owner
            .split_once(' ')
            .and_then(|(pid, time)| Some((pid.parse::<u32>().ok()?, time)))
            .is_some_and(|(pid, time)| keeper::start_time(pid).as_deref() == Some(time));
        if !alive && !owner.is_empty() && !entry.path().join("kept").exists() {
            keeper::sweep(&entry.path());
        }
    }
    // 100 to 249: not 96, the range of Services.
    for number in 100..250_u32 {
        let folder = root.join(number.to_string());
        let bridge = format!("/sys/class/net/rf{number}");
        if Path::new(&bridge).exists() || fs::create_dir(&folder).is_err() {
            continue;
        }
        let pid = std::process::id();
        fs::write(folder.join("owner"), format!("{pid} {}", keeper::start_time(pid).unwrap_or_default()))?;
        return Ok((number.to_string(), folder));
    }
    bail!("no free cluster number: 150 clusters are up")
}

fn free_port(address: &str) -> anyhow::Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

/// Runs a short command to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
