//! A development HTVault and token issuer; see `integration::dev`.

use std::process::ExitCode;

fn main() -> ExitCode {
    integration::dev::command::main()
}
