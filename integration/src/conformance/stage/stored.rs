//! Stored credentials for the cases: what can be read from them, and storing one by a device flow
//! as a person does the first time.

use anyhow::{Context as _, bail, ensure};
use htvault::Claims;
use htvault::clock::{Clock as _, SystemClock};
use secrecy::SecretString;

use super::{Stage, Unready, skip, with_token};
use crate::conformance::admin::approve;
use crate::conformance::names::{Lives, Names, Slots};

impl Stage {
    /// Reads an access token, whatever it has left.
    pub(super) async fn lives(&mut self) -> Result<Lives, Unready> {
        let login = self.login().await?;
        let answer = (self.named("creds-read-after-delete", &with_token(&login))).await?;
        let body = answer.json();
        let data = |name: &str| {
            let value = body.pointer(&format!("/data/{name}"))?;
            value.as_str()
        };
        let (Some(token), Some(ends)) = (data("access_token"), data("expire_time")) else {
            let Names {
                issuer,
                role,
                credkey,
                ..
            } = &self.names;
            let name = format!("{issuer}/{credkey}:{role}");
            return match answer.status {
                404 => skip(format!(
                    "no refresh token is stored for {name}: onboard first"
                )),
                status => skip(format!(
                    "no access token can be had for {name}: status {status}"
                )),
            };
        };
        let ends: jiff::Timestamp = ends.parse().context("expire_time is no time")?;
        let left = ends
            .as_second()
            .saturating_sub(SystemClock.now().as_second());
        let left = u64::try_from(left).unwrap_or_default();
        let whole = Claims::read(token).and_then(|claims| {
            let (from, to) = (claims.issued?.as_second(), claims.expires?.as_second());
            u64::try_from(to.saturating_sub(from)).ok()
        });
        Ok(Lives {
            left,
            whole: whole.unwrap_or(left).max(left),
        })
    }

    /// A name of the principal's own under which nothing is stored.
    pub(super) async fn never_stored(&mut self) -> Result<String, Unready> {
        let login = self.login().await?;
        let own = self.names.credkey.clone();
        for credkey in [format!("{own}/conformance/none"), own] {
            let slots = Slots {
                credkey: Some(credkey.clone()),
                ..with_token(&login)
            };
            if self.named("creds-none-stored", &slots).await?.status == 404 {
                return Ok(credkey);
            }
        }
        skip("under every name that the policy allows a refresh token is stored")
    }

    /// Begins an OIDC flow; gives its state and its approval page.
    pub(super) async fn begin_flow(&mut self) -> Result<(String, String), Unready> {
        let answer = self.named("oidc-auth-url", &Slots::default()).await?;
        let body = answer.json();
        let data = |name: &str| body.pointer(name).and_then(|value| value.as_str());
        match (data("/data/state"), data("/data/auth_url")) {
            (Some(state), Some(url)) => Ok((state.to_owned(), url.to_owned())),
            _ => skip(format!("no OIDC flow can begin: status {}", answer.status)),
        }
    }

    pub(super) async fn approved_flow(&mut self) -> Result<String, Unready> {
        let (state, auth_url) = self.begin_flow().await?;
        match &self.admin {
            Some(_) => {
                approve(&self.server, &auth_url, &self.names.credkey).await?;
                Ok(state)
            }
            None => skip("a person would have to approve"),
        }
    }

    /// Stores a new refresh token, as a person does the first time.
    pub(super) async fn onboard(&mut self) -> anyhow::Result<()> {
        let state = match self.approved_flow().await {
            Ok(state) => state,
            Err(Unready::Failed(error)) => return Err(error),
            Err(Unready::Skip(reason)) => bail!(reason),
        };
        let slots = Slots {
            state: Some(state),
            ..Slots::default()
        };
        let answer = self.named("oidc-poll-done", &slots).await?;
        let body = answer.json();
        let text = |name: &str| (body.pointer(name)?.as_str()).map(SecretString::from);
        let token = text("/auth/client_token").context("no token for the approved flow")?;
        self.made.push(token.clone());
        let slots = Slots {
            token: Some(token),
            refresh_token: text("/auth/metadata/oauth2_refresh_token"),
            ..Slots::default()
        };
        let stored = self.named("oidc-creds-store", &slots).await?;
        ensure!(
            stored.status == 204,
            "a refresh token cannot be stored: status {}",
            stored.status
        );
        Ok(())
    }
}
