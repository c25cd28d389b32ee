//! `condor_credmon_htvault`: see the library `credmon` for what it does.

use std::process::ExitCode;

use clap::Parser as _;
use credmon::cli::Cli;
use credmon::lifecycle;

/// Stack of a thread that writes a file or resolves a name, in bytes.
const HELPER_STACK: usize = 256 * 1024;

/// Threads for files and names, at most.
const HELPERS: usize = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    lifecycle::protect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(HELPER_STACK)
        .max_blocking_threads(HELPERS)
        .build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(lifecycle::run(cli));
        // A name server that hangs must not hold up the end.
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("condor_credmon_htvault: {error:#}");
            ExitCode::FAILURE
        }
    }
}
