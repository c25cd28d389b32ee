//! Problems, one for each cause and sort, with the number of deliveries that suffer from it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Line;
use crate::model::problem::{Cause, Kind, Remedy};

/// One problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Object of the problem.
    pub cause: Cause,
    /// Kind of problem.
    pub kind: Kind,
    /// Person who must act.
    pub remedy: Remedy,
    /// Description, with what to do.
    pub message: String,
    /// Number of deliveries that suffer from it.
    pub deliveries: usize,
}

/// The object, the number of deliveries if there are several, and the message.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if self.deliveries != 1 {
            write!(f, " ({} deliveries)", self.deliveries)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Group {
    /// One for each cause and sort, in their order.
    pub(super) fn of(lines: &[Line]) -> Vec<Self> {
        let mut groups: BTreeMap<(&Cause, Kind), Group> = BTreeMap::new();
        for trouble in lines.iter().filter_map(|line| line.problem.as_ref()) {
            let group = groups
                .entry((&trouble.cause, trouble.kind))
                .or_insert_with(|| Group {
                    cause: trouble.cause.clone(),
                    kind: trouble.kind,
                    remedy: trouble.remedy,
                    message: trouble.message.clone(),
                    deliveries: 0,
                });
            group.deliveries += 1;
        }
        groups.into_values().collect()
    }

    /// Returns `true` for a problem with finding schedds.
    pub(super) fn is_search(&self) -> bool {
        matches!(self.cause, Cause::Group(_))
    }
}
