//! Requests carried out by the running reconciler.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::protocol::{Answer, Refusal, Request};
use super::server::{Events, Orders};
use crate::delivery::Selection;
use crate::reconcile::Command;
use crate::report::Report;
use crate::transport::Transport;
use crate::vault::Vault;

/// What requests are carried out with.
pub struct Service<V, T> {
    /// What is known.
    pub reports: watch::Receiver<Arc<Report>>,
    /// The reconciler.
    pub commands: mpsc::Sender<Command<V, T>>,
}

impl<V: Vault, T: Transport> Orders for Service<V, T> {
    async fn carry_out(&self, request: Request, _: Events) -> Result<Answer, Refusal> {
        match request {
            Request::Status { selection } => Ok(Answer::Report(self.selected(&selection)?)),
            Request::Revoke {
                selection,
                leave_schedds,
            } => {
                self.selected(&selection)?;
                let command = |answer| Command::CutOff(selection, leave_schedds, answer);
                self.tell(command).await.map(Answer::Cut)
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
        let stopping = || Refusal::now("the service is stopping; run this again when it is back");
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(command(answer)).await;
        sent.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }

    /// What is known of the deliveries that are meant. A name that fits nothing is refused.
    fn selected(&self, selection: &Selection) -> Result<Report, Refusal> {
        let report = Arc::clone(&self.reports.borrow());
        report.only(selection).map_err(Refusal::usage)
    }
}
