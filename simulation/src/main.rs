//! Simulates a year, or single outages, and prints the figures.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use simulation::plan::{Lengths, Plan};
use simulation::report::Report;
use simulation::{Site, outages, plots, reference, simulate};

/// A simulated year of the bastion and the credmons, with the real engine, scheduler and policies, and with outages
/// drawn by a seed. The same seed is the same year.
#[derive(Parser)]
#[command(name = "integration/simulate")]
struct Arguments {
    /// Seed of the year.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of years: this seed and those after it.
    #[arg(long, default_value_t = 1)]
    years: u64,
    /// Accounts; every other one has six-hour access tokens, the rest one-hour tokens.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=90))]
    accounts: u16,
    /// Schedds; every account is delivered to each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=90))]
    schedds: u16,
    /// Days of a year.
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// Mean minutes of an outage of the issuer; as many as make an hour a month.
    #[arg(long, default_value_t = 20)]
    issuer_outage: u64,
    /// Writes a line for each minute to this file (CSV): requests at Vault, deliveries without a usable token.
    #[arg(long, value_name = "FILE")]
    minutes: Option<PathBuf>,
    /// Instead of a year: what is lost by one outage of the issuer or of Vault, by its length.
    #[arg(long, conflicts_with_all = ["seed", "years", "accounts", "schedds", "days", "issuer_outage", "minutes"])]
    outages: bool,
    /// Draws pictures into this folder: of the year, or of the outages.
    #[arg(long, value_name = "FOLDER", conflicts_with = "years")]
    plot: Option<PathBuf>,
    /// One line of JSON for each year; with `--outages` one for all.
    #[arg(long)]
    json: bool,
}

/// Progress on a terminal, of so many steps.
fn progress_bar(steps: u64, message: String, template: &str) -> ProgressBar {
    let progress = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template(template) {
        progress.set_style(style);
    }
    progress.set_message(message);
    progress
}

/// Single outages.
fn single(is_json: bool, plot: Option<&Path>) -> anyhow::Result<ExitCode> {
    let progress = progress_bar(
        2 * u64::try_from(outages::LENGTHS.len())?,
        "outages".to_owned(),
        "{msg} {wide_bar} {pos} of {len}, {eta} left",
    );
    let all = outages::all(&outages::LENGTHS, || progress.inc(1))?;
    progress.finish_and_clear();
    let text = if is_json {
        format!("{}\n", serde_json::to_string(&all)?)
    } else {
        outages::table(&all)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if let Some(folder) = plot {
        plots::outages(folder, &all)?;
    }
    let mut is_good = true;
    for outage in all.iter().filter(|outage| outage.unexplained > 0) {
        is_good = false;
        eprintln!(
            "{:?} down for {} min: {} gaps, though the tokens could have carried it",
            outage.down, outage.minutes, outage.unexplained
        );
    }
    Ok(exit_code(is_good))
}

fn exit_code(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.outages {
        return single(arguments.json, arguments.plot.as_deref());
    }
    let site = Site {
        days: arguments.days,
        accounts: arguments.accounts.into(),
        schedds: arguments.schedds.into(),
    };
    let lengths = Lengths {
        issuer: arguments.issuer_outage,
        ..Lengths::default()
    };
    let mut is_good = true;
    for seed in arguments.seed..arguments.seed + arguments.years {
        let plan = Plan::draw(seed, site, lengths);
        let progress = progress_bar(
            site.days,
            format!("seed {seed}"),
            "{msg} {wide_bar} day {pos} of {len}, {eta} left",
        );
        let judged = simulate(site, &plan, |day| progress.set_position(day))?;
        progress.finish_and_clear();
        let reference = reference::simulate(site, &plan);
        let report = Report::new(seed, site, &plan, &judged, &reference);
        let mut out = std::io::stdout().lock();
        if arguments.json {
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        } else {
            writeln!(out, "{}", report.text())?;
        }
        if let Some(file) = &arguments.minutes {
            let lines = judged.every_minute.iter().enumerate();
            let lines =
                lines.map(|(minute, all)| format!("{minute},{},{}\n", all.requests, all.without));
            let text = format!("minute,requests,without\n{}", lines.collect::<String>());
            std::fs::write(file, text)
                .with_context(|| format!("{} cannot be written", file.display()))?;
        }
        for missed in report.missed() {
            is_good = false;
            eprintln!(
                "seed {seed}: {missed}\nto see it again: {}",
                report.replay()
            );
        }
        if let Some(folder) = &arguments.plot {
            plots::year(folder, &plan, &judged, &reference)?;
        }
    }
    Ok(exit_code(is_good))
}
