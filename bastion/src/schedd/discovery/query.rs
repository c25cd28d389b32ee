//! The questions of a search, in whatever way a collector is asked.

use std::time::Duration;

use super::ads::{CreddAd, ScheddAd, with_credds};
use super::found::{FoundSchedds, MOST_SCHEDDS};
use crate::config::Search;
use crate::model::problem::Kind;

/// Kind of a failure of a collector, and message.
pub(crate) type QueryFailure = (Kind, String);

/// Expression that is true for the ads of credds.
pub(crate) const IS_CREDD: &str = r#"MyType == "CredD""#;

/// Deadline for the answer of a collector.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Deadline where somebody waits to store something.
const SHORT_DEADLINE: Duration = Duration::from_secs(5);

/// Most schedds that one expression names: it is an argument of a tool, and an argument has an end. With the longest
/// names of hosts that is 400 x (255 + 14) bytes, of 128 KiB.
const NAMES: usize = 400;

pub(crate) trait Collector: Sync {
    /// The schedds whose ads satisfy an expression.
    fn schedds(
        &self,
        constraint: &str,
    ) -> impl Future<Output = Result<Vec<ScheddAd>, QueryFailure>> + Send;

    fn credds(
        &self,
        within: Duration,
    ) -> impl Future<Output = Result<Vec<CreddAd>, QueryFailure>> + Send;

    /// All credds, or soon the reason why there is no answer.
    fn credds_soon(&self) -> impl Future<Output = Result<Vec<CreddAd>, QueryFailure>> + Send {
        // Boxed: each push may ask, and few do.
        Box::pin(self.credds(SHORT_DEADLINE))
    }
}

/// Asks for the schedds of a search, for those of `known` that are there besides, and for the addresses of
/// their credds.
pub(crate) async fn find(
    collector: &impl Collector,
    search: &Search,
    known: &FoundSchedds,
) -> Result<Vec<ScheddAd>, QueryFailure> {
    let constraint = search.constraint.as_deref().unwrap_or("true");
    let mut schedds = collector.schedds(constraint).await?;
    if schedds.len() > MOST_SCHEDDS {
        let message = format!(
            "the collector names {} schedds, and more than {MOST_SCHEDDS} are not served; narrow `constraint`",
            schedds.len()
        );
        return Err((Kind::Transport, message));
    }
    let missing: Vec<String> = known
        .names()
        .filter(|name| is_plain(name) && !schedds.iter().any(|ad| ad.name == *name))
        .map(|name| format!("Name == \"{name}\""))
        .collect();
    // Where nothing was found the answer counts for nothing anyway.
    if !schedds.is_empty() {
        for names in missing.chunks(NAMES) {
            let others = collector.schedds(&names.join(" || ")).await?;
            schedds.extend(others.into_iter().map(|ad| ScheddAd {
                matches: false,
                ..ad
            }));
        }
    }
    if schedds.iter().any(|ad| ad.credd.is_none()) {
        let credds = collector.credds(DEADLINE).await?;
        schedds = with_credds(schedds, &credds);
    }
    Ok(schedds)
}

/// `true` for a name that stands in an expression as it is.
fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fixtures::search;

    /// Longest argument of a program: a question is one of HTCondor's tools.
    const LONGEST_ARGUMENT: usize = 128 * 1024;

    /// A collector that names so many schedds.
    struct Many(usize);

    impl Collector for Many {
        async fn schedds(&self, constraint: &str) -> Result<Vec<ScheddAd>, QueryFailure> {
            assert!(constraint.len() < LONGEST_ARGUMENT);
            let ad = |n| ScheddAd {
                name: format!("ap{n}.test"),
                credd: Some(format!("<{n}>")),
                ..ScheddAd::default()
            };
            Ok((0..self.0).map(ad).collect())
        }

        async fn credds(&self, _: Duration) -> Result<Vec<CreddAd>, QueryFailure> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn more_schedds_than_any_pool_has_are_not_served() {
        let (search, known) = (search(Vec::new()), FoundSchedds::default());
        let all = find(&Many(MOST_SCHEDDS), &search, &known).await;
        assert_eq!(all.unwrap().len(), MOST_SCHEDDS);
        let all = find(&Many(MOST_SCHEDDS + 1), &search, &known).await;
        let (kind, message) = all.unwrap_err();
        assert_eq!(kind, Kind::Transport);
        assert!(message.contains("names 2001 schedds"), "{message}");
    }

    #[tokio::test]
    async fn names_of_schedds_that_are_missing_are_asked_for_whatever_their_number_and_length() {
        let ad = |n| ScheddAd {
            name: format!("{}{n}.test", "a".repeat(246)),
            matches: true,
            ..ScheddAd::default()
        };
        let mut known = FoundSchedds::default();
        let ads = (0..MOST_SCHEDDS).map(ad).collect();
        known.take(ads, Timestamp::UNIX_EPOCH, Duration::from_hours(1));
        assert_eq!(known.0.len(), MOST_SCHEDDS);
        let all = find(&Many(1), &search(Vec::new()), &known).await;
        assert!(all.is_ok(), "{all:?}");
    }

    #[test]
    fn only_plain_names_stand_in_expressions() {
        assert!(is_plain("crab3@vocms0119.cern.ch"));
        assert!(!is_plain("a\" || true"));
    }
}
