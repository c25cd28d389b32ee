//! The job's end: waiting for the credmon after a push, and revoking what was replaced then.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{DeliveryLog, Try, log};
use crate::delivery::Delivery;
use crate::problem::{Cause, Kind, Problem};
use crate::transport::{Observed, Transport};
use crate::vault::{Held, Vault};
use crate::verify;

impl<V: Vault, T: Transport> Try<'_, V, T> {
    /// Waits until the credmon has made an access token since the push.
    pub(super) async fn await_served(
        &mut self,
        served_before: Option<Timestamp>,
    ) -> Result<(), Problem> {
        let limit = served_limit(self.delivery);
        let deadline = Instant::now() + limit;
        let (mut pause, longest) = if self.delivery.target.needs_opener() {
            (Duration::from_millis(500), Duration::from_secs(5))
        } else {
            (Duration::from_millis(20), Duration::from_secs(1))
        };
        loop {
            let observed = self.observe().await?;
            if let Some((_, at)) = &mut self.tokens.current
                && at.is_none()
            {
                *at = observed.stored;
            }
            if verify::is_served(&observed, served_before) {
                let DeliveryLog {
                    account,
                    service,
                    schedd,
                } = log(self.delivery);
                let accessor = self
                    .tokens
                    .current
                    .as_ref()
                    .map_or("", |(held, _)| &held.accessor);
                info!(
                    account,
                    service, schedd, accessor, "good: jobs there have an access token made with it"
                );
                return self.revoke_former().await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(not_served(self.delivery, &observed, limit));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Revokes what was replaced. What cannot be revoked now is tried again at the next look.
    pub(super) async fn revoke_former(&mut self) -> Result<(), Problem> {
        for held in std::mem::take(&mut self.tokens.former) {
            if held.left(self.now()).is_zero() && held.parent.is_none() {
                continue;
            }
            if !self.revoke(&held).await {
                self.tokens.former.push(held);
            }
        }
        Ok(())
    }

    pub(super) async fn revoke(&self, held: &Held) -> bool {
        let DeliveryLog {
            account,
            service,
            schedd,
        } = log(self.delivery);
        let accessor = held.accessor.as_str();
        match self
            .parts
            .vault
            .revoke(&self.delivery.credential, held.root())
            .await
        {
            Ok(()) => {
                info!(
                    account,
                    service, schedd, accessor, "revoked the former token"
                );
                true
            }
            Err(problem) => {
                warn!(account, service, schedd, accessor, %problem, "the former token could not be revoked yet");
                false
            }
        }
    }
}

/// How long the credmon may take: HTCondor's own looks once a minute.
fn served_limit(delivery: &Delivery) -> Duration {
    (delivery.renew_below / 2).clamp(Duration::from_secs(30), Duration::from_mins(3))
}

fn not_served(delivery: &Delivery, observed: &Observed, limit: Duration) -> Problem {
    let service = &delivery.id.service;
    let what = match (observed.stored, observed.served) {
        (None, _) => format!("{service}.top vanished after the push"),
        (_, None) => format!("there is no {service}.use"),
        (_, Some(served)) => format!("{service}.use is still that of {served:.0}"),
    };
    Problem::new(
        Cause::schedd(delivery),
        Kind::NotServed,
        format!(
            "{}, {} s after the push; check that the credmon at the schedd runs, and its log",
            what,
            limit.as_secs()
        ),
    )
}
