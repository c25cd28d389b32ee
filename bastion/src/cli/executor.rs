//! Executors of what people order: the running service, or an engine of this process where no service runs.

use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::CommandError;
use crate::api::client::{Client, ClientError};
use crate::cli::arguments::Global;
use crate::config::Config;
use crate::engine::Command;
use crate::engine::real::{RealParts, engine, lock, parts};
use crate::engine::report::Report;
use crate::model::delivery::Selection;
use crate::schedd::Transports;
use crate::store::Store;
use crate::vault::HtVault;

/// Executor of orders.
pub(crate) enum Executor {
    /// The running service.
    Service(Client),
    /// This process, with the configuration.
    Here(Box<Config>),
}

impl Executor {
    /// Connects to the service, or loads the configuration where no service runs.
    pub(crate) async fn find(global: &Global) -> Result<Self, CommandError> {
        match Client::connect(&global.socket()?).await {
            Ok(client) => Ok(Self::Service(client)),
            Err(ClientError::Absent(_)) => Ok(Self::Here(Box::new(global.load()?))),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns true for the running service.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Service(_))
    }

    /// Returns the status of the selected deliveries; without a service, as after its start.
    pub(crate) async fn report(&self, selection: &Selection) -> Result<Report, CommandError> {
        match self {
            Self::Service(client) => Ok(client.status(selection).await?),
            Self::Here(config) => {
                let parts = read_only(config)?;
                let report = engine(config, &parts).report();
                report
                    .only(selection)
                    .map_err(|message| CommandError::wrong([message]))
            }
        }
    }

    /// Has an order executed and returns its answer. The service gets it as a request with `body`, an engine of this
    /// process as a `command`, and does nothing else.
    pub(crate) async fn order<A: DeserializeOwned>(
        &self,
        order: &str,
        body: &impl Serialize,
        command: impl FnOnce(oneshot::Sender<A>) -> Command<HtVault, Transports<HtVault>>,
    ) -> Result<A, CommandError> {
        let config = match self {
            Self::Service(client) => return Ok(client.order(order, body).await?),
            Self::Here(config) => config,
        };
        let _lock = lock(config)?;
        let parts = parts(config, store(config)?).map_err(anyhow::Error::from)?;
        let mut engine = engine(config, &parts);
        let (commands, received) = mpsc::channel(1);
        let (answer, answered) = oneshot::channel();
        let ask = async {
            // The engine ends when all senders of commands are dropped.
            let _ = commands.send(command(answer)).await;
            let answer = answered.await;
            drop(commands);
            answer
        };
        let (answer, ()) = tokio::join!(ask, engine.run_orders(received));
        Ok(answer.context("the engine ended before the order; please report it")?)
    }
}

/// The state, which changes are written to.
pub(super) fn store(config: &Config) -> anyhow::Result<Store> {
    Store::open(&config.state).map_err(anyhow::Error::msg)
}

/// The real parts, for work beside a service: they leave the state as it is.
///
/// # Errors
/// The certificate authorities cannot be used.
pub(crate) fn read_only(config: &Config) -> anyhow::Result<Arc<RealParts>> {
    Ok(parts(config, Store::read_only(&config.state))?)
}
