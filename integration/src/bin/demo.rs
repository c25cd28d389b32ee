//! The demonstration's program; `integration/demo` sets everything up and runs it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use integration::demo::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when this fails too.
            let _ = writeln!(std::io::stderr(), "demonstration: {error:#}");
            ExitCode::FAILURE
        }
    }
}
