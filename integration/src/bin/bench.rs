//! The benchmarks' program; `integration/bench` sets everything up and runs it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    integration::bench::command::main().await
}
