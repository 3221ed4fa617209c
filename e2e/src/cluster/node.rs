//! One real node: a network namespace with containerd and a kubelet.
//!
//! Entered with `nsenter --net`, not `ip netns exec`: the latter remounts /sys and the kubelet then finds no cgroups. The
//! kubelet's cgroups are below a folder of the cluster's own, so that a sweep removes ours and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{Cluster, run};
use crate::keeper;

/// A started node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
}

/// Starts node number `number` (from 1); it registers and becomes Ready by itself.
pub fn start(cluster: &Cluster, number: u8) -> anyhow::Result<Node> {
    let name = format!("node-{}", char::from(b'a' + number - 1));
    let folder = cluster.folder.join(&name);
    fs::create_dir_all(&folder)?;
    let address = network(cluster, number)?;
    let socket = containerd(cluster, number, &folder)?;
    kubelet(cluster, number, &name, &folder, &address, &socket)?;
    Ok(Node { name })
}

fn namespace(cluster: &Cluster, number: u8) -> String {
    format!("rf{}-n{number}", cluster.id)
}

fn network(cluster: &Cluster, number: u8) -> anyhow::Result<String> {
    let id = &cluster.id;
    let space = namespace(cluster, number);
    let address = format!("172.30.{id}.1{number}");
    let outside = format!("rf{id}n{number}");
    run("ip", &["netns", "add", &space])?;
    run("ip", &["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
    run("ip", &["link", "set", &outside, "master", &format!("rf{id}"), "up"])?;
    run("ip", &["-n", &space, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
    run("ip", &["-n", &space, "link", "set", "eth0", "up"])?;
    run("ip", &["-n", &space, "link", "set", "lo", "up"])?;
    run("ip", &["-n", &space, "route", "add", "default", "via", &cluster.address])?;
    let inside = format!("--net=/run/netns/{space}");
    run("nsenter", &[&inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    run("ip", &["route", "add", &format!("10.{id}.{number}.0/24"), "via", &address])?;
    Ok(address)
}

impl Cluster {
    /// Lets the nodes that are there pull from a registry by plain http.
    pub fn speaks_plain_http(&self, host: &str) -> anyhow::Result<()> {
        let nodes = fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path());
        nodes.filter(|node| node.join("certs.d").exists()).try_for_each(|node| speaks_plain_http(&node, host))
    }

    /// The folder of a node's kubelet; profiles of seccomp are in `seccomp` below it.
    pub fn kubelet_folder(&self, node: &str) -> PathBuf {
        self.folder.join(node).join("kubelet")
    }

    /// Drops what the pods of a node send to a port of the bridge, from now on, by a rule of nftables in its network
    /// namespace: the bridge plugin enforces no NetworkPolicy.
    pub fn drop_egress(&self, number: u8, port: u16) -> anyhow::Result<()> {
        let inside = format!("--net=/run/netns/{}", namespace(self, number));
        let program = self.parts.program("firewall").display().to_string();
        run("nsenter", &[&inside, &program, &self.address, &port.to_string()])
    }
}

fn containerd(cluster: &Cluster, number: u8, folder: &Path) -> anyhow::Result<PathBuf> {
    let registry = cluster.registry_host();
    speaks_plain_http(folder, registry)?;
    let nets = folder.join("net.d");
    fs::create_dir_all(&nets)?;
    let bridge = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
            "ipam": {"type": "host-local", "dataDir": folder.join("cni"),
                     "ranges": [[{"subnet": format!("10.{}.{number}.0/24", cluster.id)}]],
                     "routes": [{"dst": "0.0.0.0/0"}]},
        }],
    });
    fs::write(nets.join("10-bridge.conflist"), serde_json::to_vec(&bridge)?)?;
    let socket = folder.join("c.sock");
    let config = folder.join("containerd.toml");
    fs::write(&config, containerd_config(cluster, folder, &socket))?;
    let path = format!(
        "{}:{}:{}",
        cluster.parts.folder("containerd").display(),
        cluster.parts.folder("runc").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let inside = format!("--net=/run/netns/{}", namespace(cluster, number));
    let program = cluster.parts.program("containerd");
    let arguments = [
        inside.as_str(),
        program.to_str().context("a path")?,
        "--config",
        config.to_str().context("a path")?,
    ];
    cluster.spawn(&format!("containerd-{number}"), Path::new("nsenter"), &arguments, &[("PATH", &path)])?;
    Ok(socket)
}

/// Lets a node pull from a registry by plain http; containerd reads this anew at each pull.
fn speaks_plain_http(folder: &Path, registry: &str) -> anyhow::Result<()> {
    let hosts = folder.join("certs.d").join(registry);
    fs::create_dir_all(&hosts)?;
    let text = format!(
        "server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
    Ok(fs::write(hosts.join("hosts.toml"), text)?)
}

fn containerd_config(cluster: &Cluster, folder: &Path, socket: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 3
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{registry}/pause:1"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{folder}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni}"]
    conf_dir = "{folder}/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
"#,
        socket = socket.display(),
        registry = cluster.registry_host(),
        cni = cluster.parts.folder("cni").display(),
        runc = cluster.parts.program("runc").display(),
    )
}

fn kubelet(
    cluster: &Cluster,
    number: u8,
    name: &str,
    folder: &Path,
    address: &str,
    socket: &Path,
) -> anyhow::Result<()> {
    let root = format!("/rollforward-{}/{name}", cluster.id);
    for hierarchy in keeper::hierarchies() {
        make_cgroup(&hierarchy, &cluster.id, name)?;
    }
    let user = format!("system:node:{name}");
    let kubeconfig = cluster.authority()?.kubeconfig(name, &user, &["system:nodes"], &cluster.server())?;
    let config = json!({
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": root,
        "enforceNodeAllocatable": [],
        "featureGates": {"KubeletInUserNamespace": true},
        "failSwapOn": false,
        "podLogsDir": folder.join("logs"),
        "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true},
                           "x509": {"clientCAFile": cluster.authority()?.file()}},
        "authorization": {"mode": "Webhook"},
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%", "memory.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false,
        "makeIPTablesUtilChains": false,
        "localStorageCapacityIsolation": false,
        "healthzPort": 0,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
    });
    let file = folder.join("kubelet.json");
    fs::write(&file, serde_json::to_vec(&config)?)?;
    let inside = format!("--net=/run/netns/{}", namespace(cluster, number));
    let program = cluster.parts.program("kubelet");
    let (root_dir, certs) = (folder.join("kubelet"), folder.join("pki"));
    let text = |path: &Path| path.display().to_string();
    let arguments = [
        inside,
        text(&program),
        format!("--config={}", text(&file)),
        format!("--kubeconfig={}", text(&kubeconfig)),
        format!("--root-dir={}", text(&root_dir)),
        format!("--cert-dir={}", text(&certs)),
        format!("--hostname-override={name}"),
        format!("--node-ip={address}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster.spawn(&format!("kubelet-{number}"), Path::new("nsenter"), &arguments, &[])
}

/// A cgroup that the kubelet may use as its root: with version 1 a cpuset starts empty and would take no process.
fn make_cgroup(hierarchy: &Path, id: &str, node: &str) -> anyhow::Result<()> {
    let outer = hierarchy.join(format!("rollforward-{id}"));
    for path in [outer.clone(), outer.join(node)] {
        if fs::create_dir_all(&path).is_err() {
            return Ok(()); // a hierarchy that takes no folders (unified without controllers)
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = path.join(file);
            let above = path.parent().context("a parent")?.join(file);
            if let (true, Ok(value)) = (own.exists(), fs::read_to_string(above)) {
                fs::write(own, value.trim())?;
            }
        }
    }
    Ok(())
}
