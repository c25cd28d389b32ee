//! The command: options, the run, what is printed and drawn.
//!
//! What always holds: the result alone goes to standard output; exit code 0 when nothing was late, 1 when something was
//! or the run failed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Parser, Subcommand};
use htvault::clock::{Clock as _, SystemClock};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::samples::{Sample, charts};
use super::{bastion, credmon};
use crate::bench::figures::Figure;
use crate::bench::machine::{self, Machine};
use crate::bench::progress::Progress;
use crate::bench::report::Report;

/// Holds a large load, and says whether memory stays flat and nothing is late.
#[derive(Clone, Debug, Parser)]
#[command(name = "integration/load")]
pub struct Options {
    /// Who bears it
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Clone, Debug, Subcommand)]
enum Subject {
    /// 20,000 credentials in one credmon, 200,000 renewals an hour
    Credmon(How),
    /// 5,000 deliveries of one bastion, with vault tokens of 20 minutes
    Bastion(How),
}

#[derive(Clone, Debug, clap::Args)]
struct How {
    /// For how many minutes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Few credentials, and less than a minute: shows that it works, and no more
    #[arg(long, conflicts_with = "minutes")]
    quick: bool,
    /// One JSON object instead of the table, with every sample
    #[arg(long)]
    json: bool,
    /// The table as it stands in docs/reliability.md
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Draws the course of it into this folder: `load-credmon.svg` or `load-bastion.svg`
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
}

/// Length of a quick run: two renewals of everything, or nearly.
const QUICK: Duration = Duration::from_secs(35);

/// What came of a load.
pub(super) struct Loaded {
    pub(super) figures: Vec<Figure>,
    pub(super) samples: Vec<Sample>,
}

/// For programs.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    samples: &'a [Sample],
}

/// Runs it; the process ends with what it returns.
pub async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to be told when this fails too.
            let _ = writeln!(std::io::stderr(), "load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (name, how) = match &options.subject {
        Subject::Credmon(how) => ("credmon", how),
        Subject::Bastion(how) => ("bastion", how),
    };
    let lasts = if how.quick {
        QUICK
    } else {
        Duration::from_secs(how.minutes * 60)
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (date, began, load) = (SystemClock.now(), Instant::now(), machine::load()?);
    let progress = Progress::new();
    let hold = async {
        match &options.subject {
            Subject::Credmon(how) => credmon::hold(how.quick, lasts, &progress).await,
            Subject::Bastion(how) => bastion::hold(how.quick, lasts, &progress).await,
        }
    };
    // Whichever branch ends it, what was started ends with it.
    let loaded = tokio::select! {
        loaded = hold => loaded?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    drop(progress);
    let report = Report {
        command: how.typed(name),
        date,
        seconds: began.elapsed().as_secs(),
        machine: Machine::here()?,
        quick: how.quick,
        load_before: vec![(name.to_owned(), load)],
        figures: loaded.figures,
    };
    let samples = &loaded.samples;
    if let Some(folder) = &how.plot {
        let file = folder.join(format!("load-{name}.svg"));
        chart::write(&file, &charts(samples, name))?;
    }
    let text = if how.json {
        let told = Told {
            report: &report,
            samples,
        };
        format!("{}\n", serde_json::to_string(&told)?)
    } else if how.markdown {
        report.markdown()
    } else {
        report.table()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::from(u8::from(!report.all_hold())))
}

impl How {
    /// What was typed, without how it is printed and drawn.
    fn typed(&self, name: &str) -> String {
        let how = match (self.quick, self.minutes) {
            (true, _) => " --quick".to_owned(),
            (false, 60) => String::new(),
            (false, minutes) => format!(" --minutes {minutes}"),
        };
        format!("integration/load {name}{how}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn options_are_consistent() {
        Options::command().debug_assert();
        let typed = |words: &[&str]| {
            let options = Options::try_parse_from(words).ok()?;
            let (Subject::Credmon(how) | Subject::Bastion(how)) = options.subject;
            Some(how.typed("x"))
        };
        let typed = |words: &[&str]| typed(words).unwrap_or_default();
        assert_eq!(typed(&["load", "credmon"]), "integration/load x");
        let minutes = ["load", "bastion", "--minutes", "20", "--json"];
        assert_eq!(typed(&minutes), "integration/load x --minutes 20");
        for wrong in [&["load"][..], &["load", "credmon", "--minutes", "0"]] {
            assert_eq!(typed(wrong), "");
        }
    }
}
