//! `cargo run -p e2e -- demo`: the operator's main job, live, on a real Kubernetes of our own. Also `cluster` and `parts`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people read")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::cluster::{Cluster, Options};
use e2e::demo;
use e2e::keeper;
use e2e::parts::Parts;

/// Real Kubernetes parts on one small machine.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a cluster, a registry and the operator, and shows its main job live.
    Demo {
        /// Ends after the last step instead of waiting for Ctrl-C.
        #[arg(long)]
        exit: bool,
        /// Leaves cluster and operator running and ends.
        #[arg(long, conflicts_with = "exit")]
        keep: bool,
        /// With KUBECONFIG: a plain-http registry, host:port, that this machine and the cluster's nodes reach.
        #[arg(long)]
        registry: Option<String>,
    },
    /// Removes a cluster that was kept.
    Remove {
        /// Its number.
        id: String,
    },
    /// Starts a cluster and waits for Ctrl-C.
    Cluster {
        /// Real nodes.
        #[arg(long, default_value_t = 1)]
        nodes: u8,
    },
    /// Builds the parts that are missing.
    Parts,
}

fn main() -> ExitCode {
    keeper::run_if_asked();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Demo { exit, keep, registry } => demo::run(demo::Wishes { exit, keep, registry }).await,
            Command::Remove { id } => {
                let folder = e2e::cluster::root().join(id);
                keeper::sweep(&folder);
                println!("left behind: {:?}", keeper::leftovers(&folder));
                Ok(())
            }
            Command::Cluster { nodes } => {
                let cluster = Cluster::start(Options { nodes, parts: e2e::parts::CLUSTER }).await?;
                println!("export KUBECONFIG={}", cluster.kubeconfig().display());
                println!(
                    "registry: {}; kubectl: {}",
                    cluster.registry_host(),
                    cluster.parts.program("kubectl").display()
                );
                println!("Ctrl-C removes everything.");
                tokio::signal::ctrl_c().await?;
                println!("left behind: {:?}", cluster.stop());
                Ok(())
            }
            Command::Parts => Parts::ensure(&[]).map(drop),
        }
    })
}
