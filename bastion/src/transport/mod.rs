//! How a credential gets to a schedd, and what can be seen there.
//!
//! [`Transport`] is the seam between decisions and the real thing: tests put a behaving fake there.

pub mod condor;
mod condor_answer;
pub mod directory;
mod folder;

use htvault::AccessToken;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::delivery::{Delivery, Target};
use crate::problem::Problem;
use condor::Condor;

/// What a schedd has of a delivery. Times are the schedd's own.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// When what the credmon works from was stored; `None` when nothing is.
    pub stored: Option<Timestamp>,
    /// When the credmon last made an access token for jobs.
    pub served: Option<Timestamp>,
    /// When that access token ends, where it can be read.
    pub serves_until: Option<Timestamp>,
    /// What is stored, where it can be read.
    pub content: Option<SecretString>,
}

/// A store that failed.
#[derive(Clone, Debug)]
pub struct StoreFailure {
    /// Why.
    pub problem: Problem,
    /// It was stored where it must not be: the token has to die at once.
    pub misplaced: bool,
}

/// A way to schedds. A failure names its cause and what to do.
pub trait Transport: Send + Sync + 'static {
    /// Sees what the schedd has. `opener` opens the credd, where one is asked.
    fn observe(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> impl Future<Output = Result<Observed, Problem>> + Send;

    /// Stores `top` in place of what is there.
    fn store(
        &self,
        delivery: &Delivery,
        top: &SecretString,
        opener: Option<&AccessToken>,
    ) -> impl Future<Output = Result<(), StoreFailure>> + Send;

    /// Deletes what is stored, and the access token that jobs have of it. What is not there counts
    /// as deleted.
    fn delete(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> impl Future<Output = Result<(), Problem>> + Send;
}

impl Target {
    /// Whether an access token is needed to see or store anything.
    #[must_use]
    pub fn needs_opener(&self) -> bool {
        match self {
            Self::Directory(_) => false,
            Self::Credd { .. } => true,
        }
    }

    /// Whether what is stored can be read back.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        match self {
            Self::Directory(_) => true,
            Self::Credd { .. } => false,
        }
    }
}

/// The transports there are.
#[derive(Debug, Default)]
pub struct Transports {
    condor: Condor,
}

impl Transport for Transports {
    async fn observe(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> Result<Observed, Problem> {
        match &delivery.target {
            Target::Directory(path) => directory::observe(delivery, path).await,
            Target::Credd {
                host, collector, ..
            } => {
                let credd = condor::Credd::new(host, collector.as_deref());
                self.condor.observe(delivery, &credd, opener).await
            }
        }
    }

    async fn store(
        &self,
        delivery: &Delivery,
        top: &SecretString,
        opener: Option<&AccessToken>,
    ) -> Result<(), StoreFailure> {
        match &delivery.target {
            Target::Directory(path) => {
                let stored = directory::store(delivery, path, top).await;
                stored.map_err(|problem| StoreFailure {
                    problem,
                    misplaced: false,
                })
            }
            Target::Credd {
                host, collector, ..
            } => {
                let credd = condor::Credd::new(host, collector.as_deref());
                self.condor.store(delivery, &credd, top, opener).await
            }
        }
    }
    async fn delete(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> Result<(), Problem> {
        match &delivery.target {
            Target::Directory(path) => directory::delete(delivery, path).await,
            Target::Credd {
                host, collector, ..
            } => {
                let credd = condor::Credd::new(host, collector.as_deref());
                self.condor.delete(delivery, &credd, opener).await
            }
        }
    }
}
