//! The command: options, the run, what is printed.
//!
//! What always holds: the result alone goes to standard output; exit code 0 when every bound
//! holds (or with `--quick`, which judges none), 1 when one does not or the run failed.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::{Parser, Subcommand, ValueEnum};
use htvault::clock::{Clock as _, SystemClock};
use tokio::signal::unix::{SignalKind, signal};

use super::machine::Machine;
use super::progress::Progress;
use super::report::Report;
use super::{bastion, credmon, parts, push};

/// Measures how much our programs need.
#[derive(Clone, Debug, Parser)]
#[command(name = "integration/bench")]
pub struct Options {
    /// What is measured
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Clone, Debug, Subcommand)]
enum Subject {
    /// The credential monitor, beside HTCondor's own
    Credmon {
        /// Only these parts
        #[arg(value_name = "PART")]
        parts: Vec<credmon::Part>,
        #[command(flatten)]
        how: How,
    },
    /// The bastion, beside a shell loop with htgettoken and `condor_store_cred`
    Bastion {
        /// Only these parts
        #[arg(value_name = "PART")]
        parts: Vec<bastion::Part>,
        #[command(flatten)]
        how: How,
    },
    /// Credentials stored at credds, beside HTCondor's own `condor_store_cred`
    Push {
        /// Only these parts
        #[arg(value_name = "PART")]
        parts: Vec<push::Part>,
        #[command(flatten)]
        how: How,
    },
}

/// How it is run and printed.
#[derive(Clone, Copy, Debug, clap::Args)]
struct How {
    /// Small numbers and short times: shows that it works, and no more
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of the table
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The table as it stands in docs/performance.md
    #[arg(long)]
    markdown: bool,
}

/// Runs it; the process ends with what it returns.
pub async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to be told when this fails too.
            let _ = writeln!(std::io::stderr(), "benchmark: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let subject = options.subject;
    let (how, command) = match &subject {
        Subject::Credmon { parts, how } => (*how, command("credmon", parts, how.quick)),
        Subject::Bastion { parts, how } => (*how, command("bastion", parts, how.quick)),
        Subject::Push { parts, how } => (*how, command("push", parts, how.quick)),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let began = Instant::now();
    let mut report = Report {
        command,
        date: SystemClock.now(),
        seconds: 0,
        machine: Machine::here()?,
        quick: how.quick,
        load_before: Vec::new(),
        figures: Vec::new(),
    };
    let progress = Progress::new();
    // Whichever branch ends it, what was started ends with it.
    tokio::select! {
        measured = measure(&subject, &progress, &mut report) => measured?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
    drop(progress);
    report.seconds = began.elapsed().as_secs();
    let text = if how.json {
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else if how.markdown {
        report.markdown()
    } else {
        report.table()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::from(u8::from(!how.quick && !report.all_hold())))
}

async fn measure(
    subject: &Subject,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    match subject {
        Subject::Credmon { parts, how } => credmon::run(parts, how.quick, progress, report).await,
        Subject::Bastion { parts, how } => bastion::run(parts, how.quick, progress, report).await,
        Subject::Push { parts, how } => push::run(parts, how.quick, progress, report).await,
    }
}

/// What was typed, without how it is printed.
fn command(subject: &str, wanted: &[impl ValueEnum], quick: bool) -> String {
    let mut words = vec!["integration/bench".to_owned(), subject.to_owned()];
    words.extend(wanted.iter().map(parts::name));
    words.extend(quick.then(|| "--quick".to_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn options_are_consistent() {
        Options::command().debug_assert();
        for right in [
            &["bench", "credmon", "memory", "renew", "--quick"],
            &["bench", "bastion", "push", "directory", "--json"],
        ] {
            assert!(Options::try_parse_from(right).is_ok());
        }
        for wrong in [&["bench"][..], &["bench", "credmon", "nothing"]] {
            assert!(Options::try_parse_from(wrong).is_err());
        }
    }

    #[test]
    fn the_command_is_told_as_typed() {
        let parts = [credmon::Part::Memory, credmon::Part::Load];
        let told = command("credmon", &parts, true);
        assert_eq!(told, "integration/bench credmon memory load --quick");
    }
}
