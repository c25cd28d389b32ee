//! `token-bastion`: from keytabs to valid Vault tokens at every HTCondor schedd.

use std::process::ExitCode;

use bastion::cli::Cli;
use bastion::{hardening, logs};
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logs::init(cli.verbosity(), cli.tells_its_work());
    if let Err(error) = hardening::no_core_dumps() {
        // The service is of more use than this.
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
    cli.execute()
}
