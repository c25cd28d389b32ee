//! `condor_credmon_htvault status`: reads the status file and answers, as a table or as JSON.
//!
//! It asks nobody and needs no privilege but to read the file.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::table;
use crate::config;
use crate::config::condor::{self, Source};
use crate::model::Query;
use crate::report::status_file;

/// Exit codes: 0 all that is asked for can be used; 1 it cannot; 2 it is not known.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all that is asked for can be used; 1 it cannot; 2 it is not known.\n\
    Example: condor_credmon_htvault status --user crabtw --service cms_crab --min-life 20m"
)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only this account
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Lifetime that an access token must have left, such as 90s, 20m or 1h
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = config::seconds)]
    min_life: i64,
    /// Status file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(daemon: &str, args: &StatusArgs, now: Timestamp) -> ExitCode {
    let unknown = |text: String| {
        eprintln!("condor_credmon_htvault: {text}");
        ExitCode::from(2)
    };
    let file = if let Some(file) = &args.file {
        Some(file.clone())
    } else {
        let (values, source) = condor::read(daemon).await;
        let file = config::status_file(&values);
        match source {
            Source::Failed(why) if file.is_none() => {
                return unknown(format!(
                    "condor_config_val failed ({why}), so the status file is not known: mend the \
                     configuration, or name the file with --file"
                ));
            }
            _ => file,
        }
    };
    let Some(file) = file else {
        return unknown(
            "no status file is configured: set CREDMON_HTVAULT_STATUS_FILE, or name one with --file"
                .to_owned(),
        );
    };
    let query = Query {
        user: args.user.clone(),
        service: args.service.clone(),
        min_life: args.min_life,
    };
    let report = match status_file::read(&file, |credential| query.matches(credential)) {
        Ok((daemon, credentials)) => query.answer(daemon, credentials, now),
        Err(error) => {
            return unknown(format!(
                "the status file {} cannot be read: {error}; perhaps the credential monitor has \
                 never run here, or you may not read it",
                file.display()
            ));
        }
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        let width = console::Term::stdout().size_checked();
        table::render(&report, now, width.map(|(_, columns)| usize::from(columns)))
    };
    // Nobody reads on: that is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(!report.good))
}
