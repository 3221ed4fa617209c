//! Sweeps what a cluster leaves on the machine: processes, mounts, namespaces, bridge, cgroups, folder.
//!
//! A keeper process is started before anything else and waits on a pipe; when the pipe closes, because the cluster was
//! stopped or its owner was killed, it sweeps. Processes are ended by pid, after their start time was compared.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

const VARIABLE: &str = "ROLLFORWARD_E2E_KEEPER";

/// Becomes the keeper and does not return, where this process was started as one. First line of every `main`.
pub fn run_if_asked() {
    if let Some(folder) = std::env::var_os(VARIABLE) {
        let mut ignored = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut ignored);
        sweep(Path::new(&folder));
        std::process::exit(0);
    }
}

/// Starts the keeper of a folder. It sweeps when the child's standard input closes.
pub fn start(folder: &Path) -> anyhow::Result<Child> {
    Command::new(std::env::current_exe()?)
        .env(VARIABLE, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // Ctrl-C at the terminal must not reach it
        .spawn()
        .context("the keeper")
}

/// Remembers a process, so that the sweep ends it.
pub fn remember(folder: &Path, pid: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(folder.join("pids"))?;
    writeln!(file, "{pid} {}", start_time(pid).unwrap_or_default())?;
    Ok(())
}

/// The kernel's start time of a process: tells it from a later one with the same pid.
pub fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Removes everything that belongs to a cluster's folder. Safe to repeat.
pub fn sweep(folder: &Path) {
    let Some(id) = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
        return;
    };
    let recorded: Vec<(u32, String)> = fs::read_to_string(folder.join("pids"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(pid, time)| Some((pid.parse().ok()?, time.to_owned())))
        .collect();
    // Kubelet and containerd came last and go first, or they start containers again.
    for (pid, time) in recorded.iter().rev() {
        if start_time(*pid).as_deref() == Some(time) {
            end(*pid);
        }
    }
    for pid in belonging(folder, &id) {
        signal(pid, rustix::process::Signal::KILL);
    }
    wait_gone(|| belonging(folder, &id).is_empty());
    for mount in mounts(folder) {
        let _ = Command::new("umount").arg("-l").arg(mount).stderr(Stdio::null()).status();
    }
    for namespace in namespaces(&id) {
        let _ = Command::new("ip").args(["netns", "del", &namespace]).stderr(Stdio::null()).status();
    }
    let _ = Command::new("ip").args(["link", "del", &format!("rf{id}")]).stderr(Stdio::null()).status();
    for cgroup in cgroups(&id) {
        wait_gone(|| fs::remove_dir(&cgroup).is_ok() || !cgroup.exists());
    }
    let _ = fs::remove_dir_all(folder);
}

/// What is left of a cluster on the machine; empty after a sweep.
pub fn leftovers(folder: &Path) -> Vec<String> {
    let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let mut left: Vec<String> = belonging(folder, &id).iter().map(|pid| format!("process {pid}")).collect();
    left.extend(mounts(folder).iter().map(|mount| format!("mount {mount}")));
    left.extend(namespaces(&id).iter().map(|name| format!("network namespace {name}")));
    left.extend(cgroups(&id).iter().map(|path| format!("cgroup {}", path.display())));
    left.extend(Path::new(&format!("/sys/class/net/rf{id}")).exists().then(|| format!("bridge rf{id}")));
    left.extend(folder.exists().then(|| format!("folder {}", folder.display())));
    left
}

fn end(pid: u32) {
    signal(pid, rustix::process::Signal::TERM);
    let gone = wait_gone_for(Duration::from_secs(3), || is_gone(pid));
    if !gone {
        signal(pid, rustix::process::Signal::KILL);
        wait_gone(|| is_gone(pid));
    }
}

fn is_gone(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        // A zombie whose parent has not read its end yet holds nothing.
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')),
    }
}

fn wait_gone(is_gone: impl FnMut() -> bool) {
    let _ = wait_gone_for(Duration::from_secs(5), is_gone);
}

fn wait_gone_for(limit: Duration, mut is_gone: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if is_gone() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Shims name our folder in their arguments, containers' processes are in our cgroups.
fn belonging(folder: &Path, id: &str) -> Vec<u32> {
    let own = std::process::id();
    let folder = folder.display().to_string();
    let cgroup = format!("/rollforward-{id}");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && !is_gone(*pid))
        .filter(|pid| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let shim = arguments.contains("containerd-shim") && arguments.contains(&format!("{folder}/"));
            let inside = String::from_utf8_lossy(&read("cgroup"))
                .lines()
                .any(|line| line.ends_with(&cgroup) || line.contains(&format!("{cgroup}/")));
            shim || inside
        })
        .collect()
}

/// Mounts below the folder, deepest first.
fn mounts(folder: &Path) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<String> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4))
        .filter(|place| place.starts_with(&prefix))
        .map(str::to_owned)
        .collect();
    found.sort_by_key(|place| std::cmp::Reverse(place.len()));
    found
}

fn namespaces(id: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return Vec::new();
    };
    let prefix = format!("rf{id}-");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// Our folders in every cgroup hierarchy, deepest first.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        collect(&hierarchy.join(format!("rollforward-{id}")), &mut found);
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        found.push(path.to_owned());
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                collect(&entry.path(), found);
            }
        }
    }
}

/// The roots of the cgroup hierarchies: several with version 1, one with version 2.
pub fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect()
}
