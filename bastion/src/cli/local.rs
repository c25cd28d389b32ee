//! Work that commands do themselves, where no service runs or none is needed.

use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use crate::config::Config;
use crate::engine::real::{LAST_WAIT, RealParts, engine, lock, parts, runtime, warn_of_host};
use crate::engine::report::Report;
use crate::store::{Content, Store};

/// Tries every delivery once.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn once(config: &Config, mut progress: impl FnMut(&Report)) -> anyhow::Result<Report> {
    let _lock = lock(config)?;
    let runtime = runtime()?;
    let report = runtime.block_on(async {
        warn_of_host(Arc::new(config.clone())).await;
        let parts = parts(config, Store::open(&config.state))?;
        let mut engine = engine(config, &parts);
        engine
            .settle_before(|engine| progress(&engine.report()))
            .await;
        let report = engine.report();
        engine.close().await;
        Ok(report)
    });
    runtime.shutdown_timeout(LAST_WAIT);
    report
}

/// What would be known and planned at a start; nothing is tried.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn at_start(config: &Config) -> anyhow::Result<Report> {
    let _in_runtime = runtime()?.enter();
    let parts = parts(config, Store::read_only(&config.state))?;
    Ok(engine(config, &parts).report())
}

/// Waits for what needs a runtime and no parts.
///
/// # Errors
/// The system refuses a runtime.
pub(crate) fn wait<A>(work: impl Future<Output = A>) -> anyhow::Result<A> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(result)
}

/// Does something with the real parts, where no service runs; what it changes of the state is kept.
///
/// # Errors
/// A service runs, the certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn alone<A>(
    config: &Config,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    let _lock = lock(config)?;
    with_parts(config, Store::open, work)
}

/// Does something with the real parts, perhaps beside a service: the state stays as it is.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn beside<A>(
    config: &Config,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    with_parts(config, Store::read_only, work)
}

fn with_parts<A>(
    config: &Config,
    open: fn(&Path) -> Store,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let parts = parts(config, open(&config.state))?;
        let result = work(Arc::clone(&parts)).await;
        if let Err(problem) = parts.store.written(LAST_WAIT).await {
            warn!("{problem}");
        }
        anyhow::Ok(result)
    })?;
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(result)
}

/// Changes the state, where no service runs.
///
/// # Errors
/// A service runs, or the state directory cannot be written.
pub(crate) fn note(config: &Config, change: impl FnOnce(&mut Content)) -> anyhow::Result<()> {
    let _lock = lock(config)?;
    runtime()?.block_on(async {
        let store = Store::open(&config.state);
        store.change(change);
        store.written(LAST_WAIT).await.map_err(anyhow::Error::msg)
    })
}
