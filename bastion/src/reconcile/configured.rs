//! What is wanted, taken over from a configuration.
//!
//! What holds: what is known of a delivery that stays is kept; one that is configured away is left
//! as it is at its schedd, and kept in mind while a token of it lives.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::info;

use super::Reconciler;
use super::entry::Entry;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::engine::limits::Claims;
use crate::push::Parts;
use crate::transport::Transport;
use crate::vault::Vault;

impl<V: Vault, T: Transport> Reconciler<V, T> {
    pub(super) fn reload(&mut self, config: &Config, parts: Arc<Parts<V, T>>) {
        let old = std::mem::replace(&mut self.parts, parts);
        // Tries that still run with the old parts log in anew if they have to.
        tokio::spawn(async move { old.close_openers().await });
        self.check = config.check.clone();
        self.spread = config.spread;
        self.requests = config.vault.requests;
        self.next_tick = self.check.next(self.now(), &self.zone);
        self.parts.limits.retry_now();
        // Whatever failed is tried at once.
        self.keytabs.clear();
        self.take(config);
    }

    /// Takes over what is wanted. What is known of deliveries that stay is kept.
    pub(super) fn take(&mut self, config: &Config) {
        self.searches.configure(config);
        let mut old = std::mem::take(&mut self.entries);
        let (mut new, mut changed) = (0, 0);
        for (id, (delivery, gone)) in self.searches.wanted() {
            let mut entry =
                if let Some(mut entry) = old.remove(&id).or_else(|| self.away.0.remove(&id)) {
                    if entry.delivery != delivery {
                        changed += 1;
                        let same = same_content(&entry.delivery, &delivery);
                        entry.record.changed |= !same;
                        // Whoever changed what is delivered wants it delivered.
                        entry.record.cut_off = entry.record.cut_off.filter(|_| same);
                        entry.claims = Arc::new(Claims::of(&delivery));
                        entry.delivery = delivery;
                    }
                    // Whoever changed the configuration wants to see what comes of it.
                    if let Some(failure) = &mut entry.record.failure {
                        failure.next_try = Timestamp::MIN;
                    }
                    entry
                } else {
                    new += 1;
                    let note = self.parts.store.note_of(&id);
                    Box::new(Entry::new(delivery, note.as_ref()))
                };
            entry.gone = gone;
            self.entries.insert(id, entry);
        }
        self.keep_off();
        self.forget_unused();
        info!(
            deliveries = self.entries.len(),
            new,
            changed,
            removed = old.len(),
            "configured"
        );
        for (id, entry) in old {
            info!(
                account = id.account,
                service = id.service,
                schedd = id.schedd,
                "no longer delivered; what is there stays and ends by itself"
            );
            self.away.keep(id, entry);
        }
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Forgets the breakers of what no delivery needs any more.
    pub(super) fn forget_unused(&self) {
        self.parts
            .limits
            .keep(self.entries.values().map(|entry| &*entry.claims));
    }
}

/// Whether a schedd that has one delivery's token has what the other wants.
fn same_content(old: &Delivery, new: &Delivery) -> bool {
    old.credential.is_same_token(&new.credential)
        && old.target == new.target
        && old.lifetime == new.lifetime
}
