//! Name look-ups: with a deadline, on threads of their own, cached.
//!
//! `getaddrinfo` cannot be cancelled, so each thread holds its slot until the system answers. An
//! account may use a slot only while as many are free as it uses: names that hang, however many one
//! account has, leave room for others. Addresses that are known are used while they are looked up
//! again, once for all who ask, so a name server that is down stops nothing that works.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use htvault::{ErrorKind, is_of_this_host};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cache::FairCache;
use crate::model::{Failure, lock};

/// Threads that look up names at a time.
const THREADS: usize = 32;

/// Deadline for one look-up: as long as the system's resolver waits for two answers.
const DEADLINE: Duration = Duration::from_secs(10);

/// Age from which on addresses are looked up again.
const FRESH: Duration = Duration::from_mins(5);

/// Hosts that are kept at most.
const HOSTS: usize = 1000;

/// Addresses of a name that are kept: as many as a client uses.
const ADDRESSES: usize = 16;

/// The system's look-up of a name, which blocks.
type Resolve = fn(&str) -> io::Result<Vec<IpAddr>>;

/// The looking up and remembering of names. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct NameCache {
    state: Arc<Mutex<State>>,
    /// Another one in tests only.
    resolve: Resolve,
}

#[derive(Debug)]
struct State {
    known: FairCache<Known>,
    /// Look-ups under way, by account.
    under_way: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    looked_up: Instant,
    /// Since when it is being looked up again: once for all that ask meanwhile.
    asked: Option<Instant>,
}

impl Known {
    fn is_asked(&self) -> bool {
        self.asked.is_some_and(|since| since.elapsed() < DEADLINE)
    }
}

/// A slot of an account for the look-up of a host, released when dropped.
struct Slot {
    names: NameCache,
    account: Arc<str>,
    host: Arc<str>,
    since: Instant,
}

impl Default for NameCache {
    fn default() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                known: FairCache::new(HOSTS),
                under_way: HashMap::new(),
            })),
            resolve: |host| Ok((host, 0).to_socket_addrs()?.map(|a| a.ip()).collect()),
        }
    }
}

impl NameCache {
    /// Sees to it that addresses of a host are known.
    pub(super) async fn look_up(&self, account: &Arc<str>, host: &str) -> Result<(), Failure> {
        if bare(host).parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let is_known = match lock(&self.state).known.get(host, account) {
            Some(known) if known.is_asked() || known.looked_up.elapsed() < FRESH => return Ok(()),
            known => known.is_some(),
        };
        let started = self.start(account, host);
        if is_known {
            // What is known is good until the answer comes, if it comes.
            return Ok(());
        }
        let error = match tokio::time::timeout(DEADLINE, started?).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) if is_of_this_host(&error) => return Err(shortage(host, &error)),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "the look-up broke off".to_owned(),
            Err(_) => format!("no answer for {} s", DEADLINE.as_secs()),
        };
        Err(Failure::of(
            ErrorKind::Unreachable,
            format!("the name {host} cannot be looked up: {error}"),
            format!("its name cannot be looked up: {error}"),
        ))
    }

    /// Addresses are looked up again before their time: none of them answers.
    pub(super) fn distrust(&self, host: &str) {
        if let Some(known) = lock(&self.state).known.peek(host) {
            known.looked_up = known
                .looked_up
                .checked_sub(FRESH)
                .unwrap_or(known.looked_up);
        }
    }

    /// Starts a look-up, if the account has a slot.
    fn start(
        &self,
        account: &Arc<str>,
        host: &str,
    ) -> Result<oneshot::Receiver<io::Result<()>>, Failure> {
        let slot = self.slot(account, host).ok_or_else(|| {
            Failure::local(
                format!("{host} was not looked up: too many look-ups are under way"),
                "see to the name servers, and to the hosts that credentials name",
            )
        })?;
        let (answer, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name("dns".to_owned());
        let started = thread.spawn(move || {
            let found = (slot.names.resolve)(bare(&slot.host));
            let found = found.map(|addresses| slot.remember(&addresses));
            drop(slot);
            // Who asked may have given up.
            let _ = answer.send(found);
        });
        started.map_err(|error| shortage(host, &error))?;
        Ok(result)
    }

    fn slot(&self, account: &Arc<str>, host: &str) -> Option<Slot> {
        let mut state = lock(&self.state);
        let free = THREADS.saturating_sub(state.under_way.values().sum());
        let own = state.under_way.get(account).copied().unwrap_or(0);
        if own >= free {
            return None;
        }
        state.under_way.insert(account.clone(), own + 1);
        let since = Instant::now();
        if let Some(known) = state.known.peek(host) {
            known.asked = Some(since);
        }
        Some(Slot {
            names: self.clone(),
            account: account.clone(),
            host: host.into(),
            since,
        })
    }
}

impl Slot {
    fn remember(&self, addresses: &[IpAddr]) {
        let mut unique: Vec<IpAddr> = Vec::new();
        for address in addresses {
            if unique.len() == ADDRESSES {
                break;
            }
            if !unique.contains(address) {
                unique.push(*address);
            }
        }
        let mut state = lock(&self.names.state);
        let looked_up = Instant::now();
        if let Some(known) = state.known.peek(&self.host) {
            (known.addresses, known.looked_up) = (unique, looked_up);
            return;
        }
        let known = Known {
            addresses: unique,
            looked_up,
            asked: None,
        };
        state.known.add(&self.host, known, &self.account);
    }
}

/// Failure of a look-up for which this host has no means.
fn shortage(host: &str, error: &io::Error) -> Failure {
    Failure::local(
        format!("{host} was not looked up: {error}"),
        ErrorKind::LocalResource.advice(),
    )
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = lock(&self.names.state);
        if let Some(known) = state.known.peek(&self.host) {
            known.asked.take_if(|since| *since == self.since);
        }
        if let Some(own) = state.under_way.get_mut(&self.account) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                state.under_way.remove(&self.account);
            }
        }
    }
}

/// Resolver of the client: it never waits, for [`NameCache::look_up`] comes first.
impl htvault::Resolve for NameCache {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let known = if let Ok(address) = bare(host).parse() {
            vec![address]
        } else {
            let mut state = lock(&self.state);
            let known = state.known.peek(host);
            known
                .map(|known| known.addresses.clone())
                .unwrap_or_default()
        };
        let addresses: Vec<_> = known
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        Box::pin(async move {
            if addresses.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the name has no address",
                ));
            }
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
