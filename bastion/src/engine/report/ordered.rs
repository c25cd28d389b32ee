//! Deliveries of an order that is waited for.

use std::collections::BTreeMap;

use super::{Line, Report};
use crate::model::delivery::DeliveryId;

/// Deliveries of an order, with the number of tries that each had before.
#[derive(Clone, Debug)]
pub(crate) struct OrderedDeliveries(BTreeMap<DeliveryId, u64>);

impl OrderedDeliveries {
    pub(crate) fn new(before: &[Line]) -> Self {
        let tries = before.iter().map(|line| (line.wanted.id(), line.tries));
        Self(tries.collect())
    }

    /// Returns their lines of a report. One that was configured away meanwhile has none.
    pub(crate) fn lines(&self, report: &Report) -> Vec<Line> {
        let lines = report.deliveries.iter();
        let lines = lines.filter(|line| self.0.contains_key(&line.wanted.id()));
        lines.cloned().collect()
    }

    /// Returns how many of those lines have been tried since.
    pub(crate) fn settled(&self, lines: &[Line]) -> usize {
        let is_settled = |line: &&Line| {
            let before = self.0.get(&line.wanted.id());
            before.is_none_or(|before| line.is_settled_since(*before))
        };
        lines.iter().filter(is_settled).count()
    }
}
