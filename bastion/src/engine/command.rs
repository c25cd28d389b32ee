//! Commands to the engine, and their answers.
//!
//! Always true: the engine itself never waits for the end of a command, so none holds up another.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{DRAIN, Engine, Order};
use crate::config::Config;
use crate::engine::attempt::Parts;
use crate::engine::revoke::{RevocationReport, Step};
use crate::model::delivery::{DeliveryId, Selection};
use crate::schedd::Transport;
use crate::vault::Vault;

/// Request to the engine.
pub enum Command<V, T> {
    /// Go on with another configuration; answered when it is in force.
    Reload(Arc<Config>, Arc<Parts<V, T>>, oneshot::Sender<()>),
    /// The configuration on disk has these faults, one in each line, or (`None`) none any more.
    Faults(Option<String>),
    /// Do what a person asks for; answered with the deliveries that are meant.
    Order(Order, oneshot::Sender<Vec<DeliveryId>>),
    /// Revoke these deliveries; answered with what was done, when all of it is. With `true` nothing is asked
    /// of the schedds.
    Revoke(Selection, bool, oneshot::Sender<Vec<RevocationReport>>),
    /// Somebody logged in for these; with the expiry of the refresh token, if that is known.
    Onboarded(
        Selection,
        Option<Timestamp>,
        oneshot::Sender<OnboardedAnswer>,
    ),
    /// Make Vault forget the refresh tokens of an account; answered with what was done.
    Forget(String, oneshot::Sender<Vec<Step>>),
    /// End.
    Stop,
}

/// Answer to [`Command::Onboarded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnboardedAnswer {
    /// Reason why the age of the refresh token is not on disk.
    pub fault: Option<String>,
}

impl<V: Vault, T: Transport> Engine<V, T> {
    /// Follows a command; `true` when the engine goes on. Who asked may have gone away.
    pub(super) fn follow(&mut self, command: Command<V, T>) -> bool {
        match command {
            Command::Reload(config, parts, answer) => {
                let applied = self.reload(&config, parts);
                tokio::spawn(async move {
                    applied.passed().await;
                    let _ = answer.send(());
                });
            }
            Command::Faults(faults) => self.view.set_faults(faults),
            Command::Order(order, answer) => {
                let (meant, applied) = self.obey(&order);
                tokio::spawn(async move {
                    applied.passed().await;
                    let _ = answer.send(meant);
                });
            }
            Command::Revoke(selection, leave_schedds, answer) => {
                let revoked = self.revoke(&selection, leave_schedds);
                tokio::spawn(async move {
                    let _ = answer.send(revoked.await);
                });
            }
            Command::Onboarded(selection, ends, answer) => {
                self.onboarded(&selection, ends);
                let store = self.parts().store.clone();
                tokio::spawn(async move {
                    let fault = store.written(DRAIN).await.err();
                    let _ = answer.send(OnboardedAnswer { fault });
                });
            }
            Command::Forget(account, answer) => {
                let forgotten = self.forget(account);
                tokio::spawn(async move {
                    let _ = answer.send(forgotten.await);
                });
            }
            Command::Stop => return false,
        }
        true
    }
}
