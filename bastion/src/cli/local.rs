//! Work that commands do themselves, where no service runs or none is needed.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::engine::Command;
use crate::engine::real::{LAST_WAIT, RealParts, engine, lock, parts, runtime, warn_of_host};
use crate::engine::report::Report;
use crate::schedd::Transports;
use crate::store::Store;
use crate::vault::HtVault;

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

/// Report and plan as after a start of the service; nothing is attempted.
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

/// Carries out one order with an engine of its own, where no service runs: nothing but that is done.
///
/// # Errors
/// A service runs, or the certificate authorities cannot be used.
pub(crate) async fn order<A>(
    config: &Config,
    command: impl FnOnce(oneshot::Sender<A>) -> Command<HtVault, Transports<HtVault>>,
) -> anyhow::Result<A> {
    let _lock = lock(config)?;
    let parts = parts(config, Store::open(&config.state))?;
    let mut engine = engine(config, &parts);
    let (commands, received) = mpsc::channel(1);
    let (answer, answered) = oneshot::channel();
    let ask = async {
        // The engine ends when there is nobody left to give commands.
        let _ = commands.send(command(answer)).await;
        let answer = answered.await;
        drop(commands);
        answer
    };
    let (answer, ()) = tokio::join!(ask, engine.run_orders(received));
    answer.context("the engine ended before the order; please report it")
}

/// Does something with the real parts, perhaps beside a service: the state stays as it is.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn beside<A>(
    config: &Config,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let parts = parts(config, Store::read_only(&config.state))?;
        anyhow::Ok(work(parts).await)
    })?;
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(result)
}
