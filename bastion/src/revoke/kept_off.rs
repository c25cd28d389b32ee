//! Which deliveries were cut off by a person and are not delivered until one asks for them again:
//! `cut-off.json` in the folder of the state, so that a restart does not undo an order.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::delivery::DeliveryId;
use crate::kept;

const NAME: &str = "cut-off";

/// Since when which delivery is kept off.
pub type KeptOff = BTreeMap<DeliveryId, Timestamp>;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    id: DeliveryId,
    since: Timestamp,
}

fn known(lines: Vec<Line>) -> KeptOff {
    lines
        .into_iter()
        .map(|line| (line.id, line.since))
        .collect()
}

/// All of them.
///
/// # Errors
/// The file cannot be read or understood.
pub fn read(state: &Path) -> io::Result<KeptOff> {
    kept::read(state, NAME).map(known)
}

/// Keeps deliveries off from now on, or (`None`) no longer.
///
/// # Errors
/// The file cannot be read, understood or written.
pub fn set<'a>(
    state: &Path,
    ids: impl IntoIterator<Item = &'a DeliveryId>,
    since: Option<Timestamp>,
) -> io::Result<()> {
    let change = |lines: &mut Vec<Line>| {
        let mut all = known(std::mem::take(lines));
        for id in ids {
            match since {
                Some(since) => drop(all.entry(id.clone()).or_insert(since)),
                None => drop(all.remove(id)),
            }
        }
        lines.extend(all.into_iter().map(|(id, since)| Line { id, since }));
    };
    kept::change(state, NAME, change).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_off_stays_so_until_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let id = |schedd: &str| DeliveryId {
            account: "a".to_owned(),
            service: "cms".to_owned(),
            schedd: schedd.to_owned(),
        };
        set(folder.path(), [&id("ap1"), &id("ap2")], Some(at(1))).unwrap();
        // The first order counts.
        set(folder.path(), [&id("ap1")], Some(at(2))).unwrap();
        set(folder.path(), [&id("ap2")], None).unwrap();
        let all = read(folder.path()).unwrap();
        assert_eq!(all, KeptOff::from([(id("ap1"), at(1))]));
    }
}
