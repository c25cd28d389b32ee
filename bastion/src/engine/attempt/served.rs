//! The job's end: waiting for the credmon after a push, and revoking what was replaced then.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Attempt;
use crate::model::delivery::{Delivery, Way};
use crate::model::problem::{Cause, Kind, Problem};
use crate::schedd::Transport;
use crate::vault::{OwnedToken, Vault};

/// A credmon takes this long to ask Vault and to write, and an observation of a credd costs a run of a tool.
const SOON: Duration = Duration::from_millis(150);
/// A query at a credd costs little where no tool is run for it.
const SOON_ASKED: Duration = Duration::from_millis(50);
/// An observation of a directory costs little.
const VERY_SOON: Duration = Duration::from_millis(15);
/// So much later it is another second, whatever the clock.
const A_SECOND: Duration = Duration::from_millis(1100);

impl<V: Vault, T: Transport> Attempt<'_, V, T> {
    /// Waits until the credmon has made an access token since the push.
    pub(super) async fn await_served(
        &mut self,
        served_before: Option<Timestamp>,
    ) -> Result<(), Problem> {
        let limit = served_limit(self.delivery);
        let mut deadline = Instant::now() + limit;
        let mut again = false;
        let (first, mut pause, longest) = match self.delivery.target.way() {
            // A query in a session that is open.
            Some(Way::Cedar { .. }) => (
                SOON_ASKED,
                Duration::from_millis(100),
                Duration::from_secs(2),
            ),
            Some(Way::Condor) => (SOON, Duration::from_millis(500), Duration::from_secs(5)),
            None => (VERY_SOON, Duration::from_millis(20), Duration::from_secs(1)),
        };
        // Before this no credmon has served.
        tokio::time::sleep(first).await;
        loop {
            let observed = self.observe().await?;
            if !again && observed.stored.is_some() && observed.stored == served_before {
                // Stored within the second in which the credmon last served: whole seconds cannot
                // show what is new. The same token again, in another second, can.
                again = true;
                tokio::time::sleep(A_SECOND).await;
                self.store_again().await?;
                deadline = Instant::now() + limit;
                continue;
            }
            if let Some((_, at)) = self.tokens.current()
                && at.is_none()
            {
                *at = observed.stored;
            }
            if observed.is_served(served_before) {
                let id = &self.delivery.id;
                let accessor = self.tokens.accessor().unwrap_or_default();
                info!(
                    account = id.account,
                    service = id.service,
                    schedd = id.schedd,
                    accessor,
                    "good: jobs there have an access token made with it"
                );
                self.revoke_former().await;
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(not_served(self.delivery, limit));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn store_again(&mut self) -> Result<(), Problem> {
        let Some((owned, _)) = self.tokens.current() else {
            return Ok(());
        };
        let owned = owned.clone();
        self.store(&owned).await
    }

    /// Revokes what was replaced. What cannot be revoked now is tried again at the next check.
    pub(super) async fn revoke_former(&mut self) {
        self.revoke_those(|_| true).await;
    }

    /// The same of those that no job can live on, whatever is at the schedd: their logins live on for weeks.
    pub(super) async fn revoke_ended(&mut self) {
        let now = self.now();
        self.revoke_those(|owned| owned.left(now).is_zero()).await;
    }

    async fn revoke_those(&mut self, is_chosen: impl Fn(&OwnedToken) -> bool) {
        for owned in self.tokens.former.clone() {
            if !is_chosen(&owned) {
                continue;
            }
            let ended = owned.left(self.now()).is_zero() && owned.parent.is_none();
            if ended || self.revoke(&owned).await {
                self.tokens.forget(&owned);
            }
        }
    }

    async fn revoke(&mut self, owned: &OwnedToken) -> bool {
        let id = &self.delivery.id;
        let accessor = owned.accessor.as_str();
        match self.parts.end_of(&self.delivery.credential, owned).await {
            Ok(()) => {
                info!(
                    account = id.account,
                    service = id.service,
                    schedd = id.schedd,
                    accessor,
                    "revoked the former token"
                );
                true
            }
            Err(problem) => {
                if self.tokens.unrevoked.insert(accessor.to_owned()) {
                    warn!(
                        account = id.account, service = id.service, schedd = id.schedd,
                        accessor, %problem,
                        "the former token could not be revoked yet; it is tried again at each check"
                    );
                }
                false
            }
        }
    }
}

/// Time that the credmon may take: HTCondor's own scans once a minute.
fn served_limit(delivery: &Delivery) -> Duration {
    (delivery.renew_below / 2).clamp(Duration::from_secs(30), Duration::from_mins(3))
}

/// The same words for every delivery of an account at a schedd: it is one credmon that does not serve.
fn not_served(delivery: &Delivery, limit: Duration) -> Problem {
    Problem::new(
        Cause::schedd(delivery),
        Kind::NotServed,
        format!(
            "the credmon made no access token within {} s of the push (SERVICE.use is missing, or older than \
             SERVICE.top); check that it runs at the schedd, and its log",
            limit.as_secs()
        ),
    )
}

/// A credmon that served and does not any more, though Vault gives access tokens.
pub(super) fn stopped(delivery: &Delivery, served: Timestamp) -> Problem {
    Problem::new(
        Cause::schedd(delivery),
        Kind::NotServed,
        format!(
            "the credmon made its last access token at {served:.0}, which has ended, and Vault gives new ones; check \
             that it runs at the schedd, and its log"
        ),
    )
}
