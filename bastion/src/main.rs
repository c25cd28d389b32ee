//! `token-bastion`: from keytabs to valid Vault tokens at every HTCondor schedd.

use std::alloc::System;
use std::process::ExitCode;

use bastion::cli::arguments::Cli;
use bastion::service;
use bastion::system::hardening;
use clap::Parser as _;
use zeroizing_alloc::ZeroAlloc;

/// Memory is zeroed when it is freed: a token has been in the buffers of HTTP, TLS and JSON, which no type of ours owns.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = cli.start_log();
    if let Err(error) = hardening::no_core_dumps() {
        // The service is of more use than this.
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
    let code = cli.execute(service::run);
    log.flush();
    code
}
