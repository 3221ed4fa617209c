//! The program: arguments and wiring. One file a command in `cli/`.

use std::process::ExitCode;

use clap::Parser;
use rollforward::cli::{self, Arguments};

/// The stack of a worker. A pass that verifies a bundle needs more than 2 MiB, tokio's own, in a debug build. Address space, and
/// memory only where it is used.
const STACK_BYTES: usize = 16 * 1024 * 1024;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(STACK_BYTES).enable_all();
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::failed(&error.into()),
    };
    let result = runtime.block_on(cli::run(arguments));
    // A worker that hangs in a request must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(code) => code,
        Err(error) => cli::failed(&error),
    }
}
