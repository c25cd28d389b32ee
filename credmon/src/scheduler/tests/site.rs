//! Vaults and issuers that answer by rules.

use htvault::{ErrorKind, FailureScope};

use super::super::*;
use crate::model::fixtures::{self, at};
use crate::model::{Failure, FileId, TaskKind, TokenInfo, VaultLife};

/// Vaults and issuers, as of the right time.
#[derive(Default)]
pub(super) struct Site {
    /// Seconds that a new access token lives, where no issuer has another.
    pub(super) life: i64,
    /// Seconds by which the time of issue, and the expiry that follows from it, are backdated.
    pub(super) backdated: i64,
    pub(super) hosts_down: BTreeMap<&'static str, ErrorKind>,
    pub(super) issuers_down: BTreeSet<&'static str>,
    /// Answers for the credentials of single accounts.
    pub(super) accounts: BTreeMap<&'static str, Outcome>,
    /// Vault tokens may not look themselves up, which looks as if they were dead.
    pub(super) refuses_look_ups: bool,
    /// Seconds that an answer of a host takes.
    pub(super) latency: BTreeMap<&'static str, i64>,
    /// Vault's cached token of each credential: time of issue and expiry.
    pub(super) cache: BTreeMap<CredentialId, (i64, i64)>,
}

impl Site {
    /// The answer at a time.
    pub(super) fn answer(
        &mut self,
        task: &RenewalTask,
        second: i64,
        version: u64,
    ) -> (Outcome, u32) {
        let route = &task.route;
        let answer = self.accounts.get(&*route.account);
        if let Some(outcome) = answer.filter(|outcome| can_be(outcome, task)) {
            return (outcome.clone(), 1);
        }
        if let Some(kind) = self.hosts_down.get(&*route.host) {
            return (Outcome::Failed(failure(*kind, &task.id)), 1);
        }
        let TaskKind::Renew {
            minimum_seconds,
            current,
        } = &task.kind
        else {
            if self.refuses_look_ups {
                return (Outcome::TokenDead("permission denied".to_owned()), 1);
            }
            let expires = at(second + 7 * 86_400);
            return (Outcome::LookedUp(VaultLife(Some(expires))), 1);
        };
        let is_down = self.issuers_down.contains(&*route.issuer);
        let cached = self.cache.get(&task.id).copied();
        let lives = |seconds: i64| cached.is_some_and(|(_, expires)| expires - second >= seconds);
        if !lives(*minimum_seconds) && !is_down {
            let issued = second - self.backdated;
            let token = (issued, issued + self.life);
            self.cache.insert(task.id.clone(), token);
        }
        // As a renewal finds: a token that lives less by nature is no cause to complain.
        let may_be_had = is_down || *minimum_seconds < self.life;
        let cached = self.cache.get(&task.id).copied();
        let lives = |seconds: i64| cached.is_some_and(|(_, expires)| expires - second >= seconds);
        let shorter = (!lives(*minimum_seconds) && may_be_had)
            .then(|| failure(ErrorKind::NotLongEnough, &task.id));
        let token = self
            .cache
            .get(&task.id)
            .filter(|(_, expires)| *expires > second);
        let Some(&(issued, expires)) = token else {
            let failure = shorter.unwrap_or_else(|| failure(ErrorKind::NotLongEnough, &task.id));
            return (Outcome::Failed(failure), 2);
        };
        let present = current.as_ref().and_then(|token| token.lifetime);
        if present.is_some_and(|present| at(expires) <= present.expires) {
            return (shorter.map_or(Outcome::Unchanged, Outcome::Failed), 2);
        }
        let token = Arc::new(TokenInfo {
            written: at(second),
            ..(*token_of(issued, expires, version)).clone()
        });
        (Outcome::Renewed { token, shorter }, 1)
    }
}

/// `false` for an outcome that such a task cannot have: only of a token that is known to be in place
/// can be said that there is no better one.
pub(super) fn can_be(outcome: &Outcome, task: &RenewalTask) -> bool {
    match (outcome, &task.kind) {
        (Outcome::Unchanged, TaskKind::Renew { current, .. }) => current.is_some(),
        (Outcome::Unchanged, TaskKind::LookUp) => false,
        _ => true,
    }
}

/// A failure of a credential; its text names the credential, its words do not.
pub(super) fn failure(kind: ErrorKind, id: &CredentialId) -> Failure {
    fixtures::failure(kind, &format!("secret/oauth/creds/{id}"))
}

pub(super) fn token_of(issued: i64, expires: i64, version: u64) -> Arc<TokenInfo> {
    Arc::new(TokenInfo {
        file: file(version, issued),
        written: at(issued),
        lifetime: Some(Lifetime {
            issued: at(issued),
            expires: at(expires),
        }),
        id: Some(version.to_string().into()),
        issuer: Some("https://issuer.test".into()),
        subject: None,
        scopes: None,
    })
}

pub(super) fn file(version: u64, second: i64) -> FileId {
    FileId {
        device: 1,
        inode: version,
        size: 100,
        changed: second * 1_000_000_000 + i64::try_from(version).unwrap(),
    }
}

/// Outcome of a server that answers 200 without what Vault answers.
pub(super) fn strange(id: &CredentialId) -> Outcome {
    Outcome::Failed(Failure {
        scope: FailureScope::Credential,
        ..failure(ErrorKind::BadAnswer, id)
    })
}
