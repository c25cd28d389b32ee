//! `condor_credmon_htvault`: see the library `credmon`.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser as _;
use zeroizing_alloc::ZeroAlloc;

/// Memory is zeroed when it is freed: a token has been in the buffers of HTTP, TLS and JSON, which no type of ours owns.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    credmon::service::run(&credmon::Cli::parse())
}
