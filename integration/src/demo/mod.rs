//! The demonstration: the whole chain with tokens that live a minute, shown as it happens.
//!
//! What always holds: what is shown was seen in the credential directory, not claimed by bastion
//! or credmon; a gap in the life of an access token makes it end with exit code 1.

pub mod observe;
mod screen;
mod stage;
pub mod story;

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use htvault::clock::{Clock as _, SystemClock};
use htvault::{Client, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::observe::{Observer, Snapshot};
use self::screen::Screen;
use self::stage::Stage;
use self::story::{Seen, Story};
use crate::chain::{ACCOUNTS, Lives, VAULT};

/// How often the directory is looked at and the table drawn.
const LOOK: Duration = Duration::from_millis(250);
/// How long everything that `--once` waits for may take.
const ONCE_LIMIT: Duration = Duration::from_mins(5);
/// How many renewals of each access token `--once` waits for.
const ONCE_RENEWALS: usize = 2;

/// What the demonstration is to show.
#[derive(Clone, Copy, Debug, Parser)]
#[command(
    name = "integration/demo",
    about = "Shows the whole chain, from a keytab to a job's token, with tokens that live a minute"
)]
pub struct Options {
    /// End by itself when each access token was renewed twice
    #[arg(long)]
    once: bool,
    /// On a real HTCondor pool, with a job that prints its token's claims before and after a renewal
    #[arg(long)]
    condor: bool,
}

/// Runs the demonstration until it is done (`--once`) or interrupted.
///
/// # Errors
/// Something did not start, did not come to be in time, or left a gap.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let lives = Lives::SHORT;
    let mut screen = Screen::new(lives);
    let told = tell(options, lives, &mut screen).await;
    screen.finish();
    told
}

async fn tell(options: Options, lives: Lives, screen: &mut Screen) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    screen.line("Starting a KDC, a development Vault with its token issuer, bastion and credmon …");
    let mut stage = tokio::select! {
        stage = Stage::set(options.condor, lives, |text| screen.line(text)) => stage?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let mut settings = Settings::new(VAULT.parse()?);
    settings.tls.ca_file = Some(stage.chain.ca.file());
    let client = Client::new(&settings)?;
    let mut observer = Observer::new(stage.directory.clone(), client);
    let mut story = Story::default();
    let started = Instant::now();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
        let now = SystemClock.now();
        let snapshot = observer.look(now).await;
        for event in story.tell(&snapshot, now) {
            screen.line(&event.to_string());
        }
        for line in stage.news().await? {
            screen.line(&line);
        }
        screen.draw(&snapshot, now);
        stage.check_alive()?;
        if all_delivered(&snapshot) {
            stage.submit_once().await?;
        }
        if options.once && enough(&story) && stage.job_is_done() {
            break;
        }
        if options.once && started.elapsed() > ONCE_LIMIT {
            bail!(
                "not every access token was renewed {ONCE_RENEWALS} times within {} minutes\n{}",
                ONCE_LIMIT.as_secs() / 60,
                stage.tails()
            );
        }
    }
    screen.finish();
    summary(&story, &stage, screen)?;
    stage.end().await
}

fn deliveries() -> usize {
    ACCOUNTS.iter().map(|account| account.services.len()).sum()
}

fn all_delivered(snapshot: &Snapshot) -> bool {
    snapshot.len() == deliveries() && snapshot.values().all(|stored| stored.access.is_some())
}

fn enough(story: &Story) -> bool {
    story.seen.len() == deliveries()
        && story
            .seen
            .values()
            .all(|seen| seen.access_renewals >= ONCE_RENEWALS)
}

fn summary(story: &Story, stage: &Stage, screen: &Screen) -> anyhow::Result<()> {
    for ((account, service), seen) in &story.seen {
        let Seen {
            vault_renewals,
            access_renewals,
            gaps,
        } = seen;
        screen.line(&format!(
            "seen     {account:<8} {service:<15} access token renewed {access_renewals} times, \
             vault token replaced {vault_renewals} times, {gaps} gaps"
        ));
    }
    for line in stage.memory().context("cannot measure memory")? {
        screen.line(&line);
    }
    let gaps: usize = story.seen.values().map(|seen| seen.gaps).sum();
    if gaps > 0 {
        bail!(
            "there were {gaps} gaps in the life of access tokens\n{}",
            stage.tails()
        );
    }
    Ok(())
}
