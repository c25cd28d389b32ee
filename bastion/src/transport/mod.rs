//! How a credential gets to a schedd, and what can be seen there.
//!
//! [`Transport`] is the seam between decisions and the real thing: tests put a behaving fake there.

mod advice;
mod collector;
pub mod condor;
mod condor_answer;
pub mod directory;
mod exposure;
mod folder;
mod listed;
mod refusals;
pub(crate) mod tool;
mod whereabouts;

use std::sync::Arc;

use htvault::AccessToken;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::config::Search;
use crate::delivery::{Delivery, Method, Target};
use crate::discovery::{Ad, Known};
use crate::problem::{Cause, Kind, Problem};
use condor::{Condor, Credd};
use tool::Tools;
use whereabouts::{Place, Whereabouts};

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
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Deletes what is stored, and the access token that jobs have of it. What is not there counts
    /// as deleted.
    fn delete(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Asks a collector for the schedds of a search, for those of `known` that are still there,
    /// and for where their credds are.
    fn find(
        &self,
        search: &Search,
        known: &Known,
    ) -> impl Future<Output = Result<Vec<Ad>, Problem>> + Send;

    /// Learns where the schedds are that were found for a search.
    fn learn(&self, search: &Search, known: &Known);
}

impl Target {
    /// Whether an access token is needed to see or store anything.
    #[must_use]
    pub fn needs_opener(&self) -> bool {
        match self {
            Self::Directory(_) => false,
            Self::Credd { opening, .. } => opening.method == Method::Scitokens,
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
#[derive(Debug)]
pub struct Transports {
    tools: Arc<Tools>,
    condor: Condor,
    whereabouts: Arc<Whereabouts>,
}

impl Default for Transports {
    fn default() -> Self {
        let tools = Arc::new(Tools::default());
        let whereabouts = Arc::default();
        Self {
            condor: Condor::new(Arc::clone(&tools), Arc::clone(&whereabouts)),
            tools,
            whereabouts,
        }
    }
}

/// What a target is, as far as transports differ.
enum Way<'a> {
    Directory(&'a std::path::Path),
    Credd(Option<Place>),
}

impl Transports {
    async fn way<'a>(&self, delivery: &'a Delivery) -> Result<Way<'a>, Problem> {
        match &delivery.target {
            Target::Directory(path) => Ok(Way::Directory(path)),
            Target::Credd {
                host,
                collector,
                opening,
            } => {
                if opening.method == Method::Kerberos && !nix::unistd::geteuid().is_root() {
                    return Err(Problem::new(
                        Cause::schedd(delivery),
                        Kind::Transport,
                        "`authenticate: kerberos` works for root alone, whose tools log in by keytab in memory; run the \
                         service as root, or take another method",
                    ));
                }
                let ask = collector::credds(&self.tools, collector.as_deref());
                let place = self.whereabouts.of(collector.as_deref(), host, ask);
                Ok(Way::Credd(place.await))
            }
        }
    }

    /// What came of asking a credd. One that is not where it was is asked for by name next time.
    async fn noted<A>(
        &self,
        delivery: &Delivery,
        answer: Result<A, Problem>,
    ) -> Result<A, Problem> {
        if let Err(problem) = &answer
            && problem.kind == Kind::CreddDown
            && let Target::Credd {
                host, collector, ..
            } = &delivery.target
        {
            self.whereabouts.doubt(collector.as_deref(), host).await;
        }
        answer
    }
}

impl Transport for Transports {
    async fn observe(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> Result<Observed, Problem> {
        match self.way(delivery).await? {
            Way::Directory(path) => directory::observe(delivery, path).await,
            Way::Credd(place) => {
                let credd = Credd::new(delivery, place.as_ref());
                let seen = self.condor.observe(delivery, &credd, opener).await;
                self.noted(delivery, seen).await
            }
        }
    }

    async fn store(
        &self,
        delivery: &Delivery,
        top: &SecretString,
        opener: Option<&AccessToken>,
    ) -> Result<(), Problem> {
        match self.way(delivery).await? {
            Way::Directory(path) => directory::store(delivery, path, top).await,
            Way::Credd(place) => {
                let credd = Credd::new(delivery, place.as_ref());
                let stored = self.condor.store(delivery, &credd, top, opener).await;
                self.noted(delivery, stored).await
            }
        }
    }

    async fn delete(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> Result<(), Problem> {
        match self.way(delivery).await? {
            Way::Directory(path) => directory::delete(delivery, path).await,
            Way::Credd(place) => {
                let credd = Credd::new(delivery, place.as_ref());
                let deleted = self.condor.delete(delivery, &credd, opener).await;
                self.noted(delivery, deleted).await
            }
        }
    }

    async fn find(&self, search: &Search, known: &Known) -> Result<Vec<Ad>, Problem> {
        collector::find(&self.tools, search, known).await
    }

    fn learn(&self, search: &Search, known: &Known) {
        self.whereabouts.note(search.collector.as_deref(), known);
    }
}
