//! Name look-ups: with a deadline, on threads of their own, cached.
//!
//! `getaddrinfo` cannot be cancelled, so each thread holds its slot until the system answers. An
//! account may use a slot only while as many are free as it uses: names that hang, however many one
//! account has, leave room for others. Addresses that are known are used while they are looked up
//! again, so a name server that is down stops nothing that works.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use htvault::{ErrorKind, is_of_this_host};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::Failure;

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

#[derive(Debug, Default)]
struct State {
    known: HashMap<Arc<str>, Known>,
    /// Look-ups under way, by account.
    under_way: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    looked_up: Instant,
    /// Account that asks for it; `None` when several do.
    account: Option<Arc<str>>,
    /// Time at which somebody asked last.
    used: Instant,
}

impl State {
    /// Notes that an account asks for a host; the age of the addresses, if they are known.
    fn note(&mut self, account: &Arc<str>, host: &str) -> Option<Duration> {
        let known = self.known.get_mut(host)?;
        known.used = Instant::now();
        known.account.take_if(|known| known != account);
        Some(known.looked_up.elapsed())
    }

    /// Makes room for another host: of the account with the most hosts that one goes which was not asked for for longest.
    /// So nobody makes a host of others go, or one that all share.
    fn make_room(&mut self) {
        let mut hosts: HashMap<Option<&str>, usize> = HashMap::new();
        for known in self.known.values() {
            *hosts.entry(known.account.as_deref()).or_default() += 1;
        }
        let count = |known: &Known| hosts.get(&known.account.as_deref()).copied();
        let rank = |known: &Known| (Reverse(count(known)), known.used);
        let first = self.known.iter().min_by_key(|(_, known)| rank(known));
        if let Some(first) = first.map(|(host, _)| host.clone()) {
            self.known.remove(&first);
        }
    }
}

/// A slot of an account, released when dropped.
struct Slot(NameCache, Arc<str>);

impl Default for NameCache {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            resolve: |host| Ok((host, 0).to_socket_addrs()?.map(|a| a.ip()).collect()),
        }
    }
}

impl NameCache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that addresses of a host are known.
    pub(super) async fn look_up(&self, account: &Arc<str>, host: &str) -> Result<(), Failure> {
        let known = self.state().note(account, host);
        if known.is_some_and(|age| age < FRESH) || bare(host).parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let started = self.start(account, host);
        if known.is_some() {
            // What is known is good until the answer comes, if it comes.
            return Ok(());
        }
        let answer = started.ok_or_else(|| {
            Failure::local(
                format!("{host} was not looked up: the account has too many look-ups under way"),
                "see to the hosts that this account's credentials name",
            )
        })?;
        let error = match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) if is_of_this_host(&error) => {
                return Err(Failure::local(
                    format!("{host} was not looked up: {error}"),
                    ErrorKind::LocalResource.advice(),
                ));
            }
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
        if let Some(known) = self.state().known.get_mut(host) {
            known.looked_up = known
                .looked_up
                .checked_sub(FRESH)
                .unwrap_or(known.looked_up);
        }
    }

    /// Starts a look-up, if the account has a slot.
    fn start(&self, account: &Arc<str>, host: &str) -> Option<oneshot::Receiver<io::Result<()>>> {
        let slot = self.slot(account)?;
        let (answer, result) = oneshot::channel();
        let (names, account, host): (_, _, Arc<str>) = (self.clone(), account.clone(), host.into());
        let thread = std::thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || {
                let found = (names.resolve)(bare(&host));
                let found = found.map(|addresses| names.remember(&account, &host, &addresses));
                drop(slot);
                // Who asked may have given up.
                let _ = answer.send(found);
            });
        thread.ok().map(|_| result)
    }

    fn slot(&self, account: &Arc<str>) -> Option<Slot> {
        let mut state = self.state();
        let free = THREADS.saturating_sub(state.under_way.values().sum());
        let own = state.under_way.entry(account.clone()).or_default();
        if *own >= free {
            return None;
        }
        *own += 1;
        Some(Slot(self.clone(), account.clone()))
    }

    fn remember(&self, account: &Arc<str>, host: &Arc<str>, addresses: &[IpAddr]) {
        let mut unique: Vec<IpAddr> = Vec::new();
        for address in addresses {
            if unique.len() == ADDRESSES {
                break;
            }
            if !unique.contains(address) {
                unique.push(*address);
            }
        }
        let mut state = self.state();
        let now = Instant::now();
        if let Some(known) = state.known.get_mut(host) {
            (known.addresses, known.looked_up) = (unique, now);
            return;
        }
        if state.known.len() >= HOSTS {
            state.make_room();
        }
        let known = Known {
            addresses: unique,
            looked_up: now,
            account: Some(account.clone()),
            used: now,
        };
        state.known.insert(host.clone(), known);
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let Some(own) = state.under_way.get_mut(&self.1) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                state.under_way.remove(&self.1);
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
            let state = self.state();
            state
                .known
                .get(host)
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
