//! Desired state of one delivery, and the messages that change it.
//!
//! Always true: a message that was answered is in the published status.

use std::convert::Infallible;
use std::sync::Arc;

use futures_channel::mpsc::UnboundedReceiver;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::env::Env;
use super::status::Status;
use crate::engine::revoke::RevocationReport;
use crate::model::delivery::{Credential, Delivery, DeliveryId};
use crate::model::records::requested_content;
use crate::schedd::Transport;
use crate::store::{Content, Unfinished};
use crate::vault::Vault;

/// Message to the owner of a delivery.
pub(super) struct Envelope {
    pub(super) message: Message,
    /// Dropped when the message is in the status.
    pub(super) applied: Applied,
}

/// Part of a barrier: its receiver ends when all senders are dropped.
pub(super) type Applied = mpsc::Sender<Infallible>;

/// Request to the owner of a delivery.
pub(super) enum Message {
    /// Another configuration.
    Configure(DesiredConfig),
    /// A person wants a new token.
    Push {
        /// Even if the delivery is revoked.
        delivers_revoked: bool,
    },
    /// The way to the schedd of a delivery that is not configured any more.
    Way(Arc<Delivery>),
    /// A person wants an attempt now.
    Retry,
    /// A person wants the tokens dead and the stored credential deleted.
    Revoke(Revocation),
}

/// Configuration of a delivery.
pub(super) struct DesiredConfig {
    /// `None` when it is not wanted any more.
    pub(super) delivery: Option<Arc<Delivery>>,
    /// Time since which the collector does not know the schedd.
    pub(super) gone: Option<Timestamp>,
    /// A person changed the configuration, who wants to see what comes of it: a delivery that failed is tried at once, and
    /// one that was revoked is wanted again if other content is configured for it.
    pub(super) is_reload: bool,
}

/// Order of a person to revoke a delivery.
pub(super) struct Revocation {
    pub(super) since: Timestamp,
    /// Nothing is asked of the schedd.
    pub(super) leave_schedd: bool,
    /// The configuration has the delivery still.
    pub(super) is_wanted: bool,
    pub(super) answer: mpsc::UnboundedSender<RevocationReport>,
}

impl Revocation {
    /// Answers who ordered it; who waits no longer needs no answer.
    pub(super) fn answer(self, report: &RevocationReport) {
        let _ = self.answer.send(report.clone());
    }
}

/// Desired state of one delivery.
pub(super) struct Desired<V, T> {
    mail: UnboundedReceiver<Envelope>,
    env: watch::Receiver<Arc<Env<V, T>>>,
    pub(super) status: watch::Sender<Status>,
    /// The configuration has it.
    pub(super) is_wanted: bool,
    /// Revocations that are not carried out yet.
    pub(super) revocations: Vec<Revocation>,
    /// Number of times that a person asked for a push.
    pub(super) pushes: u64,
}

impl<V: Vault, T: Transport> Desired<V, T> {
    pub(super) fn new(
        status: Status,
        is_wanted: bool,
        env: watch::Receiver<Arc<Env<V, T>>>,
        mail: UnboundedReceiver<Envelope>,
    ) -> Self {
        Self {
            mail,
            status: watch::Sender::new(status),
            is_wanted,
            revocations: Vec::new(),
            pushes: 0,
            env,
        }
    }

    /// Changes the published status.
    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        // Who waits does so for any delivery's change, by `changed`: nobody is to be woken here.
        self.status.send_if_modified(|status| {
            change(status);
            false
        });
        self.env
            .borrow()
            .changed
            .send_modify(|changes| *changes += 1);
    }

    /// Applies the messages that wait, and returns the environment as it is now.
    pub(super) fn read_mail(&mut self) -> Arc<Env<V, T>> {
        while let Ok(envelope) = self.mail.try_recv() {
            self.apply(envelope);
        }
        Arc::clone(&self.env.borrow_and_update())
    }

    /// Waits for a message, and applies it.
    pub(super) async fn receive(&mut self) {
        let envelope = next(&mut self.mail).await;
        self.apply(envelope);
    }

    /// Waits for a message, which is applied, another environment, or the stop.
    pub(super) async fn changed(&mut self) {
        let stop = self.env.borrow().stop.clone();
        tokio::select! {
            envelope = next(&mut self.mail) => self.apply(envelope),
            _ = self.env.changed() => {}
            () = stop.begin_nothing.cancelled() => {}
        }
    }

    /// The next attempt is at this time, whatever the back-off says.
    pub(super) fn retry_at(&self, at: Timestamp) {
        self.change(|status| {
            if let Some(failure) = &mut status.record.failure {
                failure.next_try = at;
            }
        });
    }

    fn apply(&mut self, envelope: Envelope) {
        match envelope.message {
            Message::Configure(config) => self.configure(config),
            Message::Push { delivers_revoked } => {
                let is_revoked = self.status.borrow().record.revoked.is_some();
                if self.is_wanted && (delivers_revoked || !is_revoked) {
                    self.unrevoke();
                    self.pushes += 1;
                    self.change(|status| status.record.asked = true);
                    self.retry_at(Timestamp::MIN);
                }
            }
            Message::Way(delivery) => {
                if !self.is_wanted {
                    self.change(|status| status.delivery = delivery);
                }
            }
            Message::Retry => self.retry_at(Timestamp::MIN),
            Message::Revoke(order) => {
                self.change(|status| {
                    let record = &mut status.record;
                    record.revoked.get_or_insert(order.since);
                    record.failure = None;
                    record.asked = false;
                });
                // An order to deliver it that came before, and was read just now, took it out of the store.
                self.store(|content, id| {
                    let leave_schedd = order.leave_schedd;
                    let record = content.revoke(id, order.since);
                    record.unfinished = Some(Unfinished { leave_schedd });
                });
                self.revocations.push(order);
            }
        }
        drop(envelope.applied);
    }

    /// Takes over a configuration.
    pub(super) fn configure(&mut self, config: DesiredConfig) {
        let Some(delivery) = config.delivery else {
            self.is_wanted = false;
            return self.change(|status| {
                // Nobody waits for it any more.
                status.record.asked = false;
                status.record.failure = None;
            });
        };
        let was_wanted = std::mem::replace(&mut self.is_wanted, true);
        let is_same = same_content(&self.status.borrow().delivery, &delivery);
        // What a collector knows of a schedd is nobody's wish, nor is the way to it or to Vault, nor that something is
        // configured again.
        if !self.is_same_wish(&delivery) && was_wanted && config.is_reload {
            self.unrevoke();
        }
        self.change(|status| {
            let record = &mut status.record;
            record.changed |= !is_same;
            let is_back = status.gone.is_some() && config.gone.is_none();
            if is_back || status.delivery.target != delivery.target {
                // A schedd that was away may have lost what it had, and by another way it has to be reached first.
                record.good_since = None;
            }
            status.gone = config.gone;
            if let Some(failure) = &mut record.failure
                && (config.is_reload || is_back)
            {
                failure.next_try = Timestamp::MIN;
            }
            status.delivery = delivery;
        });
    }

    /// `true` when the configuration asks for what it asked for before, whatever the ways to Vault and schedd.
    fn is_same_wish(&self, new: &Delivery) -> bool {
        let wish = |delivery: &Delivery| {
            let Credential {
                issuer,
                role,
                credkey,
                scopes,
                audience,
                ..
            } = (*delivery.credential).clone();
            (issuer, role, credkey, scopes, audience, delivery.lifetime)
        };
        wish(&self.status.borrow().delivery) == wish(new)
    }

    /// The delivery is wanted again after a revocation.
    fn unrevoke(&self) {
        let is_revoked = self.status.borrow().record.revoked.is_some();
        if is_revoked {
            self.change(|status| status.record.revoked = None);
            self.store(|content, id| _ = content.revoked.remove(id));
        }
    }

    /// Changes what is stored of the delivery.
    fn store(&self, change: impl FnOnce(&mut Content, &DeliveryId)) {
        let store = self.env.borrow().parts.store.clone();
        let id = self.status.borrow().delivery.id.clone();
        store.change(|content| change(content, &id));
    }
}

/// Waits for the next message.
async fn next(mail: &mut UnboundedReceiver<Envelope>) -> Envelope {
    match mail.recv().await {
        Ok(envelope) => envelope,
        // The engine is gone, and this task is ended with it.
        Err(_) => std::future::pending().await,
    }
}

/// `true` when a schedd that has one delivery's token has what the other wants, whatever the keytab and the way to reach it.
pub(super) fn same_content(old: &Delivery, new: &Delivery) -> bool {
    requested_content(&old.credential) == requested_content(&new.credential)
        && old.credential.identity.principal == new.credential.identity.principal
        && old.target.is_same_place(&new.target)
        && old.lifetime == new.lifetime
}
