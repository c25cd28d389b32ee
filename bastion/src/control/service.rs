//! Requests carried out by the running reconciler.
//!
//! What holds: an order is given to the reconciler whole or not at all; waiting for its end is for
//! the client alone, and ends when the client goes away.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use super::protocol::{Answer, Progress, Refusal, Reloaded, Request};
use super::server::{Events, Orders};
use crate::delivery::{DeliveryId, Selection};
use crate::engine::{Command, Order, Reports, Stopping, pause_of_watchers};
use crate::plan::State;
use crate::report::{Line, Report};
use crate::schedd::Transport;
use crate::vault::Vault;

/// What requests are carried out with.
pub struct Service<V, T> {
    /// What the reconciler is told.
    pub commands: mpsc::Sender<Command<V, T>>,
    /// What it knows.
    pub reports: Reports,
    /// Who reads the configuration.
    pub reloads: mpsc::Sender<ReloadOrder>,
}

/// The configuration is to be read again.
#[derive(Debug)]
pub struct ReloadOrder {
    /// Only say what would change.
    pub dry_run: bool,
    /// Hears what came of it.
    pub answer: oneshot::Sender<Reloaded>,
}

impl<V: Vault, T: Transport> Orders for Service<V, T> {
    async fn carry_out(&self, request: Request, events: Events) -> Result<Answer, Refusal> {
        match request {
            Request::Status { selection } => self.selected(&selection).map(Answer::Report),
            Request::Push { selection } => {
                let before = self.selected(&selection)?;
                self.order(Order::Push(selection), &before.deliveries, &events)
                    .await
            }
            Request::Retry { selection } => {
                let mut before = self.selected(&selection)?;
                let failed = |line: &Line| line.state == State::Failed;
                before.deliveries.retain(failed);
                self.order(Order::Retry(selection), &before.deliveries, &events)
                    .await
            }
            Request::Reload { dry_run } => {
                let (answer, answered) = oneshot::channel();
                let reload = ReloadOrder { dry_run, answer };
                self.reloads.send(reload).await.map_err(|_| stopping())?;
                answered.await.map(Answer::Reloaded).map_err(|_| stopping())
            }
            Request::Revoke {
                selection,
                leave_schedds,
            } => {
                let meant = selection.clone();
                let command = |answer| Command::CutOff(meant, leave_schedds, answer);
                let cuts = self.tell(command).await?;
                if cuts.is_empty() {
                    // Nothing is known under these names, not even of what was wanted before.
                    self.selected(&selection)?;
                }
                Ok(Answer::Cut(cuts))
            }
            Request::Forget { account } => {
                let command = |answer| Command::Forget(account, answer);
                self.tell(command).await.map(Answer::Steps)
            }
            Request::Onboarded {
                account,
                service,
                expires,
            } => {
                let selection = Selection {
                    account: Some(account),
                    service: Some(service),
                    schedd: None,
                };
                let command = |answer| Command::Onboarded(selection, expires, answer);
                let kept = self.tell(command).await?;
                Ok(Answer::Noted(kept.err()))
            }
        }
    }
}

impl<V: Vault, T: Transport> Service<V, T> {
    /// Tells the reconciler, and waits for its answer.
    async fn tell<A>(
        &self,
        command: impl FnOnce(oneshot::Sender<A>) -> Command<V, T>,
    ) -> Result<A, Refusal> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(command(answer)).await;
        sent.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }

    /// What is known of the deliveries that are meant. A name that fits nothing is refused.
    fn selected(&self, selection: &Selection) -> Result<Report, Refusal> {
        let report = self.reports.now().map_err(Refusal::now)?;
        report.only(selection).map_err(Refusal::usage)
    }

    /// Gives an order and waits until each of these deliveries has been tried since.
    async fn order(
        &self,
        order: Order,
        before: &[Line],
        events: &Events,
    ) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Order(order, answer);
        self.commands.send(command).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?;
        let mut told: BTreeMap<DeliveryId, Line> = BTreeMap::new();
        let tries: BTreeMap<DeliveryId, u64> = before
            .iter()
            .map(|line| (line.wanted.id(), line.tries))
            .collect();
        let mut reports = self.reports.clone();
        loop {
            let report = match reports.now() {
                Ok(report) => report,
                Err(Stopping) => return Err(stopping()),
            };
            let lines: Vec<Line> = report
                .deliveries
                .iter()
                .filter(|line| tries.contains_key(&line.wanted.id()))
                .cloned()
                .collect();
            // One that was configured away meanwhile is not waited for.
            let settled = |line: &&Line| {
                let before = tries.get(&line.wanted.id());
                before.is_none_or(|before| line.is_settled_since(*before))
            };
            let settled = lines.iter().filter(settled).count();
            let news = news(&lines, &mut told);
            let progress = Progress::Deliveries {
                settled,
                lines: news,
            };
            if !events.tell(progress).await {
                return Err(unheard());
            }
            if settled == lines.len() {
                return Ok(Answer::Report(Report::of(lines, report.at)));
            }
            let something_happens = async {
                tokio::time::sleep(pause_of_watchers(report.deliveries.len())).await;
                reports.changed().await
            };
            tokio::select! {
                turned = something_happens => turned.map_err(Refusal::now)?,
                () = events.unheard() => return Err(unheard()),
            }
        }
    }
}

/// The lines that differ from those that were told, but for what changes by itself.
fn news(lines: &[Line], told: &mut BTreeMap<DeliveryId, Line>) -> Vec<Line> {
    let mut news = Vec::new();
    for line in lines {
        let still = Line {
            vault_token_seconds_left: None,
            ..line.clone()
        };
        if told.get(&line.wanted.id()) != Some(&still) {
            told.insert(line.wanted.id(), still);
            news.push(line.clone());
        }
    }
    news
}

fn unheard() -> Refusal {
    Refusal::now("nobody waits for the answer")
}

fn stopping() -> Refusal {
    Refusal::now(Stopping)
}
