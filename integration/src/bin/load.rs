//! The load's program; `integration/load` sets everything up and runs it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    integration::load::command::main().await
}
