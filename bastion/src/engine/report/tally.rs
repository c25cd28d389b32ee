//! Numbers of deliveries by state: for who asks often and needs no names.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Group;
use crate::engine::Status;

/// Numbers of deliveries by state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of all deliveries.
    pub deliveries: usize,
    /// Number of those that are in order.
    pub good: usize,
    /// Numbers of those with a problem, by what is to do
    /// ([`crate::model::problem::Remedy::words`]).
    pub to_do: BTreeMap<&'static str, usize>,
    /// Time of the next retry of one that failed.
    pub next_try: Option<Timestamp>,
}

impl Tally {
    /// Of the searches alone.
    pub(crate) fn new(searches: &[Group]) -> Self {
        let mut tally = Self::default();
        for search in searches {
            *tally.to_do.entry(search.remedy.words()).or_default() += search.deliveries;
        }
        tally
    }

    /// Counts a delivery.
    pub(crate) fn add(&mut self, status: &Status, now: Timestamp) {
        self.deliveries += 1;
        self.good += usize::from(status.state(now).is_in_order());
        let Some(failure) = &status.record.failure else {
            return;
        };
        let remedy = failure.problem.kind.remedy();
        *self.to_do.entry(remedy.words()).or_default() += 1;
        let next = Some(failure.next_try).filter(|next| *next > now);
        self.next_try = self.next_try.into_iter().chain(next).min();
    }
}
