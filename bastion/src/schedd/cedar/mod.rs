//! Credds and collectors, reached by HTCondor's own protocol without any HTCondor on this host.
//!
//! Always true: a credd is opened by an access token alone, after its certificate was found to be for the name in the
//! configuration; never for one that a collector's answer gives. No token and no credential is in an argument, an
//! environment or a file. Each call names the account that is meant: a credd of any version refuses that to another
//! one.

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
use super::credd::{Again, CreddFailure, CreddRequest, Operation};
use crate::model::problem::{Kind, Problem};
use authorities::AuthorityFiles;
pub(super) use collector::NativeCollector;
use credds::{Credds, Opened};

#[derive(Default)]
pub(super) struct Cedar {
    credds: Credds,
    authorities: AuthorityFiles,
}

impl Cedar {
    /// Carries a request out at the credd with this address, with an access token that lives so long. Returns what the
    /// credd has, for a query.
    pub(super) async fn run(
        &self,
        request: &CreddRequest<'_>,
        address: &str,
        authorities: &TlsSettings,
        opener: &AccessToken,
        life: Duration,
        within: Duration,
    ) -> Result<Observation, CreddFailure> {
        let deadline = Instant::now() + within;
        let authorities = self.authorities.get(authorities).await;
        let authorities = authorities.map_err(|(kind, message)| request.problem(kind, message))?;
        let how = Opened {
            address: request.place(address, opener).await?,
            name: request.name(address),
            token: opener.clone(),
            life,
            authorities,
        };
        let act = async |credd: Arc<Credd>| {
            let left = deadline.saturating_duration_since(Instant::now());
            carry_out(request, &credd, left).await
        };
        let is_for_other = |result: &Result<_, Error>| request.is_for_other(result);
        let key = request.key();
        let done = self.credds.with(&key, &how, act, is_for_other);
        let done = done.await.map_err(|error| CreddFailure {
            problem: problems::explain(&error, request, opener),
            again: again(error.kind(), error.step()),
            is_of_token: matches!(error.kind(), ErrorKind::TokenRefused | ErrorKind::Denied),
        })?;
        if let Operation::Query = request.operation {
            request.check_user(Some(&done.user))?;
        }
        Ok(observed(done.outcome))
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

/// Places where another try is worthwhile: after what a credd that was started anew, or another daemon in its place, would
/// look like. What shows a wrong certificate shows it again.
fn again(kind: ErrorKind, step: Step) -> Again {
    match kind {
        ErrorKind::Unreachable
        | ErrorKind::HungUp
        | ErrorKind::UnknownCommand
        | ErrorKind::UnknownSession => Again::Anywhere,
        // After authorization it is the credd, and would say the same again.
        ErrorKind::BadAnswer if step != Step::Command => Again::Anywhere,
        ErrorKind::TimedOut if step == Step::Connect => Again::Anywhere,
        ErrorKind::Untrusted
        | ErrorKind::OutOfValidity
        | ErrorKind::WrongName
        | ErrorKind::NoTls => Again::Elsewhere,
        _ => Again::Nowhere,
    }
}

impl CreddRequest<'_> {
    /// Name that the credd's certificate must have: the host's in the configuration, or that of the schedd that was
    /// found. Of an address that is configured the name in it, which its admin wrote there.
    fn name(&self, address: &str) -> String {
        let name = self.credd.host.as_str();
        if !name.starts_with('<') {
            let host = name.rsplit_once('@').map(|(_, host)| host);
            return host.unwrap_or(name).to_owned();
        }
        let address = address.parse::<Address>().ok();
        let alias = address.as_ref().and_then(Address::alias);
        let host = address.as_ref().map(Address::host);
        alias.or(host).unwrap_or_default().to_owned()
    }

    /// The address that a text is, without a name that is still to be looked up.
    async fn place(&self, address: &str, opener: &AccessToken) -> Result<Address, Problem> {
        let address = address.parse();
        let address =
            address.map_err(|error| problems::explain(&error, self, opener).at(Step::Prepare))?;
        let resolved = names::resolved(address, Kind::CreddDown).await;
        resolved.map_err(|(kind, message)| self.problem(kind, message).at(Step::Connect))
    }

    /// What a client of the credd is for, whatever its token and its address are.
    fn key(&self) -> credds::Key {
        credds::Key {
            credential: crate::vault::sessions::key(&self.delivery.authorize),
            collector: self.credd.collector.clone(),
            host: self.credd.host.clone(),
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
        let account = match &self.credd.authentication.domain {
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
