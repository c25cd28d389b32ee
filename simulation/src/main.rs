//! Simulates a year, and prints its figures.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use simulation::plan::{Lengths, Plan};
use simulation::report::Report;
use simulation::{Site, reference, simulate};

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
    /// One line of JSON for each year.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
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
        let progress = ProgressBar::new(site.days);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {wide_bar} day {pos} of {len}, {eta} left")
        {
            progress.set_style(style);
        }
        progress.set_message(format!("seed {seed}"));
        let judged = simulate(site, &plan, |day| progress.set_position(day))?;
        progress.finish_and_clear();
        let report = Report::new(
            seed,
            site,
            &plan,
            &judged,
            &reference::simulate(site, &plan),
        );
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
    }
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
