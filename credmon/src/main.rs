//! `condor_credmon_htvault`: see the library `credmon` for what it does.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use credmon::old::cli::Cli;
use credmon::old::lifecycle;
use credmon::old::workers::Workers;

/// Stack of a helping thread, in bytes.
const HELPER_STACK: usize = 256 * 1024;

/// How long the end waits for threads that hang.
const END: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::parse();
    lifecycle::protect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(HELPER_STACK)
        .build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let workers = Workers::default();
        let outcome = runtime.block_on(lifecycle::run(cli, &workers));
        workers.end(END);
        runtime.shutdown_timeout(END);
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
