//! Watches for new keytabs: accounts whose login fails for their keytab are tried at once when it is
//! replaced.
//!
//! Always true: a keytab is watched only while a login with it fails, by one task for all deliveries.

use std::sync::Arc;

use tracing::info;

use crate::engine::attempt::Parts;
use crate::limits::resources::principal;
use crate::model::delivery::Delivery;
use crate::schedd::Transport;
use crate::vault::Vault;

/// Watches the keytabs that a delivery's logins fail with, until their breakers close.
pub(super) fn watch<V: Vault, T: Transport>(parts: &Arc<Parts<V, T>>, delivery: &Delivery) {
    for credential in [&delivery.credential, &delivery.authorize] {
        let identity = Arc::clone(&credential.identity);
        let resource = principal(&identity);
        let Some((claim, is_over)) = parts.limits.watch(&resource) else {
            continue;
        };
        let parts = Arc::clone(parts);
        tokio::spawn(async move {
            tokio::select! {
                () = parts.vault.new_keytab(&identity) => {
                    info!(
                        account = identity.account,
                        keytab = %identity.keytab.display(),
                        "the keytab was replaced; deliveries that failed for it are tried now"
                    );
                    parts.limits.retry(&resource);
                }
                () = is_over.cancelled() => {}
            }
            drop(claim);
        });
    }
}
