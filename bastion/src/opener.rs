//! Access tokens that open credds: one for each account and authorising credential, shared by its
//! deliveries, from a login of its own that never leaves this process.
//!
//! Unreduced tokens are read: a reduced one need not carry the scope that may write at a credd.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use htvault::{AccessToken, VaultToken};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::delivery::Credential;
use crate::moment::{after, until};
use crate::problem::{Kind, Problem};
use crate::vault::{Reading, Vault};

/// The end of a token's life that is not used: a push is to end before it does.
const RESERVE: Duration = Duration::from_mins(2);

struct Opener {
    credential: Arc<Credential>,
    login: VaultToken,
    /// When a new login is made.
    login_until: Timestamp,
    access: Option<(AccessToken, Timestamp)>,
}

type Slot = Arc<Mutex<Option<Opener>>>;

/// The openers.
#[derive(Default)]
pub(crate) struct Openers(Mutex<HashMap<(String, String), Slot>>);

impl Openers {
    /// An access token of `credential` that lives a while.
    pub(crate) async fn get(
        &self,
        vault: &impl Vault,
        credential: &Arc<Credential>,
        now: Timestamp,
    ) -> Result<AccessToken, Problem> {
        let slot = self.slot(credential).await;
        let mut slot = slot.lock().await;
        if let Some(opener) = slot.as_ref()
            && let Some((access, good_until)) = &opener.access
            && now < *good_until
        {
            return Ok(access.clone());
        }
        match read(vault, credential, &mut slot, now).await {
            // The login died before its time; a new one is made once.
            Err(problem) if problem.kind == Kind::TokenDead => {
                *slot = None;
                read(vault, credential, &mut slot, now).await
            }
            answer => answer,
        }
    }

    /// Forgets an access token that a credd refused.
    pub(crate) async fn forget(&self, credential: &Credential) {
        if let Some(opener) = self.slot(credential).await.lock().await.as_mut() {
            opener.access = None;
        }
    }

    /// Revokes the login of one credential, and forgets its access token.
    pub(crate) async fn close(&self, vault: &impl Vault, credential: &Credential) {
        if let Some(opener) = self.slot(credential).await.lock().await.take() {
            // A login that cannot be revoked ends by itself.
            let _ = vault.revoke(&opener.credential, &opener.login).await;
        }
    }

    /// Revokes the logins, which serve nobody but this process.
    pub(crate) async fn revoke_all(&self, vault: &impl Vault) {
        let slots: Vec<Slot> = self.0.lock().await.drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            if let Some(opener) = slot.lock().await.take() {
                // A login that cannot be revoked ends by itself.
                let _ = vault.revoke(&opener.credential, &opener.login).await;
            }
        }
    }

    async fn slot(&self, credential: &Credential) -> Slot {
        let key = (
            credential.identity.account.clone(),
            credential.service.clone(),
        );
        Arc::clone(self.0.lock().await.entry(key).or_default())
    }
}

async fn read(
    vault: &impl Vault,
    credential: &Arc<Credential>,
    slot: &mut Option<Opener>,
    now: Timestamp,
) -> Result<AccessToken, Problem> {
    let mut opener = match slot.take() {
        // A changed configuration may name another place under the same service.
        Some(opener) if now < opener.login_until && opener.credential == *credential => opener,
        _ => {
            let login = vault.login(credential).await?;
            let life = Duration::from_secs(login.lease_seconds);
            Opener {
                credential: Arc::clone(credential),
                login: login.token,
                login_until: after(now, life / 4 * 3),
                access: None,
            }
        }
    };
    let answer = vault.read(credential, &opener.login, Reading::Full).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(problem) => {
            *slot = Some(opener);
            return Err(problem);
        }
    };
    let left = answer
        .expires()
        .map_or(Duration::ZERO, |end| until(now, end));
    let good = left.saturating_sub(RESERVE.min(left / 4));
    opener.access = Some((answer.token.clone(), after(now, good)));
    *slot = Some(opener);
    Ok(answer.token)
}
