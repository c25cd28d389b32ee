//! Schedds and credds that a collector knows, asked for without any authentication and so believed in nothing but
//! names and addresses. No token is shown to a collector.

use std::time::Duration;

use htcondor_cedar::{Ad, Collector as Client, Error, ErrorKind, Kind as AdKind, Query, Step};
use htvault::text::printable;
use tokio::time::timeout;

use super::names;
use crate::config::collectors;
use crate::model::problem::Kind;
use crate::schedd::advice;
use crate::schedd::discovery::{Collector, CreddAd, DEADLINE, QueryFailure, ScheddAd};

/// Longest expression in a message, in characters.
const TEXT_LIMIT: usize = 500;

/// The collectors of a pool: the first that answers counts.
pub(crate) struct NativeCollector<'a>(&'a str);

impl<'a> NativeCollector<'a> {
    /// Those that the configuration names.
    pub(crate) fn new(names: Option<&'a str>) -> Self {
        Self(names.unwrap_or_default())
    }

    async fn ask(&self, query: &Query, within: Duration) -> Result<Vec<Ad>, Failure> {
        let unnamed = "no collector is configured for it; name it by `collector`";
        let mut last = Failure::NotAsked((Kind::Transport, unnamed.to_owned()));
        let collectors = collectors(self.0).map_err(Failure::Client)?;
        let each = within / u32::try_from(collectors.len()).unwrap_or(1).max(1);
        for address in collectors {
            let looked_up = timeout(each, names::resolved(address, Kind::CollectorDown)).await;
            let looked_up = looked_up.unwrap_or_else(|_| {
                let words = format!(
                    "the name of the collector {} is not looked up in time; check the name service of this host",
                    self.0
                );
                Err((Kind::CollectorDown, words))
            });
            last = match looked_up {
                Ok(address) => match Client::new(address).query(query, each).await {
                    Ok(ads) => return Ok(ads),
                    Err(error) => Failure::Client(error),
                },
                Err(failure) => Failure::NotAsked(failure),
            };
        }
        Err(last)
    }

    fn silent(&self, failure: Failure) -> QueryFailure {
        let error = match failure {
            Failure::Client(error) => error,
            Failure::NotAsked(failure) => return failure,
        };
        let (kind, advice) = judge(error.kind());
        let advice = advice::fill(advice, &[("{collector}", self.0)]);
        (kind, format!("{advice} ({})", error.message()))
    }

    /// `true` when a collector answers a question that surely is none of its faults.
    async fn answers(&self) -> bool {
        let query = Query {
            projection: vec!["Name".to_owned()],
            limit: Some(1),
            ..Query::new(AdKind::Schedd)
        };
        self.ask(&query, DEADLINE).await.is_ok()
    }
}

/// Kind of a failure to ask, and advice.
fn judge(kind: ErrorKind) -> (Kind, &'static str) {
    match kind {
        ErrorKind::Local => (Kind::Local, advice::COLLECTOR_NOT_ASKED),
        _ => (Kind::CollectorDown, advice::COLLECTOR_SILENT),
    }
}

enum Failure {
    /// None is named, or its name cannot be looked up.
    NotAsked(QueryFailure),
    Client(Error),
}

impl Collector for NativeCollector<'_> {
    async fn schedds(&self, constraint: &str) -> Result<Vec<ScheddAd>, QueryFailure> {
        let names = ["Name", "Machine", "CredDIpAddr", "TotalJobAds"];
        let query = Query {
            requirements: Some(constraint.to_owned()),
            projection: names.map(str::to_owned).to_vec(),
            ..Query::new(AdKind::Schedd)
        };
        let failure = match self.ask(&query, DEADLINE).await {
            Ok(ads) => return Ok(ads.iter().filter_map(schedd).collect()),
            Err(failure) => failure,
        };
        // A collector closes the connection after an expression that it does not understand.
        let is_expression = match &failure {
            Failure::Client(error) if error.kind() == ErrorKind::BadValue => true,
            Failure::Client(error) if is_hang_up(error) => self.answers().await,
            _ => false,
        };
        if is_expression {
            let constraint = printable(constraint, TEXT_LIMIT);
            let advice = advice::fill(advice::CONSTRAINT, &[("{constraint}", &constraint)]);
            return Err((Kind::Transport, advice));
        }
        Err(self.silent(failure))
    }

    async fn credds(&self, within: Duration) -> Result<Vec<CreddAd>, QueryFailure> {
        let names = ["Name", "Machine", "MyAddress"];
        let query = Query {
            projection: names.map(str::to_owned).to_vec(),
            ..Query::new(AdKind::Credd)
        };
        let ads = self.ask(&query, within).await;
        let ads = ads.map_err(|failure| self.silent(failure))?;
        Ok(ads.iter().filter_map(credd).collect())
    }
}

fn is_hang_up(error: &Error) -> bool {
    (error.kind(), error.step()) == (ErrorKind::HungUp, Step::Command)
}

/// A schedd's ad; one without a name is of no use.
fn schedd(ad: &Ad) -> Option<ScheddAd> {
    let text = |name| ad.string(name).map(str::to_owned);
    Some(ScheddAd {
        name: text("Name")?,
        machine: text("Machine").unwrap_or_default(),
        credd: text("CredDIpAddr"),
        is_of_host: false,
        jobs: ad
            .integer("TotalJobAds")
            .and_then(|jobs| jobs.try_into().ok())
            .unwrap_or_default(),
        matches: true,
    })
}

fn credd(ad: &Ad) -> Option<CreddAd> {
    let text = |name| ad.string(name).map(str::to_owned);
    Some(CreddAd {
        name: text("Name").unwrap_or_default(),
        machine: text("Machine")?,
        address: text("MyAddress"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_this_host_cannot_ask_is_not_down() {
        let (kind, advice) = judge(ErrorKind::Local);
        assert_eq!(kind, Kind::Local);
        assert!(!advice.contains("does not answer"), "{advice}");
        assert_eq!(judge(ErrorKind::Unreachable).0, Kind::CollectorDown);
    }
}
