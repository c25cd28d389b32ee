//! The command line, as HTCondor's credential monitors have it.

mod status;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use status::StatusArgs;
pub(crate) use status::run as run_status;

/// Keeps the access tokens in HTCondor's credential directory fresh, with vault tokens of HTVault.
///
/// Exit codes: 0 all good; 1 something is not good; 2 wrong options; 44 the log cannot be written.
#[derive(Clone, Debug, Parser)]
#[command(name = "condor_credmon_htvault", version)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<CliCommand>,
    /// Name of the daemon in HTCondor's configuration
    #[arg(short, long, value_name = "NAME", default_value = "CREDMON_OAUTH", value_parser = daemon_name, global = true)]
    pub(crate) name: String,
    /// Credential directory, instead of `SEC_CREDENTIAL_DIRECTORY_OAUTH`
    #[arg(short, long, value_name = "DIR")]
    pub(crate) cred_dir: Option<PathBuf>,
    /// Log file, instead of `<NAME>_LOG`; `-` for the terminal (stderr)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Log everything
    #[arg(short, long)]
    pub(crate) debug: bool,
    /// Log to the terminal too, and a line for each renewal
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Do one complete pass, then end: with 0 when all is good, with 1 when something is not
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Show the state of the credentials
    Status(StatusArgs),
}

/// HTCondor's daemon names are words in capitals.
fn daemon_name(text: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || !text.chars().all(allowed) {
        return Err("letters, digits and _ are allowed");
    }
    Ok(text.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_reference_options_are_understood() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from([
            "x",
            "-n",
            "credmon_vault",
            "-c",
            "/c",
            "-l",
            "-",
            "-d",
            "-v",
        ]);
        assert_eq!(cli.name, "CREDMON_VAULT");
        assert_eq!(cli.cred_dir, Some("/c".into()));
        assert!(cli.debug && cli.verbose && !cli.once);
        assert_eq!(Cli::parse_from(["x"]).name, "CREDMON_OAUTH");
        assert!(Cli::try_parse_from(["x", "-n", "a.*b"]).is_err());
    }
}
