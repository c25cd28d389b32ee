//! Vault tokens for the cases: made by a login, dead in the ways that a token can be dead, and all
//! revoked at the end.

use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{Stage, Unready, skip, with_token};
use crate::conformance::cases::Bearer;
use crate::conformance::names::Slots;
use crate::conformance::recorded::{Answer, exchange};
use crate::conformance::ticket::Mechanism;
use crate::wait;

impl Stage {
    /// Revokes all tokens; says how many are dead now, and of how many.
    pub async fn revoke_all(&mut self) -> (usize, usize) {
        self.login = None;
        self.oidc = None;
        let (mut dead, mut all) = (0, 0);
        // The newest first: those that are left die with the login that made them. Each is taken
        // off the list when it has been tried, so that an interrupted call loses none.
        while let Some(token) = self.made.last().cloned() {
            let answer = self.named("revoke-self", &with_token(&token)).await;
            self.made.pop();
            all += 1;
            // A batch token cannot be revoked by itself: it goes with its parent.
            let gone = token.expose_secret().starts_with("b.") || answer.is_ok_and(|a| is_gone(&a));
            dead += usize::from(gone);
        }
        (dead, all)
    }

    /// The same for one that gives a token.
    pub(super) async fn given(
        &mut self,
        name: &str,
        slots: &Slots,
    ) -> anyhow::Result<SecretString> {
        let answer = self.named(name, slots).await?;
        let body = answer.json();
        let token = (body.pointer("/auth/client_token"))
            .and_then(|token| token.as_str())
            .with_context(|| format!("status {} instead of a token ({name})", answer.status))?;
        let token = SecretString::from(token);
        self.made.push(token.clone());
        Ok(token)
    }

    pub(super) async fn login(&mut self) -> anyhow::Result<SecretString> {
        if let Some(login) = &self.login {
            return Ok(login.clone());
        }
        let login = self.new_login().await?;
        Ok(self.login.insert(login).clone())
    }

    pub(super) async fn new_login(&mut self) -> anyhow::Result<SecretString> {
        let slots = Slots {
            ticket: Some(self.tickets.fresh(Mechanism::Kerberos).await?),
            ..Slots::default()
        };
        (self.given("login-krb5-mech", &slots).await).context("no login")
    }

    pub(super) async fn bearer(&mut self, bearer: Bearer) -> Result<Option<SecretString>, Unready> {
        let token = match bearer {
            Bearer::Recorded => return Ok(None),
            Bearer::Login => self.login().await?,
            Bearer::Child => {
                let login = self.login().await?;
                self.given("token-create", &with_token(&login)).await?
            }
            Bearer::Expired => self.expired().await?,
            Bearer::Revoked => {
                let login = self.login().await?;
                let child = self.given("token-create", &with_token(&login)).await?;
                self.named("revoke-self", &with_token(&child)).await?;
                child
            }
            Bearer::ParentRevoked => {
                let parent = self.new_login().await?;
                let child = self.given("token-create", &with_token(&parent)).await?;
                self.named("revoke-self", &with_token(&parent)).await?;
                child
            }
            Bearer::Oidc => match &self.oidc {
                Some((token, _)) => token.clone(),
                None => return skip("needs oidc-poll-done"),
            },
        };
        Ok(Some(token))
    }

    /// A child of one second, when it is over.
    pub(super) async fn expired(&mut self) -> anyhow::Result<SecretString> {
        let login = self.login().await?;
        let mut request = exchange("token-create")?.request;
        r#"{"ttl": "1s"}"#.clone_into(&mut request.body);
        let request = self.names.request(&request, &with_token(&login));
        let body = self.server.send(&request).await?.json();
        let token = (body.pointer("/auth/client_token"))
            .and_then(|token| token.as_str())
            .context("no token of one second")?;
        let token = SecretString::from(token);
        self.made.push(token.clone());
        let slots = with_token(&token);
        wait::until(
            "a token of one second to expire",
            Duration::from_secs(30),
            async || {
                let answer = self.named("lookup-self", &slots).await;
                answer
                    .is_ok_and(|answer| answer.status == 403)
                    .then_some(())
            },
        )
        .await?;
        Ok(token)
    }
}

/// Whether the answer to `revoke-self` means that the token is dead: by it, or before.
fn is_gone(answer: &Answer) -> bool {
    let dead = json!({"errors": ["permission denied"]});
    answer.status == 204 || (answer.status == 403 && answer.json() == dead)
}
