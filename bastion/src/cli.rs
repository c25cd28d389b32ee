//! The command line: what can be typed, what is printed, and the exit code.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 all good; 1
//! something is not good; 2 wrong usage or configuration.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::config::host::HostFault;
use crate::config::{self, Config, host};
use crate::report::Report;
use crate::{commands, lifecycle};

/// Keeps the credentials of unattended accounts valid at every HTCondor schedd.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// Configuration file; config.d/*.yaml beside it is read too.
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_FILE)]
    config: PathBuf,
    /// More details in the log; twice for those of libraries.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Run,
    /// Bring every delivery to good, once, and say where each stands.
    Once(Output),
    /// Check the configuration and this host's files; nothing is asked over the network.
    Check(Output),
    /// Print the JSON schema of the configuration, for editors.
    Schema,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Something is not good.
const NOT_GOOD: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const WRONG: u8 = 2;

impl Cli {
    /// How much is logged.
    #[must_use]
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Does what was asked for.
    #[must_use]
    pub fn execute(&self) -> ExitCode {
        if matches!(self.command, Command::Schema) {
            return commands::schema::schema();
        }
        let config = match config::load(&self.config) {
            Ok(config) => config,
            Err(faults) => {
                complain(faults.iter());
                return WRONG.into();
            }
        };
        match self.command {
            Command::Check(output) => commands::check::check(&config, output),
            // Needs no configuration.
            Command::Schema => commands::schema::schema(),
            Command::Once(output) => match lifecycle::once(&config) {
                Ok(report) => finish(&config, &report, output),
                Err(error) => wrong(&error),
            },
            Command::Run => match lifecycle::run(&config, &self.config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => wrong(&error),
            },
        }
    }
}

/// Says where every delivery stands, and what is wrong.
fn finish(config: &Config, report: &Report, output: Output) -> ExitCode {
    // An account whose tokens still live is good now, and yet cannot be renewed.
    let unsaid: Vec<HostFault> = host::keytab_faults(config)
        .into_iter()
        .filter(|fault| fault.stops() && fault.accounts().iter().all(|a| report.is_good_for(a)))
        .collect();
    if output.json {
        print_json(report);
    } else {
        print(&report.table());
        complain(report.problem_lines());
    }
    complain(&unsaid);
    if report.is_good() && unsaid.is_empty() {
        ExitCode::SUCCESS
    } else {
        NOT_GOOD.into()
    }
}

fn wrong(error: &anyhow::Error) -> ExitCode {
    complain([format!("{error:#}")]);
    WRONG.into()
}

/// Prints data. A reader that went away is no fault.
pub(crate) fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

pub(crate) fn print_json(value: &impl Serialize) {
    // Only strings, numbers and lists of them: this always makes JSON.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&format!("{text}\n"));
}

pub(crate) fn complain<T: std::fmt::Display>(lines: impl IntoIterator<Item = T>) {
    let mut stderr = io::stderr().lock();
    for line in lines {
        let _ = writeln!(stderr, "token-bastion: {line}");
    }
}
