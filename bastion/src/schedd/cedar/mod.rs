//! Credds and collectors, reached by HTCondor's own protocol without any HTCondor on this host.
//!
//! Always true: a credd is opened by an access token alone, after its certificate was found to be for the name in the
//! configuration; never for one that a collector's answer gives. No token and no credential is in an argument, an
//! environment or a file. Each call names the account that is meant: a credd of any version refuses that to another
//! one. All of a call, a second try included, is over by one deadline.

mod authorities;
mod collector;
mod credds;
mod names;
mod problems;

use std::sync::Arc;
use std::time::Duration;

use htcondor_cedar::{Address, Credd, Credential, Done, Error, ErrorKind, Refusal, Step, Times};
use htvault::{AccessToken, TlsSettings};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::Observation;
use super::addresses::Addresses;
use super::credd::{CreddRequest, Operation};
use super::discovery::Collector as _;
use super::opener::Openers;
use crate::model::credd_step::CreddStep;
use crate::model::problem::{Kind, Problem};
use crate::vault::Vault;
use authorities::AuthorityFiles;
pub(super) use collector::NativeCollector;
use credds::{Credds, Opened};

/// Deadline of one call. A credd may have to fetch an issuer's keys first.
const DEADLINE: Duration = Duration::from_secs(40);
/// Time of it that the first try may take.
const FIRST_TRY: Duration = Duration::from_secs(25);

/// Clients of credds, their addresses, and access tokens that open them.
pub(super) struct Cedar<V> {
    credds: Credds,
    authorities: AuthorityFiles,
    addresses: Arc<Addresses>,
    openers: Arc<Openers<V>>,
}

impl<V: Vault> Cedar<V> {
    pub(super) fn new(openers: Arc<Openers<V>>, addresses: Arc<Addresses>) -> Self {
        Self {
            credds: Credds::default(),
            authorities: AuthorityFiles::default(),
            addresses,
            openers,
        }
    }

    /// Carries a request out. Returns what the credd has, for a query.
    pub(super) async fn run(
        &self,
        request: &CreddRequest<'_>,
        authorities: &TlsSettings,
    ) -> Result<Observation, Problem> {
        let done = self.exchange(request, authorities).await?;
        if let Operation::Query = request.operation {
            request.check_user(Some(&done.user))?;
        }
        Ok(observed(done.outcome))
    }

    /// Carries a request out. Where nobody answers, or the credd dies under it, the collector is asked for the
    /// address again and it is tried once more: each brings about a state, however often it is made. An access token
    /// that is refused is not used again.
    async fn exchange(
        &self,
        request: &CreddRequest<'_>,
        authorities: &TlsSettings,
    ) -> Result<Done<Option<Times>>, Problem> {
        let delivery = request.delivery;
        let Some(opener) = self.openers.of(delivery).await? else {
            let words = "a credd is to be opened without an access token by a way that needs one";
            return Err(Problem::internal(delivery, words));
        };
        let deadline = Instant::now() + DEADLINE;
        let authorities = self.authorities.get(authorities).await;
        let authorities =
            authorities.map_err(|message| request.problem(Kind::Transport, message))?;
        let first = self.address(request).await?;
        let left = || deadline.saturating_duration_since(Instant::now());
        let key = request.key();
        let try_at = async |address: Address, name: String, most: Duration| {
            let how = Opened {
                address,
                name,
                token: opener.clone(),
                life: self.openers.left(&opener),
                authorities: Arc::clone(&authorities),
            };
            let act = |credd: Arc<Credd>| {
                let within = left().min(most);
                async move { carry_out(request, &credd, within).await }
            };
            let is_for_other = |result: &Result<_, Error>| request.is_for_other(result);
            self.credds.with(&key, &how, act, is_for_other).await
        };
        let place = request.place(&first, &opener).await?;
        let mut result = try_at(place, request.name(&first), FIRST_TRY).await;
        if let Err(error) = &result
            && may_have_moved(error.kind(), error.step())
        {
            let again = self.again(request, Some(&first)).await.address;
            // What shows a wrong certificate at the same address shows it again.
            let is_worth_it = again.as_ref() != Some(&first) || !is_certificate(error.kind());
            let again = again.unwrap_or(first);
            let place = request.place(&again, &opener).await?;
            if is_worth_it && !left().is_zero() {
                result = try_at(place, request.name(&again), DEADLINE).await;
            }
        }
        let error = match result {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::TokenRefused | ErrorKind::Denied) {
            self.openers.forget(delivery).await;
        }
        Err(problems::explain(&error, request, &opener))
    }

    /// Address of the credd, as it is known or as the collector says.
    async fn address(&self, request: &CreddRequest<'_>) -> Result<String, Problem> {
        let CreddRequest {
            host, collector, ..
        } = *request;
        let asked = NativeCollector::new(collector);
        let known = self.addresses.get(collector, host, asked.credds_soon());
        let location = match known.await {
            location if location.address.is_none() => self.again(request, None).await,
            location => location,
        };
        let unknown = || request.no_address(&location);
        location.address.clone().ok_or_else(unknown)
    }

    async fn again(
        &self,
        request: &CreddRequest<'_>,
        failed: Option<&str>,
    ) -> super::addresses::Location {
        let CreddRequest {
            host, collector, ..
        } = *request;
        let asked = NativeCollector::new(collector);
        let again = self
            .addresses
            .again(collector, host, failed, asked.credds_soon());
        again.await
    }
}

/// Carries a request out at a credd. Returns the times of the credential, for a query.
async fn carry_out(
    request: &CreddRequest<'_>,
    credd: &Credd,
    within: Duration,
) -> Result<Done<Option<Times>>, Error> {
    let credential = request.credential();
    match request.operation {
        // All of the account's: the answer for one compares scopes and audience first.
        Operation::Query => {
            let list = credd.list(credential.account.as_deref(), within).await?;
            Ok(list.map(|mut all| all.remove(&credential.service)))
        }
        Operation::Store(top) => {
            let secret = top.expose_secret().as_bytes();
            let stored = credd.store(&credential, secret, within).await?;
            Ok(stored.map(|_| None))
        }
        Operation::Delete => {
            let deleted = credd.delete(&credential, within).await?;
            Ok(deleted.map(|()| None))
        }
    }
}

/// State of a credential at its credd.
fn observed(times: Option<Times>) -> Observation {
    let times = times.unwrap_or_default();
    let at = |seconds: Option<i64>| Timestamp::from_second(seconds?).ok();
    Observation {
        stored: at(times.stored),
        served: at(times.used),
        serves_until: None,
        content: None,
    }
}

/// `true` for what a credd that was started anew, or another daemon in its place, would look like.
fn may_have_moved(kind: ErrorKind, step: Step) -> bool {
    match kind {
        ErrorKind::Unreachable
        | ErrorKind::HungUp
        | ErrorKind::UnknownCommand
        | ErrorKind::UnknownSession => true,
        // After authorization it is the credd, and would say the same again.
        ErrorKind::BadAnswer => step != Step::Command,
        ErrorKind::TimedOut => step == Step::Connect,
        kind => is_certificate(kind),
    }
}

fn is_certificate(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Untrusted | ErrorKind::OutOfValidity | ErrorKind::WrongName | ErrorKind::NoTls
    )
}

impl CreddRequest<'_> {
    /// Name that the credd's certificate must have: the host's in the configuration, or that of the schedd that was
    /// found. Of an address that is configured the name in it, which its admin wrote there.
    fn name(&self, address: &str) -> String {
        if !self.host.starts_with('<') {
            let host = self.host.rsplit_once('@').map(|(_, host)| host);
            return host.unwrap_or(self.host).to_owned();
        }
        let address = address.parse::<Address>().ok();
        let alias = address.as_ref().and_then(Address::alias);
        let host = address.as_ref().map(Address::host);
        alias.or(host).unwrap_or_default().to_owned()
    }

    /// The address that a text is, without a name that is still to be looked up.
    async fn place(&self, address: &str, opener: &AccessToken) -> Result<Address, Problem> {
        let address = address.parse();
        let address = address.map_err(|error| problems::explain(&error, self, opener))?;
        let resolved = names::resolved(address, Kind::CreddDown).await;
        resolved.map_err(|(kind, message)| self.problem(kind, message).at(CreddStep::Connection))
    }

    /// What a client of the credd is for, whatever its token and its address are.
    fn key(&self) -> credds::Key {
        credds::Key {
            credential: crate::vault::sessions::key(&self.delivery.authorize),
            collector: self.collector.map(str::to_owned),
            host: self.host.to_owned(),
        }
    }

    /// `true` for the answer to another user than is meant.
    fn is_for_other(&self, result: &Result<Done<Option<Times>>, Error>) -> bool {
        match (self.operation, result) {
            (Operation::Query, Ok(done)) => self.check_user(Some(&done.user)).is_err(),
            // A credd carries nothing else out for another user.
            (_, Ok(_)) => false,
            (_, Err(error)) => error.kind() == ErrorKind::Credd(Refusal::NotAllowed),
        }
    }

    fn credential(&self) -> Credential {
        let account = &self.delivery.id.account;
        let account = match &self.authentication.domain {
            Some(domain) => format!("{account}@{domain}"),
            None => account.clone(),
        };
        Credential {
            account: Some(account),
            ..Credential::new(&self.delivery.id.service)
        }
    }
}

#[cfg(test)]
mod tests;
