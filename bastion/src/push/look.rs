//! What the schedd has of a delivery, and what that means.

use std::time::Duration;

use htvault::VaultToken;
use jiff::Timestamp;
use tracing::info;

use super::{DeliveryLog, Try, log};
use crate::moment::before;
use crate::plan::{Life, Why};
use crate::problem::Problem;
use crate::top_file;
use crate::transport::{Observed, Transport};
use crate::vault::{Held, Vault};
use crate::verify;

/// What a look says.
pub(super) enum Verdict {
    Good,
    Unserved,
    Push(Why),
}

impl<V: Vault, T: Transport> Try<'_, V, T> {
    /// Sees what the schedd has and what that means.
    pub(super) async fn look(&mut self) -> Result<Verdict, Problem> {
        let observed = self.observe().await?;
        let Some(stored) = observed.stored else {
            let known = self.tokens.current.take();
            let why = if known.is_some() {
                Why::Missing
            } else {
                Why::First
            };
            self.tokens.former.extend(known.map(|(held, _)| held));
            return Ok(Verdict::Push(why));
        };
        let there = observed
            .content
            .as_ref()
            .map(|text| top_file::token_of(&self.delivery.credential, text));
        let Some((held, at)) = &mut self.tokens.current else {
            return match there.flatten() {
                Some(token) => self.adopt(token, stored, &observed).await,
                None => Ok(Verdict::Push(Why::Replaced)),
            };
        };
        let ours = match there {
            Some(there) => there.is_some_and(|there| there.expose() == held.token.expose()),
            None => at.is_none_or(|at| at == stored),
        };
        if !ours {
            let known = self.tokens.current.take();
            self.tokens.former.extend(known.map(|(held, _)| held));
            return Ok(Verdict::Push(Why::Replaced));
        }
        *at = Some(stored);
        Ok(Self::served(&observed))
    }

    fn served(observed: &Observed) -> Verdict {
        if verify::is_served(observed, None) {
            Verdict::Good
        } else {
            Verdict::Unserved
        }
    }

    /// A token found at the schedd after a restart: kept when it is what we would write.
    async fn adopt(
        &mut self,
        token: VaultToken,
        stored: Timestamp,
        observed: &Observed,
    ) -> Result<Verdict, Problem> {
        let credential = &self.delivery.credential;
        let Some((life, accessor)) = self.parts.vault.look_up(credential, &token).await? else {
            return Ok(Verdict::Push(Why::Replaced));
        };
        let held = Held {
            token,
            parent: None,
            accessor,
            // When it was issued is not known; this much before its end at the latest.
            life: Life {
                issued: before(life.expires, self.delivery.lifetime),
                expires: life.expires,
            },
        };
        let left = held.left(self.now());
        // Never longer than configured; a minute is for clocks and the way.
        if left <= self.delivery.renew_below
            || left > self.delivery.lifetime + Duration::from_mins(1)
        {
            self.tokens.former.push(held);
            return Ok(Verdict::Push(Why::Renewal));
        }
        let checked = self.check(&held).await;
        let DeliveryLog {
            account,
            service,
            schedd,
        } = log(self.delivery);
        info!(account, service, schedd, accessor = held.accessor, expires = %format_args!("{:.0}", held.life.expires), "kept the token found there");
        self.tokens.current = Some((held, Some(stored)));
        checked?;
        Ok(Self::served(observed))
    }
}
