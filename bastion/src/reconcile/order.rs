//! What a person asks of the running service about some deliveries.
//!
//! What holds: an order changes when something is tried, never what is wanted.

use jiff::Timestamp;

use super::Reconciler;
use crate::delivery::{DeliveryId, Selection};
use crate::transport::Transport;
use crate::vault::Vault;

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// New vault tokens, pushed now.
    Push(Selection),
    /// Whatever waits after a failure is tried now.
    Retry(Selection),
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Notes an order. Which deliveries it is about.
    pub(super) fn obey(&mut self, order: &Order) -> Vec<DeliveryId> {
        let (Order::Push(selection) | Order::Retry(selection)) = order;
        self.parts.limits.retry_now();
        self.parts.vault.retry_now();
        let mut meant = Vec::new();
        let mut wanted = Vec::new();
        for (id, entry) in &mut self.entries {
            if !selection.holds(id) {
                continue;
            }
            if matches!(order, Order::Push(_)) {
                entry.record.asked = true;
                if entry.record.cut_off.take().is_some() {
                    wanted.push(id.clone());
                }
            }
            if let Some(failure) = &mut entry.record.failure {
                failure.next_try = Timestamp::MIN;
            }
            meant.push(id.clone());
        }
        if !wanted.is_empty() {
            let store = &self.parts.store;
            store.change(|content| content.revoke(&wanted, None));
        }
        meant
    }
}
