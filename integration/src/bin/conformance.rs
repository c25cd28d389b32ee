//! Compares a running HTVault with recorded exchanges; see `integration::conformance`.

use std::process::ExitCode;

fn main() -> ExitCode {
    integration::conformance::command::main()
}
