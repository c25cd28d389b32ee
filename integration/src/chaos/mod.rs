//! Faults for real, by seed: the real programs under faults and orders that are drawn at random, singly or several at a
//! time, judged from outside by what stands in the files and at the server.
//!
//! | module | what it is |
//! |---|---|
//! | `action`, `draw` | what is done, drawn by the seed |
//! | `layout` | who is delivered where |
//! | `stage`, `schedd`, `file_system` | the parts |
//! | `act` | how each action is done and undone |
//! | `watch`, `ledger` | what is seen twice a second, and what of it is a fault |
//! | `audit` | the tokens that live at the server |
//! | `report` | the figures |
//!
//! A round is: actions begin, actions end, all becomes good again, the server is audited. What always holds: a round
//! begins only when everything is as it is to be.

mod act;
mod action;
mod audit;
mod draw;
mod file_system;
mod layout;
mod ledger;
mod report;
mod schedd;
mod stage;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use jiff::SignedDuration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::act::{CARRIED, Orders};
use self::action::{Action, Planned, Target};
use self::audit::Unknown;
use self::draw::Drawer;
use self::layout::Layout;
use self::report::{Report, Round};
use self::stage::Stage;
use self::watch::{Revoked, Watcher, all_is_well};
use crate::bench::progress::Progress;
use crate::wait;

/// How soon all must be good after a round. Attempts wait longer after each failure: as long as the fault lasted.
const GOOD: Duration = Duration::from_mins(2);

/// How soon each token at the server must be in the bastion's state: it is written every five seconds at least.
const KNOWN: Duration = Duration::from_secs(15);

/// Does faults and orders, drawn by a seed, to the real programs, and judges from outside.
#[derive(Clone, Debug, Parser)]
#[command(name = "integration/chaos")]
pub struct Options {
    /// Seed of what is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begins rounds for so long, such as 10m.
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    length: SignedDuration,
    /// Two real HTCondor pools in place of three credential directories with a credmon.
    #[arg(long)]
    condor: bool,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it. Gives whether no fault was found.
///
/// # Errors
/// The parts cannot be started, or a fault cannot be done.
pub async fn run(options: &Options) -> anyhow::Result<bool> {
    let progress = Progress::new();
    progress.say("OpenBao, KDC, issuer, bastion and three credmons start");
    let layout = if options.condor {
        Layout::POOLS
    } else {
        Layout::DIRECTORIES
    };
    let stage = Stage::set(layout).await?;
    let mut run = Run {
        watcher: Watcher::start(&stage),
        forgotten: BTreeSet::new(),
        revoked: Revoked::new(),
        had: Revoked::new(),
        orders: JoinSet::new(),
        stage,
    };
    let said = run.all(options, &progress).await;
    drop(progress);
    let report = said.with_context(|| format!("with these logs:\n{}", run.stage.tails()))?;
    let is_good = report.faults == 0;
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", report.text())?;
    }
    if !is_good {
        let Options {
            seed,
            length,
            condor,
            ..
        } = options;
        let condor = if *condor { " --condor" } else { "" };
        writeln!(
            out,
            "to do the same again: integration/chaos{condor} --seed {seed} --for {length:#}"
        )?;
    }
    run.stage.end().await?;
    Ok(is_good)
}

/// A run.
struct Run {
    watcher: Watcher,
    /// Accessors that the bastion does not know since it was killed.
    forgotten: BTreeSet<String>,
    /// Deliveries that are revoked.
    revoked: Revoked,
    /// Vault tokens that those had that are being revoked.
    had: Revoked,
    orders: Orders,
    stage: Stage,
}

impl Run {
    async fn all(&mut self, options: &Options, progress: &Progress) -> anyhow::Result<Report> {
        self.wait_until_well().await?;
        self.prepare(&[]).await?;
        let mut drawer = Drawer::new(options.seed, self.stage.layout.sizes());
        let mut report = Report {
            seed: options.seed,
            ..Report::default()
        };
        let end = Instant::now() + options.length.unsigned_abs();
        while Instant::now() < end {
            let planned = drawer.round();
            let names: Vec<String> = planned.iter().map(ToString::to_string).collect();
            progress.say(format!(
                "round {}: {}",
                report.rounds.len() + 1,
                names.join(" + ")
            ));
            let round = self.round(planned).await?;
            let is_over = round.seconds_to_good.is_none();
            let number = report.rounds.len() + 1;
            progress.aside(|| tell(number, &round, &self.stage));
            report.add(round);
            if is_over {
                break;
            }
        }
        report.forgotten = self.forgotten.len();
        Ok(report)
    }

    async fn round(&mut self, planned: Vec<Planned>) -> anyhow::Result<Round> {
        let before: BTreeSet<Target> = self.revoked.keys().copied().collect();
        self.watcher.ledger().wanted = self
            .stage
            .layout
            .targets()
            .filter(|target| !before.contains(target))
            .collect();
        let start = Instant::now();
        self.act(&planned).await?;
        let ended = Instant::now();
        let lasted = ended - start;
        let mut faults = self.orders().await?;
        let well = self.wait_until_well().await;
        let to_good = well.is_ok().then(|| ended.elapsed());
        match well {
            Ok(()) => faults.extend(self.audit(&planned).await?),
            Err(error) => faults.push(format!("{error:#}")),
        }
        let gaps = self.gaps(lasted, &mut faults);
        faults.append(&mut self.watcher.ledger().faults);
        if to_good.is_some() {
            self.deliver_again(&before).await?;
            self.prepare(&planned).await?;
        }
        Ok(Round {
            actions: planned,
            lasted: lasted.as_secs(),
            seconds_to_good: to_good.map(|time| time.as_secs()),
            gaps,
            faults,
        })
    }

    /// Waits until what was lost in a round is there again, so that the next one may last as long as tokens carry.
    async fn prepare(&self, planned: &[Planned]) -> anyhow::Result<()> {
        if planned.iter().any(|one| one.action.restarts_credd()) {
            // It asks for the issuer's keys again; where it gets none it takes no push for ten minutes.
            act::push(&self.stage).await?;
        }
        wait::until("all tokens to be new", GOOD, async || {
            watch::all_can_wait(&self.stage, &self.revoked).await
        })
        .await
    }

    /// Does and undoes the actions, each at its time.
    async fn act(&mut self, planned: &[Planned]) -> anyhow::Result<()> {
        let start = Instant::now();
        let begins = planned.iter().map(|one| (one.begin, false, one.action));
        let ends = planned.iter().map(|one| (one.end, true, one.action));
        let mut times: Vec<(u64, bool, Action)> = begins.chain(ends).collect();
        times.sort_by_key(|(at, is_end, _)| (*at, *is_end));
        for (at, is_end, action) in times {
            sleep_until(start + Duration::from_millis(at)).await;
            let done = if is_end {
                act::end(&mut self.stage, action).await
            } else {
                self.expect(action)?;
                act::begin(&mut self.stage, &mut self.orders, action).await
            };
            let what = if is_end { "the end of" } else { "the begin of" };
            done.with_context(|| format!("{what} {action:?}"))?;
        }
        Ok(())
    }

    /// From now on a delivery that is revoked is not wanted.
    fn expect(&mut self, action: Action) -> anyhow::Result<()> {
        if let Action::Revoke(target) | Action::RevokeWithoutVault(target) = action {
            self.watcher.ledger().wanted.remove(&target);
            self.had.insert(target, self.stage.vault_token(target)?);
        }
        Ok(())
    }

    /// Waits for the orders' answers; gives faults of them.
    async fn orders(&mut self) -> anyhow::Result<Vec<String>> {
        let mut faults = Vec::new();
        while let Some(given) = self.orders.join_next().await {
            let given = given??;
            let (Action::Revoke(target) | Action::RevokeWithoutVault(target)) = given.action else {
                continue;
            };
            let state = wait::until("the bastion's answer", GOOD, async || {
                let said = watch::said(self.stage.layout, &self.stage.socket()).await?;
                let line = said.get(&target).context("the delivery is in the report")?;
                anyhow::Ok(line.state.clone())
            })
            .await?;
            if state == "cut_off" {
                let had = self.had.remove(&target).flatten();
                self.revoked.entry(target).or_insert(had);
            } else if given.is_done {
                faults.push(format!(
                    "{target:?} was revoked and is {state}: {}",
                    given.said
                ));
            }
        }
        Ok(faults)
    }

    async fn wait_until_well(&self) -> anyhow::Result<()> {
        let well = wait::until("all to be good", GOOD, async || {
            all_is_well(&self.stage, &self.revoked).await
        });
        well.await?;
        self.watcher.ledger().revoked = self.revoked.keys().copied().collect();
        Ok(())
    }

    /// Tokens at the server that nobody knows and that do not end soon. What is made at this moment is known a moment
    /// later, and what a full disk could not take within seconds.
    async fn audit(&mut self, planned: &[Planned]) -> anyhow::Result<Vec<String>> {
        let mut unknown = Vec::new();
        let known = wait::until("all tokens to be known", KNOWN, async || {
            unknown = audit::unknown(&self.stage).await?;
            unknown.retain(|token| !token.ends_soon() && !self.forgotten.contains(&token.accessor));
            ensure!(unknown.is_empty(), "{unknown:?}");
            Ok(())
        });
        if known.await.is_ok() {
            return Ok(Vec::new());
        }
        if planned.iter().any(|one| one.action.kills_bastion()) {
            self.forgotten
                .extend(unknown.into_iter().map(|token| token.accessor));
            return Ok(Vec::new());
        }
        let tell = |token: Unknown| {
            let Unknown { accessor, left } = token;
            format!("nobody knows the token {accessor} that lives {left} s more")
        };
        Ok(unknown.into_iter().map(tell).collect())
    }

    /// Gaps of this round; faults are those that the tokens were to carry.
    fn gaps(&self, lasted: Duration, faults: &mut Vec<String>) -> usize {
        let gaps = std::mem::take(&mut self.watcher.ledger().gaps);
        if lasted < CARRIED {
            let mut longest: BTreeMap<Target, SignedDuration> = BTreeMap::new();
            for gap in &gaps {
                let end = gap.end.unwrap_or(gap.begin);
                let length = longest.entry(gap.target).or_default();
                *length = (*length).max(end.duration_since(gap.begin));
            }
            for (target, length) in longest {
                faults.push(format!(
                    "{target:?} had no token for {} s",
                    length.as_secs()
                ));
            }
        }
        gaps.len()
    }

    /// Has those made again that were revoked before this round.
    async fn deliver_again(&mut self, before: &BTreeSet<Target>) -> anyhow::Result<()> {
        for target in before {
            self.watcher.ledger().revoked.remove(target);
            act::deliver_again(&self.stage, *target).await?;
            self.revoked.remove(target);
        }
        self.wait_until_well().await
    }
}

/// Tells of a round: a line, and the logs where there are faults.
fn tell(number: usize, round: &Round, stage: &Stage) {
    let good = round.seconds_to_good.map_or_else(
        || "never".to_owned(),
        |seconds| format!("after {seconds} s"),
    );
    let mut text = format!("round {number}: {}: all good {good}\n", round.name());
    for fault in &round.faults {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  FAULT {fault}");
    }
    if !round.faults.is_empty() {
        text.push_str(&stage.tails());
    }
    // Nobody is left to be told when this fails.
    let _ = write!(std::io::stderr(), "{text}");
}
