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
    /// Deliveries that are not wanted any more, while a vault token of them lives.
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
    fn lines(&self) -> impl Iterator<Item = String> {
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
        let problems = Group::of(&deliveries);
        Self {
            at,
            deliveries,
            problems,
            grants: Vec::new(),
            unwanted: Vec::new(),
            requests: None,
            log: LogState::default(),
            health: Health::default(),
        }
    }

    /// The deliveries that are meant, and their problems.
    ///
    /// # Errors
    /// A name that no delivery has, or a combination of names.
    pub fn only(&self, selection: &Selection) -> Result<Self, String> {
        let ids: Vec<DeliveryId> = self.deliveries.iter().map(|l| l.wanted.id()).collect();
        selection.check(&ids.iter().collect::<Vec<_>>())?;
        let lines: Vec<Line> = self
            .deliveries
            .iter()
            .filter(|line| selection.matches(&line.wanted.id()))
            .cloned()
            .collect();
        let mut report = Self::of(lines, self.at);
        // A search concerns whoever is delivered to its schedds, which may not be known.
        let searches = self.problems.iter().filter(|group| group.is_search());
        report.problems.splice(0..0, searches.cloned());
        let meant = |grant: &&GrantLine| {
            let of = |line: &Line| {
                line.wanted.account == grant.account && line.wanted.service == grant.service
            };
            report.deliveries.iter().any(of)
        };
        report.grants = self.grants.iter().filter(meant).cloned().collect();
        let unwanted = self.unwanted.iter();
        let unwanted = unwanted.filter(|unwanted| selection.matches(&unwanted.id));
        report.unwanted = unwanted.cloned().collect();
        report.requests = self.requests;
        report.log = self.log.clone();
        report.health = self.health.clone();
        Ok(report)
    }

    /// Returns `true` when every delivery is in order, every search found its schedds, and the service's own files are
    /// well.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let in_order = |line: &Line| line.state.is_in_order();
        let deliveries = self.deliveries.iter().all(in_order);
        deliveries && !self.problems.iter().any(Group::is_search) && self.health.is_good()
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
        let lines = self.problems.iter().map(|group| {
            let many = match group.deliveries {
                1 => String::new(),
                n => format!(" ({n} deliveries)"),
            };
            format!("{}{many}: {}", group.cause, group.message)
        });
        self.health.lines().chain(lines).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Status;
    use crate::engine::attempt::Tokens;
    use crate::model::delivery::Delivery;
    use crate::model::problem::{Cause, Kind};
    use crate::policy::plan::State;
    use crate::policy::plan::outlook::{PlannedAction, PlannedStep, Reason};

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A good delivery of `cms` for an account at `ap1`.
    pub(crate) fn good(account: &str) -> Line {
        let target = crate::model::delivery::Target::Directory("/creds".into());
        let delivery = crate::fixtures::delivery(account, "cms", "ap1", target);
        Line {
            state: State::Good,
            vault_token_expires: Some(at(604_800)),
            vault_token_seconds_left: Some(604_800),
            accessor: Some("accessor".to_owned()),
            access_token_expires: Some(at(1200)),
            last_success: Some(at(0)),
            tries: 1,
            jobs_have_token: true,
            jobs_safe_until: Some(at(1200)),
            ..fresh(delivery)
        }
    }

    /// Nothing was done for it yet.
    fn fresh(delivery: Delivery) -> Line {
        let planned = PlannedStep {
            step: PlannedAction::Observe,
            why: Reason::Start,
            at: at(600),
        };
        let status = Status::new(Arc::new(delivery), None, &Tokens::default());
        Line::new(&status, &planned, at(0))
    }

    /// One that failed, and is tried again after a minute.
    pub(crate) fn failed(account: &str, cause: Cause, kind: Kind) -> Line {
        Line {
            state: State::Failed,
            problem: Some(DeliveryProblem {
                cause,
                kind,
                remedy: kind.remedy(),
                message: "it went wrong; put it right".to_owned(),
                since: at(0),
                attempts: 3,
            }),
            next_try: Some(at(60)),
            ..good(account)
        }
    }

    #[test]
    fn a_selection_that_fits_nothing_is_answered_with_the_nearest_name() {
        let report = Report::of(vec![good("cmsprod"), good("crabtw")], at(0));
        let selection = |account: &str, service: Option<&str>| Selection {
            account: Some(account.to_owned()),
            service: service.map(str::to_owned),
            schedd: None,
        };
        assert_eq!(
            report.only(&selection("cmsprot", None)).unwrap_err(),
            "no delivery has account \"cmsprot\"; did you mean \"cmsprod\"?"
        );
        assert_eq!(
            report.only(&selection("nobody", None)).unwrap_err(),
            "no delivery has account \"nobody\"; see `token-bastion status` for those that there are"
        );
        let other = crate::fixtures::delivery(
            "x",
            "cms_crab",
            "ap2",
            crate::model::delivery::Target::Directory("/creds".into()),
        );
        let other = fresh(other);
        let two = Report::of(vec![good("cmsprod"), other], at(0));
        assert_eq!(
            two.only(&selection("cmsprod", Some("cms_crab")))
                .unwrap_err(),
            "there are such names, but no delivery has all of them"
        );
        let one = report.only(&selection("crabtw", None)).unwrap();
        assert_eq!(one.deliveries.len(), 1);
    }

    #[test]
    fn a_report_is_read_back_from_its_json() {
        let cause = Cause::Vault("https://v".to_owned());
        let report = Report::of(vec![good("a"), failed("b", cause, Kind::VaultDown)], at(5));
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
