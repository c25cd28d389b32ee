//! Two whole pools, one with each monitor, that the same happens to.
//!
//! What always holds: both run for as long as this lives, and each is a site of its own; what happens
//! to both at once gives one row.

use std::collections::BTreeMap;
use std::path::Path;

use super::folder_run::Pair;
use super::observe::Observation;
use super::pool_run::Whole;
use super::rig::{Rig, Side};

/// Both pools, and what came of it so far.
pub(super) struct BothPools<'a> {
    pub(super) theirs: Whole<'a>,
    pub(super) ours: Whole<'a>,
    rows: BTreeMap<&'static str, Pair>,
}

impl<'a> BothPools<'a> {
    /// Starts both below `folder`.
    pub(super) async fn start(rig: &'a Rig, folder: &Path) -> anyhow::Result<Self> {
        let (theirs, ours) = tokio::try_join!(
            Whole::start(rig, folder, Side::Theirs),
            Whole::start(rig, folder, Side::Ours)
        )?;
        Ok(Self {
            theirs,
            ours,
            rows: BTreeMap::new(),
        })
    }

    /// Lets it happen to both at once.
    pub(super) async fn row(
        &mut self,
        name: &'static str,
        happens: impl AsyncFn(&Whole<'a>) -> anyhow::Result<Observation>,
    ) -> anyhow::Result<()> {
        let (theirs, ours) = tokio::try_join!(happens(&self.theirs), happens(&self.ours))?;
        self.add(name, Pair { theirs, ours });
        Ok(())
    }

    /// A row of what happened otherwise.
    pub(super) fn add(&mut self, name: &'static str, pair: Pair) {
        self.rows.insert(name, pair);
    }

    /// Stops both; gives the observations by the rows' names.
    pub(super) async fn stop(self) -> anyhow::Result<BTreeMap<&'static str, Pair>> {
        self.theirs.pool.stop().await?;
        self.ours.pool.stop().await?;
        Ok(self.rows)
    }
}
