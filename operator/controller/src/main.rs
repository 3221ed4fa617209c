//! The program: arguments and wiring. One file a command in `cli/`.

use std::process::ExitCode;

use clap::Parser;
use rollforward::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
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
