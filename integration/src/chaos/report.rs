//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::action::Planned;

/// One round.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// What was done.
    pub actions: Vec<Planned>,
    /// Seconds from its begin until all was undone.
    pub lasted: u64,
    /// Seconds from then until every delivery was good; none when it did not come to that.
    pub seconds_to_good: Option<u64>,
    /// Deliveries that were without a token for a time.
    pub gaps: usize,
    /// Faults, in words.
    pub faults: Vec<String>,
}

impl Round {
    /// Its actions in words.
    #[must_use]
    pub fn name(&self) -> String {
        let names: Vec<String> = self.actions.iter().map(ToString::to_string).collect();
        names.join(" + ")
    }
}

/// How soon all was good after a kind of action alone.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ToGood {
    /// Times that it was done.
    pub times: u64,
    /// Seconds of all of them.
    pub seconds: u64,
    /// Seconds, the most.
    pub most: u64,
}

/// A run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Rounds, in their order.
    pub rounds: Vec<Round>,
    /// By the kind of a single action; all others are "several".
    pub seconds_to_good: BTreeMap<String, ToGood>,
    /// Tokens at the server that the bastion never knew, after it was killed, and that do not end soon.
    pub forgotten: usize,
    /// Number of faults.
    pub faults: usize,
}

impl Report {
    /// Adds a round.
    pub fn add(&mut self, round: Round) {
        let kind = match round.actions.as_slice() {
            [one] => one.action.kind(),
            _ => "several".to_owned(),
        };
        if let Some(seconds) = round.seconds_to_good {
            let all = self.seconds_to_good.entry(kind).or_default();
            all.times += 1;
            all.seconds += seconds;
            all.most = all.most.max(seconds);
        }
        self.faults += round.faults.len();
        self.rounds.push(round);
    }

    /// The figures for people.
    #[must_use]
    pub fn text(&self) -> String {
        let gaps: usize = self.rounds.iter().map(|round| round.gaps).sum();
        let mut text = format!(
            "seed {}: {} rounds, {} faults, {gaps} gaps, {} tokens forgotten by kills\n  {:34}{:>6}{:>10}{:>6}\n",
            self.seed,
            self.rounds.len(),
            self.faults,
            self.forgotten,
            "seconds until all was good again",
            "times",
            "mean",
            "most"
        );
        for (kind, all) in &self.seconds_to_good {
            let ToGood {
                times,
                seconds,
                most,
            } = all;
            let mean = (seconds + times / 2) / times.max(&1);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {kind:34}{times:>6}{mean:>10}{most:>6}");
        }
        text
    }
}
