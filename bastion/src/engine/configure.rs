//! Deliveries that there are to be, by the configuration and by what collectors know.
//!
//! Always true: what is known of a delivery that stays is kept; one that is configured away is left as it is
//! at its schedd, and keeps its owner while a token of it lives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::desired::{Desired, DesiredConfig, Message};
use super::{Barrier, DeliveryTask, Engine, Owner, Status, barrier};
use crate::config::Config;
use crate::engine::attempt::{Parts, Tokens};
use crate::engine::revoke::{RevocationReport, by_name, leftover};
use crate::model::delivery::{Delivery, DeliveryId, Selection};
use crate::policy::plan;
use crate::schedd::Transport;
use crate::vault::Vault;

/// Pause until sessions are closed again that attempts with former parts may have opened.
const CLOSE_AGAIN: Duration = Duration::from_secs(10);

/// Ends the sessions of former parts. Attempts that still run with these log in anew if they have to.
async fn close_sessions<V: Vault, T: Transport>(parts: Arc<Parts<V, T>>) {
    loop {
        let is_last = Arc::strong_count(&parts) == 1;
        parts.sessions.close_all().await;
        if is_last {
            break;
        }
        tokio::time::sleep(CLOSE_AGAIN).await;
    }
}

impl<V: Vault, T: Transport> Engine<V, T> {
    /// Goes on with another configuration and other parts.
    pub(super) fn reload(&mut self, config: &Config, parts: Arc<Parts<V, T>>) -> Barrier {
        tokio::spawn(close_sessions(self.parts()));
        self.check = config.check.clone();
        parts.limits.retry_now();
        self.view.set_parts(&parts);
        self.searches.configure(config);
        // Before anybody uses it.
        self.searches.show_to(&parts.transport);
        let next_tick = self.check.next(self.now(), &self.zone);
        self.change_env(|env| {
            env.parts = parts;
            env.vaults = config.vault.servers().to_vec();
            env.pace.spread = config.spread;
            env.next_tick = next_tick;
        });
        let barrier = self.configure(true);
        // Another delivery may show the way to where something is left to do.
        self.recall_unfinished();
        barrier
    }

    /// Gives every delivery that is wanted an owner, and gives owners their desired state. `is_reload`: a person changed
    /// the configuration.
    pub(super) fn configure(&mut self, is_reload: bool) -> Barrier {
        let (applied, barrier) = barrier();
        let wanted = self.searches.wanted();
        let deliveries = wanted.len();
        let proofs = wanted.values();
        let proofs: usize = proofs
            .map(|(delivery, _)| plan::requests_of_proof(&delivery.credential))
            .sum();
        let (now, store) = (self.now(), self.parts().store.clone());
        let (mut new, mut changed, mut removed) = (0, 0, 0);
        for (id, owner) in &mut self.owners {
            if owner.is_wanted && !wanted.contains_key(id) {
                removed += 1;
                owner.is_wanted = false;
                let desired = DesiredConfig {
                    delivery: None,
                    gone: None,
                    is_reload,
                };
                owner.send(Message::Configure(desired), &applied);
                let DeliveryId {
                    account,
                    service,
                    schedd,
                } = id;
                let revoked = store.read(|content| content.revoked.get(id).copied());
                let status = owner.status.borrow();
                let ends = status.record.life.map(|life| life.expires);
                let may_live =
                    ends.is_some_and(|end| end > now) || !status.other_accessors.is_empty();
                let then = match revoked {
                    Some(revoked) if revoked.unfinished.is_some() => {
                        "its revocation is not finished, and goes on".to_owned()
                    }
                    Some(_) => "it was revoked".to_owned(),
                    None if !may_live => "nothing of it is known to live".to_owned(),
                    None => format!(
                        "its token at the schedd stays until it expires; to revoke it now: token-bastion revoke \
                         --account {account} --service {service} --schedd {schedd}"
                    ),
                };
                info!("{id} is no longer delivered; {then}");
            }
        }
        for (id, (delivery, gone)) in wanted {
            let Some(owner) = self.owners.get_mut(&id) else {
                new += 1;
                let task = self.own(delivery, true, gone);
                self.spawn(task);
                continue;
            };
            let is_same = {
                let status = owner.status.borrow();
                let is_same = *status.delivery == *delivery;
                changed += usize::from(!is_same);
                is_same && status.gone == gone
            };
            if is_reload || !is_same || !owner.is_wanted {
                owner.is_wanted = true;
                let desired = DesiredConfig {
                    delivery: Some(delivery),
                    gone,
                    is_reload,
                };
                owner.send(Message::Configure(desired), &applied);
            }
        }
        let prove_every = plan::prove_every(proofs, self.searches.request_limit);
        // Each change wakes all.
        if self.env.borrow().pace.prove_every != prove_every {
            self.change_env(|env| env.pace.prove_every = prove_every);
        }
        self.show();
        self.forget_unused();
        // A collector is asked every few minutes, as a rule in vain.
        if is_reload || new + changed + removed > 0 {
            info!(deliveries, new, changed, removed, "configured");
        }
        barrier
    }

    /// Makes the owner of a delivery, with what the store has of it.
    pub(super) fn own(
        &mut self,
        delivery: Arc<Delivery>,
        is_wanted: bool,
        gone: Option<Timestamp>,
    ) -> DeliveryTask<V, T> {
        let id = delivery.id.clone();
        let store = self.parts().store.clone();
        let records = store.records_of(&id);
        let revoked = store.read(|content| content.revoked.get(&id).copied());
        let tokens = records.as_ref().map(Tokens::recorded).unwrap_or_default();
        let mut status = Status::new(delivery, records.as_ref(), &tokens);
        status.record.revoked = revoked.map(|revoked| revoked.since);
        status.gone = gone;
        let (mail, received) = futures_channel::mpsc::unbounded();
        let desired = Desired::new(status, is_wanted, self.env.subscribe(), received);
        let unfinished = revoked.and_then(|revoked| revoked.unfinished);
        let task = DeliveryTask::new(tokens, desired, unfinished);
        let owner = Owner {
            mail,
            status: task.subscribe(),
            is_wanted,
            task: None,
        };
        self.owners.insert(id, owner);
        task
    }

    /// Has reports show what is wanted now, and what has owners besides.
    pub(super) fn show(&self) {
        let unwanted = self.owners.iter().filter(|(_, owner)| !owner.is_wanted);
        let unwanted = unwanted.map(|(id, _)| id.clone());
        let wanted = self.owners.values().filter(|owner| owner.is_wanted);
        let statuses = wanted.map(|owner| owner.status.clone());
        let env = self.env();
        let later = self.check.next(env.next_tick, &self.zone);
        self.view.show(
            statuses.collect(),
            unwanted.collect(),
            self.searches.problems(),
            env.pace,
            [env.tick, env.next_tick, later],
        );
    }

    /// Forgets the breakers of what no delivery needs any more.
    fn forget_unused(&self) {
        let wanted = self.owners.values().filter(|owner| owner.is_wanted);
        let wanted = wanted.map(|owner| Arc::clone(&owner.status.borrow().delivery));
        self.env.borrow().parts.limits.keep(wanted);
    }

    /// Gives a delivery that is not configured any more an owner that knows the way to its schedd, as it is configured now.
    /// `false` when nothing says any longer how to reach the schedd.
    fn recall(&mut self, id: &DeliveryId) -> bool {
        let Some(delivery) = leftover(self.searches.listed(), self.searches.searches(), id) else {
            return false;
        };
        let delivery = Arc::new(delivery);
        if let Some(owner) = self.owners.get(id) {
            let (applied, _) = barrier();
            owner.send(Message::Way(delivery), &applied);
        } else {
            let task = self.own(delivery, false, None);
            self.spawn(task);
        }
        true
    }

    /// Has revocations that are not finished go on, of deliveries that are not configured any more. One whose schedd cannot
    /// be reached any more stays recorded: it may be configured again.
    pub(super) fn recall_unfinished(&mut self) {
        let store = self.parts().store.clone();
        let unfinished: Vec<DeliveryId> =
            store.read(|content| content.unfinished().cloned().collect());
        for id in unfinished {
            let owner = self.owners.get(&id);
            if owner.is_some_and(|owner| owner.is_wanted) {
                continue;
            }
            let is_owned = owner.is_some();
            if !self.recall(&id) && !is_owned {
                warn!(
                    delivery = %id,
                    "its revocation is not finished, and nothing in the configuration says any longer how to reach its schedd"
                );
            }
        }
        self.show();
    }

    /// Gives owners to those of these deliveries that are not configured any more, as far as their schedds can be reached.
    /// Those of which only the store knows, and that cannot, are answered: their tokens by name.
    pub(super) fn recall_for(
        &mut self,
        selection: &Selection,
        leave_schedds: bool,
    ) -> Vec<RevocationReport> {
        let now = self.now();
        let store = self.parts().store.clone();
        store.drop_expired(now);
        let unwanted = self.owners.iter().filter(|(_, owner)| !owner.is_wanted);
        let mut known: BTreeSet<DeliveryId> = unwanted.map(|(id, _)| id.clone()).collect();
        store.read(|content| {
            let stored = content.unfinished().chain(content.deliveries.keys());
            known.extend(stored.filter(|id| !self.owners.contains_key(id)).cloned());
        });
        let mut named = Vec::new();
        for id in known.into_iter().filter(|id| selection.matches(id)) {
            if !self.recall(&id) && !self.owners.contains_key(&id) {
                let records = store.records_of(&id).unwrap_or_default();
                named.push(by_name(&id, &records, now, leave_schedds));
            }
        }
        self.show();
        named
    }
}
