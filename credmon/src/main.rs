//! `condor_credmon_htvault`: see the library `credmon`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    credmon::service::run(&credmon::Cli::parse())
}
