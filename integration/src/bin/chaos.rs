//! Faults by seed; `integration/chaos` sets everything up and runs it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use integration::chaos::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to be told when this fails too.
            let _ = writeln!(std::io::stderr(), "integration/chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
