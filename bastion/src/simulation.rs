//! Entry points for a simulation of the engine: a Vault and schedds that are not real, a clock of their own, and a state
//! that survives restarts in memory.
//!
//! Always true: nothing is decided here; the engine, its limits and its policies are those of the service.

use std::sync::Arc;

use htvault::clock::Clock;
use htvault::{AccessToken, VaultToken};
use secrecy::SecretString;

use crate::engine::attempt::Parts;
use crate::model::delivery::{Credential, Delivery};
use crate::model::problem::Problem;
use crate::schedd::opener::Openers;
use crate::schedd::top_file;
use crate::store::Store;
use crate::vault::Vault;
use crate::vault::sessions::Sessions;

/// The state that a bastion has on disk, in memory: a bastion that is started again with it knows what was written.
#[derive(Clone, Debug, Default)]
pub struct SavedState(Store);

/// Access tokens that open credds, as the transports have them.
pub struct OpenerTokens<V>(Openers<V>);

impl<V: Vault> OpenerTokens<V> {
    /// Returns an access token that opens a delivery's credd; nothing where none is needed.
    ///
    /// # Errors
    /// The login or the read failed.
    pub async fn of(&self, delivery: &Delivery) -> Result<Option<AccessToken>, Problem> {
        self.0.of(delivery).await
    }
}

/// Puts the parts of an engine together. `transport` makes the way to schedds from the tokens that open them.
pub fn parts<V: Vault, T>(
    vault: V,
    clock: Arc<dyn Clock>,
    state: &SavedState,
    transport: impl FnOnce(OpenerTokens<V>) -> T,
) -> Arc<Parts<V, T>> {
    with_transport(Sessions::new(vault, clock, state.0.clone()), transport)
}

/// Puts the parts together for a configuration that is read anew: what was counted and limited goes on.
pub fn parts_anew<V: Vault, T>(
    before: &Parts<V, T>,
    vault: V,
    transport: impl FnOnce(OpenerTokens<V>) -> T,
) -> Arc<Parts<V, T>> {
    with_transport(before.sessions.reconfigured(vault), transport)
}

fn with_transport<V: Vault, T>(
    sessions: Sessions<V>,
    transport: impl FnOnce(OpenerTokens<V>) -> T,
) -> Arc<Parts<V, T>> {
    let sessions = Arc::new(sessions);
    let openers = OpenerTokens(Openers::new(Arc::clone(&sessions)));
    Arc::new(Parts::new(sessions, transport(openers)))
}

/// Returns the vault token of a content that is stored at a schedd for a credential.
#[must_use]
pub fn vault_token_of(credential: &Credential, content: &SecretString) -> Option<VaultToken> {
    top_file::token_of(credential, content)
}
