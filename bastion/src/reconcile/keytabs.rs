//! Accounts whose login fails for their keytab: they are tried at once when it is replaced.
//!
//! What holds: a keytab is looked at only while a login with it fails, and never by the loop itself:
//! a file system may hang.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::info;

use super::aside::News;
use super::{Entry, Reconciler};
use crate::attendant::Attendant;
use crate::delivery::{DeliveryId, Identity};
use crate::engine::resources;
use crate::problem::Kind;
use crate::transport::Transport;
use crate::vault::Vault;

/// Who waits for which keytab.
pub(super) type Keytabs = HashMap<Arc<Identity>, Attendant>;

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// After a try of a delivery: whether its keytab is waited for.
    pub(super) fn await_keytab(&mut self, id: &DeliveryId) {
        let Some(entry) = self.entries.get(id).filter(|_| self.persistent) else {
            return;
        };
        // A credd may be opened by another login than that of the delivery.
        let logins = [&entry.delivery.credential, &entry.delivery.authorize];
        let fails = fails_for_keytab(entry);
        for identity in logins.map(|credential| &credential.identity) {
            let is_awaited = self.keytabs.contains_key(identity);
            if fails && !is_awaited {
                let (parts, tell) = (Arc::clone(&self.parts), self.tell.clone());
                let waited_for = Arc::clone(identity);
                let work = async move {
                    parts.vault.new_keytab(&waited_for).await;
                    // Nobody listens when the service ends.
                    let _ = tell.send(News::Keytab(waited_for));
                };
                self.keytabs
                    .insert(Arc::clone(identity), Attendant::begin(work));
            } else if is_awaited {
                let mut others = self.entries.values().filter(|other| uses(other, identity));
                if !others.any(|entry| fails_for_keytab(entry)) {
                    self.keytabs.remove(identity);
                }
            }
        }
    }

    /// A keytab was replaced: whatever failed for it is tried now.
    pub(super) fn has_new_keytab(&mut self, identity: &Identity) {
        self.keytabs.remove(identity);
        self.parts.limits.retry(&resources::principal(identity));
        let mut deliveries = 0;
        for entry in self.entries.values_mut() {
            if !uses(entry, identity) || !fails_for_keytab(entry) {
                continue;
            }
            if let Some(failure) = &mut entry.record.failure {
                failure.next_try = Timestamp::MIN;
                self.agenda.again(entry);
                deliveries += 1;
            }
        }
        info!(
            account = identity.account,
            keytab = %identity.keytab.display(),
            deliveries,
            "the keytab was replaced; what failed for it is tried now"
        );
    }
}

fn uses(entry: &Entry, identity: &Identity) -> bool {
    let delivery = &entry.delivery;
    *delivery.credential.identity == *identity || *delivery.authorize.identity == *identity
}

fn fails_for_keytab(entry: &Entry) -> bool {
    let failure = entry.record.failure.as_ref();
    failure.is_some_and(|failure| failure.problem.kind == Kind::Keytab)
}
