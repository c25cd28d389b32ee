//! Report on every delivery.
//!
//! Problems are grouped: one line for one cause, with the number of deliveries that suffer from it.

mod group;
mod line;
mod ordered;
mod removed;
mod tally;

use htvault::RequestsUsed;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::group::Group;
pub use self::line::{DeliveryProblem, DesiredDelivery, Line};
pub(crate) use self::ordered::OrderedDeliveries;
pub use self::removed::RemovedDelivery;
pub use self::tally::Tally;
use crate::model::delivery::{DeliveryId, Selection};
use crate::model::grants::GrantLine;
use crate::system::logs::{self, LogState};

/// The whole report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Time of the report.
    pub at: Timestamp,
    /// Every delivery, in the order of names.
    pub deliveries: Vec<Line>,
    /// Every problem, with whom it concerns.
    pub problems: Vec<Group>,
    /// Known age of every refresh token.
    pub grants: Vec<GrantLine>,
    /// Deliveries that are not wanted any more, while something is left of them.
    #[serde(default)]
    pub unwanted: Vec<RemovedDelivery>,
    /// Use of the bound on requests to Vault (`vault.requests`), if there is one.
    #[serde(default)]
    pub requests: Option<Requests>,
    /// State of the service's log.
    #[serde(default)]
    pub log: LogState,
    /// Health of the service's own files.
    #[serde(default)]
    pub health: Health,
}

/// Health of the service's own files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Faults of the configuration on disk, which is not used while it has any; one in each line.
    pub configuration: Option<String>,
    /// The reason why the state is not on disk.
    pub state: Option<String>,
    /// Number of tasks that ended by a fault of this program since the start, and were started anew.
    #[serde(default)]
    pub internal_faults: u64,
}

impl Health {
    fn is_good(&self) -> bool {
        self.configuration.is_none() && self.state.is_none()
    }

    /// One line for each problem.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let faults = self.configuration.iter().flat_map(|faults| faults.lines());
        let faults = faults.map(|fault| {
            format!(
                "the configuration on disk is not used, and the next start would fail by it: {fault}"
            )
        });
        faults.chain(self.state.clone())
    }
}

/// Use of the bound on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// So many may be sent in any span of `per_seconds`.
    pub limit: u32,
    /// The span.
    pub per_seconds: u64,
    /// So many were sent in the span that ended at the time of the report.
    pub used: u32,
}

impl From<RequestsUsed> for Requests {
    fn from(known: RequestsUsed) -> Self {
        Self {
            limit: known.limit.limit,
            per_seconds: known.limit.per.as_secs(),
            used: known.used,
        }
    }
}

impl Report {
    /// Report of these deliveries and searches.
    pub(crate) fn new(deliveries: Vec<Line>, searches: Vec<Group>, now: Timestamp) -> Self {
        let mut report = Self::of(deliveries, now);
        report.problems.splice(0..0, searches);
        report.log = logs::state();
        report
    }

    /// These deliveries, and their problems.
    pub(crate) fn of(deliveries: Vec<Line>, at: Timestamp) -> Self {
        Self {
            at,
            problems: Group::of(&deliveries),
            deliveries,
            ..Self::default()
        }
    }

    /// The deliveries that are meant, and their problems.
    ///
    /// # Errors
    /// A name that no delivery has, or a combination of names.
    pub fn only(&self, selection: &Selection) -> Result<Self, String> {
        let ids: Vec<DeliveryId> = self.deliveries.iter().map(|l| l.wanted.id()).collect();
        selection.check(&ids.iter().collect::<Vec<_>>())?;
        let mut report = self.clone();
        report
            .deliveries
            .retain(|line| selection.matches(&line.wanted.id()));
        // A search concerns whoever is delivered to its schedds, which may not be known.
        report.problems.retain(Group::is_search);
        report.problems.extend(Group::of(&report.deliveries));
        let of = |line: &Line, grant: &GrantLine| {
            line.wanted.account == grant.account && line.wanted.service == grant.service
        };
        let lines = &report.deliveries;
        let is_meant = |grant: &GrantLine| lines.iter().any(|line| of(line, grant));
        report.grants.retain(is_meant);
        report
            .unwanted
            .retain(|unwanted| selection.matches(&unwanted.id));
        Ok(report)
    }

    /// Returns `true` when every delivery is in order, every search found its schedds, every revocation of what is not wanted
    /// any more is finished, and the service's own files are well.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let in_order = |line: &Line| line.state.is_in_order();
        let deliveries = self.deliveries.iter().all(in_order);
        let searches = !self.problems.iter().any(Group::is_search);
        let revocations = !self.unwanted.iter().any(|removed| removed.unfinished);
        deliveries && searches && revocations && self.health.is_good()
    }

    /// Returns `true` when every delivery of an account is in order.
    #[must_use]
    pub fn is_good_for(&self, account: &str) -> bool {
        self.deliveries
            .iter()
            .filter(|line| line.wanted.account == account)
            .all(|line| line.state.is_in_order())
    }

    /// One line for each grant that may run out soon.
    #[must_use]
    pub fn grant_warnings(&self) -> Vec<&str> {
        let messages = self
            .grants
            .iter()
            .filter_map(|line| line.message.as_deref());
        messages.collect()
    }

    /// One line for each problem.
    #[must_use]
    pub fn problem_lines(&self) -> Vec<String> {
        let groups = self.problems.iter().map(ToString::to_string);
        let unwanted = self.unwanted.iter();
        let unwanted = unwanted.filter_map(RemovedDelivery::problem_line);
        self.health.lines().chain(groups).chain(unwanted).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
