//! Schedds: credentials stored there, observed and deleted, and schedds found through collectors.
//!
//! Always true: only a transport knows what opens its schedds; nobody else has a token for that. Decisions are
//! made elsewhere, on what [`Transport`] returns: tests put a fake there that obeys the same laws.

mod addresses;
mod advice;
mod cedar;
pub(crate) mod condor;
mod credd;
pub(crate) mod directory;
pub mod discovery;
pub(crate) mod opener;
pub mod top_file;

use std::sync::Arc;
use std::time::Duration;

use htvault::AccessToken;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::config::Search;
use crate::model::delivery::{CreddTarget, Delivery, Target, Way};
use crate::model::problem::{Cause, Problem};
use crate::vault::Vault;
use crate::vault::sessions::Sessions;
use addresses::Addresses;
use cedar::{Cedar, NativeCollector};
use condor::Condor;
use credd::{Again, CreddFailure, CreddRequest, Operation};
use discovery::{Collector as _, CreddAd, FoundSchedds, QueryFailure, ScheddAd};
use opener::Openers;

/// State of a delivery at its schedd. Times are the schedd's own.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Time when the content that the credmon works from was stored; `None` when there is none.
    pub stored: Option<Timestamp>,
    /// Time when the credmon last made an access token for jobs.
    pub served: Option<Timestamp>,
    /// Expiry of that access token, where it can be read.
    pub serves_until: Option<Timestamp>,
    /// The stored content, where it can be read.
    pub content: Option<SecretString>,
}

impl Observation {
    /// Returns `true` when the credmon has made an access token since the content was stored.
    ///
    /// Times of a credd are whole seconds, and a quick credmon serves within the second of the push.
    /// `served_before` is what was seen just before that push: the same time again is no proof.
    #[must_use]
    pub fn is_served(&self, served_before: Option<Timestamp>) -> bool {
        match (self.stored, self.served) {
            (Some(stored), Some(served)) => served >= stored && Some(served) != served_before,
            _ => false,
        }
    }
}

/// A way to schedds. A failure names its cause and what to do.
pub trait Transport: Send + Sync + 'static {
    /// Reads the state of a delivery.
    fn observe(
        &self,
        delivery: &Delivery,
    ) -> impl Future<Output = Result<Observation, Problem>> + Send;

    /// Stores `top` in place of the present content.
    fn store(
        &self,
        delivery: &Delivery,
        top: &SecretString,
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Deletes the content, and the access token that jobs have of it; `false` when there was none.
    fn delete(&self, delivery: &Delivery) -> impl Future<Output = Result<bool, Problem>> + Send;

    /// Asks a collector for the schedds of a search, for those of `known` that are still there, and for the
    /// addresses of their credds.
    fn find(
        &self,
        search: &Search,
        known: &FoundSchedds,
    ) -> impl Future<Output = Result<Vec<ScheddAd>, Problem>> + Send;

    /// Takes over the addresses of the schedds that were found for a search.
    fn learn(&self, search: &Search, found: &FoundSchedds);
}

/// Deadline of all tries of one request, where no tool is run for it. A credd may have to fetch an issuer's keys first.
const DEADLINE: Duration = Duration::from_secs(40);
/// Time of it that the first try may take.
const FIRST_TRY: Duration = Duration::from_secs(25);

/// The real transports, chosen by a delivery's target, with what both ways to credds need: addresses, and access tokens
/// that open them.
pub struct Transports<V> {
    cedar: Cedar,
    condor: Condor,
    addresses: Addresses,
    openers: Openers<V>,
}

impl<V: Vault> Transports<V> {
    /// `sessions` give the access tokens that open credds.
    pub(crate) fn new(sessions: Arc<Sessions<V>>) -> Self {
        Self {
            cedar: Cedar::default(),
            condor: Condor::default(),
            addresses: Addresses::default(),
            openers: Openers::new(sessions),
        }
    }
}

impl<V: Vault> Transports<V> {
    /// Carries a request to a credd out. Returns what it has, for a query. Where nobody answers, or the credd dies under
    /// it, the collector is asked for the address again and it is tried once more: each try brings about a state, however
    /// often it is made.
    async fn run(
        &self,
        delivery: &Delivery,
        credd: &CreddTarget,
        operation: Operation<'_>,
    ) -> Result<Observation, Problem> {
        let request = &CreddRequest {
            delivery,
            credd,
            operation,
        };
        let opener = self.openers.of(delivery).await?;
        let deadline = Instant::now() + DEADLINE;
        let left = || deadline.saturating_duration_since(Instant::now());
        let first = self.address(request).await?;
        let tried = self.try_at(
            request,
            first.as_deref(),
            opener.as_ref(),
            left().min(FIRST_TRY),
        );
        let mut result = tried.await;
        if let (Err(failure), Some(first)) = (&result, &first)
            && failure.again != Again::Nowhere
        {
            let ask = self.credds(credd);
            let sought = (self.addresses).again(credd, Some(first), Instant::now(), ask);
            let sought = sought.await;
            let address = sought.address.as_ref().unwrap_or(first);
            let is_new = address != first;
            // HTCondor's tools wait longer than we do for a slow collector.
            let by_name =
                !is_new && sought.fault.is_some() && sought.has_name && credd.way == Way::Condor;
            let is_worth_it = is_new || by_name || failure.again == Again::Anywhere;
            let has_time = credd.way == Way::Condor || !left().is_zero();
            if is_worth_it && has_time {
                let address = (!by_name).then_some(address.as_str());
                let tried = self.try_at(request, address, opener.as_ref(), left());
                result = tried.await;
            }
        }
        let failure = match result {
            Ok(observed) => return Ok(observed),
            Err(failure) => failure,
        };
        if failure.is_of_token && opener.is_some() {
            self.openers.forget(delivery).await;
        }
        Err(failure.problem)
    }

    async fn try_at(
        &self,
        request: &CreddRequest<'_>,
        address: Option<&str>,
        opener: Option<&AccessToken>,
        within: Duration,
    ) -> Result<Observation, CreddFailure> {
        match (&request.credd.way, address, opener) {
            (Way::Condor, ..) => self.condor.run(request, address, opener).await,
            (Way::Cedar { authorities }, Some(address), Some(opener)) => {
                let life = self.openers.left(opener);
                let cedar = &self.cedar;
                let tried = cedar.run(request, address, authorities, opener, life, within);
                Box::pin(tried).await
            }
            (Way::Cedar { .. }, ..) => {
                let words =
                    "a credd is to be opened without an access token by a way that needs one";
                Err(Problem::internal(Cause::schedd(request.delivery), words).into())
            }
        }
    }

    /// Address of the credd, as it is known or as the collector says; `None` for one that HTCondor's tools may know by its
    /// name.
    async fn address(&self, request: &CreddRequest<'_>) -> Result<Option<String>, Problem> {
        let since = Instant::now();
        let credd = request.credd;
        let mut location = self.addresses.get(credd, self.credds(credd)).await;
        if location.address.is_none() {
            // By a name that is not its own the tools would find another credd of the host.
            if location.has_name && credd.way == Way::Condor {
                return Ok(None);
            }
            let ask = self.credds(credd);
            location = self.addresses.again(credd, None, since, ask).await;
        }
        match location.address {
            Some(address) => Ok(Some(address)),
            None => Err(request.no_address(location.fault.as_ref())),
        }
    }

    /// All credds that a credd's collector knows.
    async fn credds(&self, credd: &CreddTarget) -> Result<Vec<CreddAd>, QueryFailure> {
        let collector = credd.collector.as_deref();
        match credd.way {
            Way::Cedar { .. } => NativeCollector::new(collector).credds_soon().await,
            Way::Condor => self.condor.collector(collector).credds_soon().await,
        }
    }
}

impl<V: Vault> Transport for Transports<V> {
    async fn observe(&self, delivery: &Delivery) -> Result<Observation, Problem> {
        match &delivery.target {
            Target::Directory(path) => directory::observe(delivery, path).await,
            Target::Credd(credd) => self.run(delivery, credd, Operation::Query).await,
        }
    }

    async fn store(&self, delivery: &Delivery, top: &SecretString) -> Result<(), Problem> {
        match &delivery.target {
            Target::Directory(path) => directory::store(delivery, path, top).await,
            Target::Credd(credd) => {
                let stored = self.run(delivery, credd, Operation::Store(top));
                stored.await.map(drop)
            }
        }
    }

    async fn delete(&self, delivery: &Delivery) -> Result<bool, Problem> {
        // Whose credential that would be is asked first: what was deleted cannot be put back.
        let there = self.observe(delivery).await?;
        if there.stored.is_none() && there.served.is_none() {
            return Ok(false);
        }
        match &delivery.target {
            Target::Directory(path) => directory::delete(delivery, path).await?,
            Target::Credd(credd) => drop(self.run(delivery, credd, Operation::Delete).await?),
        }
        Ok(true)
    }

    async fn find(&self, search: &Search, known: &FoundSchedds) -> Result<Vec<ScheddAd>, Problem> {
        let collector = search.collector.as_deref();
        let found = match &search.way {
            Way::Cedar { .. } => {
                let collector = NativeCollector::new(collector);
                Box::pin(discovery::find(&collector, search, known)).await
            }
            Way::Condor => {
                let collector = self.condor.collector(collector);
                discovery::find(&collector, search, known).await
            }
        };
        let cause = Cause::Group(search.group.clone());
        found.map_err(|(kind, message)| Problem::new(cause, kind, message))
    }

    fn learn(&self, search: &Search, found: &FoundSchedds) {
        self.addresses.learn(search, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_means_after_the_push() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let seen = |stored, served| Observation {
            stored: Some(at(stored)),
            served: Some(at(served)),
            ..Observation::default()
        };
        assert!(seen(5, 6).is_served(Some(at(4))));
        assert!(seen(5, 5).is_served(Some(at(4))), "within the second");
        assert!(!seen(5, 5).is_served(Some(at(5))), "that was there before");
        assert!(seen(5, 5).is_served(None));
        assert!(!seen(5, 4).is_served(None));
        assert!(!Observation::default().is_served(None));
    }
}
