//! Durations and failures of the stages of an attempt, for metrics.
//!
//! Always true: counts only grow while the process runs, over reloads too.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::problem::{Kind, Problem};
use crate::system::locked::locked;

/// Stage of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Observation of the schedd, with the access token for that where one is needed.
    Observe,
    /// Kerberos ticket, where none is cached, and the login at Vault with it.
    Login,
    /// Creation of the vault token with that login.
    Issue,
    /// Read of an access token with it.
    Read,
    /// Push of it to the schedd, likewise.
    Store,
    /// Wait until the schedd's credmon has made an access token from it.
    Verify,
}

impl Stage {
    /// All stages, in the order of an attempt.
    pub const ALL: [Self; 6] = [
        Self::Observe,
        Self::Login,
        Self::Issue,
        Self::Read,
        Self::Store,
        Self::Verify,
    ];

    /// Name of the stage in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Login => "login",
            Self::Issue => "issue",
            Self::Read => "read",
            Self::Store => "store",
            Self::Verify => "verify",
        }
    }
}

/// Upper bounds of the histogram's buckets, in seconds.
pub const BOUNDS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// Counts of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count {
    /// Number of runs for each bound in [`BOUNDS`]: at most as long as it, and longer than the one before.
    pub buckets: [u64; BOUNDS.len()],
    /// Number of runs.
    pub number: u64,
    /// Total duration.
    pub sum: Duration,
    /// Number of failures by kind of problem.
    pub failures: BTreeMap<Kind, u64>,
}

/// Counts of all stages.
#[derive(Debug, Default)]
pub struct Stages(Mutex<BTreeMap<Stage, Count>>);

impl Stages {
    /// Does `work` and counts it. Cancelled work is not counted.
    pub async fn time<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let begin = Instant::now();
        // Without the box this future would contain `work` twice: as argument and as it runs.
        let result = Box::pin(work).await;
        let lasted = begin.elapsed();
        let mut counts = locked(&self.0);
        let count = counts.entry(stage).or_default();
        count.number += 1;
        count.sum += lasted;
        let bound = BOUNDS.iter().position(|b| lasted.as_secs_f64() <= *b);
        if let Some(bucket) = bound.and_then(|index| count.buckets.get_mut(index)) {
            *bucket += 1;
        }
        if let Err(problem) = &result {
            *count.failures.entry(problem.kind).or_default() += 1;
        }
        result
    }

    /// Returns the counts since the start.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Stage, Count> {
        locked(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::problem::Cause;

    #[tokio::test(start_paused = true)]
    async fn stages_are_counted_with_their_time_and_failures() {
        let stages = Stages::default();
        let two_seconds = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok::<_, Problem>(())
        };
        stages.time(Stage::Issue, two_seconds).await.unwrap();
        let cause = Cause::Vault("v".to_owned());
        let fail = async { Err::<(), _>(Problem::new(cause, Kind::VaultDown, "down")) };
        stages.time(Stage::Issue, fail).await.unwrap_err();
        let counts = stages.snapshot();
        let count = &counts[&Stage::Issue];
        assert_eq!((count.number, count.sum), (2, Duration::from_secs(2)));
        // At once, and at most 3 s.
        assert_eq!((count.buckets[0], count.buckets[5]), (1, 1));
        assert_eq!(count.failures, BTreeMap::from([(Kind::VaultDown, 1)]));
        assert_eq!(counts.len(), 1);
    }
}
