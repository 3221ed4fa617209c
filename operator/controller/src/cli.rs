//! The command line: what each command is called and which file holds it.
//!
//! Exit codes: 0 done, 1 could not be done (a sentence on standard error), 2 wrong usage; `verify` has its own. Every command that changes
//! something says which object and field it wrote.

mod approve;
mod check;
pub mod crds;
mod explain;
mod history;
mod levers;
mod release;
mod resolve;
mod restore;
mod run;
mod verify;
mod verify_bundle;
mod written;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use kube::Client;

/// Keeps containers patched.
#[derive(Debug, Parser)]
#[command(name = "rollforward", version, about, long_about = None)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the operator.
    Run {
        /// The configuration file; without it the defaults.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Explains a policy: what runs, what waits and why, the last runs, the effective settings.
    Explain(explain::Arguments),
    /// Answers which tag a rule would choose and why not the others, without a cluster.
    Resolve(Box<resolve::Arguments>),
    /// Verifies an image as the operator would, without a cluster: who signed it, and what each layer says.
    ///
    /// Exit code 0 where it is verified, 1 where it is refused, 2 where that is not known.
    Verify(verify::Arguments),
    /// Verifies a Sigstore bundle against a file or a digest, by the command line of the public conformance suite.
    VerifyBundle(verify_bundle::Arguments),
    /// Asks the operator to look at a policy now.
    Check(check::Arguments),
    /// Lets a quarantined digest or a version that a person left go on.
    Release(levers::PolicyAndDigest),
    /// Tries a failed or held digest once more, now; that it failed is remembered.
    Retry(levers::PolicyAndDigest),
    /// Pauses a policy, or everything: nothing starts, an open canary is held and watched.
    Pause(levers::PolicyOrAll),
    /// Ends a pause.
    Resume(levers::PolicyOrAll),
    /// Ends an open run: image and fields are restored, nothing is held against the digest.
    Abort(levers::RunOrPolicy),
    /// Skips what is left of the observation of an open run.
    Promote(levers::RunOrPolicy),
    /// Says yes to a run that waits for an approval, in your own name.
    Approve(approve::Arguments),
    /// Lists the runs of a policy: trigger, verdict, cause, duration, who.
    History(history::Arguments),
    /// Restores every workload that a run still holds; for when the operator is gone.
    Restore(restore::Arguments),
    /// Prints the custom resource definitions, or the reference.
    Crds(crds::Arguments),
}

/// Carries out a command.
///
/// # Errors
/// What could not be done, as a sentence.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Run { config } => run::run(config.as_deref()).await,
        Command::Explain(arguments) => explain::run(arguments).await,
        Command::Resolve(arguments) => resolve::run(*arguments).await,
        Command::Verify(arguments) => verify::run(arguments).await,
        Command::VerifyBundle(arguments) => verify_bundle::run(&arguments),
        Command::Check(arguments) => check::run(arguments).await,
        Command::Release(arguments) => release::run(arguments).await,
        Command::Retry(arguments) => levers::retry(arguments).await,
        Command::Pause(arguments) => levers::pause(arguments).await,
        Command::Resume(arguments) => levers::resume(arguments).await,
        Command::Abort(arguments) => levers::abort(arguments).await,
        Command::Promote(arguments) => levers::promote(arguments).await,
        Command::Approve(arguments) => approve::run(arguments).await,
        Command::History(arguments) => history::run(arguments).await,
        Command::Restore(arguments) => restore::run(arguments).await,
        Command::Crds(arguments) => crds::run(&arguments),
    }
}

/// Tells a failure with its causes on standard error.
#[must_use]
pub fn failed(error: &anyhow::Error) -> ExitCode {
    let words = rollforward_core::text::clean(&format!("{error:#}"), 2000);
    tell_error(&format!("rollforward: {words}\n"));
    ExitCode::FAILURE
}

fn tell_error(text: &str) {
    use std::io::Write as _;
    // A closed pipe at the other end is no reason to fail.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes to standard output; a closed pipe (`| head`) ends quietly.
fn tell(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The apiserver that kubectl would use, or the pod's own.
async fn client() -> anyhow::Result<Client> {
    Client::try_default()
        .await
        .context("no cluster: expected KUBECONFIG, ~/.kube/config or a pod's ServiceAccount")
}

/// The namespace that was asked for, or the one of the kubeconfig.
fn namespace(asked: Option<String>, client: &Client) -> String {
    asked.unwrap_or_else(|| client.default_namespace().to_owned())
}
