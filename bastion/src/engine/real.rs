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
use crate::config::{Config, first_of, host};
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
    for warning in warnings(&config).await {
        warn!("{warning}");
    }
}

async fn warnings(config: &Config) -> Vec<String> {
    let of_config = config.warnings.iter().map(ToString::to_string).collect();
    let mut of_keytabs = host::keytab_faults(config).await;
    of_keytabs.retain(|fault| !fault.stops);
    let of_keytabs = of_keytabs.iter().map(ToString::to_string).collect();
    let of_directories = directory::faults(config).await;
    let all = [of_config, of_keytabs, of_directories];
    let all = all.map(|warnings| first_of(warnings, "warning"));
    all.concat()
}

/// Time that threads that cannot be interrupted may hold up the end.
pub(crate) const LAST_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::fixtures;
    use crate::model::delivery::{Delivery, Target};
    use crate::system::files::keytab::tests::keytab;

    #[tokio::test]
    async fn a_mistake_that_every_keytab_has_is_a_few_warnings() {
        let folder = tempfile::tempdir().unwrap();
        let delivery = |n| {
            let account = format!("a{n:02}");
            let target = Target::Directory("/creds".into());
            let mut delivery: Delivery = fixtures::delivery(&account, "cms", "here", target);
            let mut credential = (*delivery.credential).clone();
            let mut identity = (*credential.identity).clone();
            identity.keytab = folder.path().join(&account);
            std::fs::write(&identity.keytab, keytab(&[&identity.principal])).unwrap();
            let mode = std::fs::Permissions::from_mode(0o404);
            std::fs::set_permissions(&identity.keytab, mode).unwrap();
            credential.identity = Arc::new(identity);
            delivery.credential = Arc::new(credential);
            delivery
        };
        let told = async |number: u8| {
            let config = fixtures::config((0..number).map(delivery).collect());
            warnings(&config).await
        };
        let rest = "which `token-bastion check` prints";
        assert_eq!(told(50).await.len(), 50);
        assert_eq!(told(51).await[50..], [format!("1 more warning, {rest}")]);
        assert_eq!(told(60).await[50..], [format!("10 more warnings, {rest}")]);
    }
}
