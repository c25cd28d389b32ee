//! The engine with its real parts: Vault, HTCondor's tools, directories, the state on disk.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use htvault::clock::{Clock, SystemClock};
use jiff::tz::TimeZone;
use tokio::runtime::Runtime;
use tracing::warn;

use super::Engine;
use super::attempt::Parts;
use crate::config::{Config, host};
use crate::schedd::{Transports, directory};
use crate::store::Store;
use crate::system::files;
use crate::system::lock::{Lock, LockError};
use crate::vault::HtVault;
use crate::vault::sessions::Sessions;

/// Parts of the engine, as they are outside of tests.
pub(crate) type RealParts = Parts<HtVault, Transports<HtVault>>;

/// Keeps a second instance out. Where no lock can be had (a person who tries things without root)
/// the work goes on: jobs need tokens more than the lock.
pub(crate) fn lock(config: &Config) -> anyhow::Result<Option<Lock>> {
    match Lock::take(&config.state) {
        Ok(lock) => Ok(Some(lock)),
        Err(taken @ LockError::Taken { .. }) => Err(taken.into()),
        Err(error) => {
            warn!("{error}");
            Ok(None)
        }
    }
}

/// One worker thread is enough for all attempts, beside the thread of the engine's loop, since most of their work is
/// waiting. Calls that block (the disk of the state, a name server) run on a few threads more, those of files and
/// directories on a bounded number; Kerberos has threads of its own. More threads would only take memory.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(4 + files::THREADS)
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

pub(crate) fn parts(config: &Config, store: Store) -> Result<Arc<RealParts>, htvault::Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = HtVault::new(config, Arc::clone(&clock))?;
    Ok(with_transports(Sessions::new(vault, clock, store)))
}

/// Those of another configuration: what is known of Vault and what was counted is kept.
pub(crate) fn parts_anew(
    before: &RealParts,
    config: &Config,
) -> Result<Arc<RealParts>, htvault::Error> {
    let vault = before.vault.reconfigured(config)?;
    Ok(with_transports(before.sessions.reconfigured(vault)))
}

fn with_transports(sessions: Sessions<HtVault>) -> Arc<RealParts> {
    let sessions = Arc::new(sessions);
    let transports = Transports::new(Arc::clone(&sessions));
    Arc::new(Parts::new(sessions, transports))
}

pub(crate) fn engine(
    config: &Config,
    parts: &Arc<RealParts>,
) -> Engine<HtVault, Transports<HtVault>> {
    Engine::new(config, Arc::clone(parts), TimeZone::system())
}

/// Warns of settings that are allowed and probably not meant. A wrong mode is no reason to let jobs die; what is
/// missing is reported by the deliveries.
pub(crate) async fn warn_of_host(config: Arc<Config>) {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let faults = host::keytab_faults(&config).await;
    for fault in faults.iter().filter(|fault| !fault.stops) {
        warn!("{fault}");
    }
    for fault in directory::faults(&config).await {
        warn!("{fault}");
    }
}

/// Time that threads that cannot be interrupted may hold up the end.
pub(crate) const LAST_WAIT: Duration = Duration::from_secs(1);
