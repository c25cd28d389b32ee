//! HTCondor's own `condor_credmon_vault` and our `condor_credmon_htvault`, each put into the same
//! situation on the same HTCondor and the same `htvault-dev`, and what they do compared.
//!
//! The situations and what is expected are the [`table`]; the page `docs/credmon-differences.md` is
//! printed from it. What always holds: both sides get files and vault tokens of their own, so that
//! neither sees the other; what is compared are whole observations (files with mode and owner,
//! requests that the server saw, exit codes, the log's form), and where they are not the same the
//! table says which lines only one side has, and why. A difference that the table does not state
//! is a failure, and so is one that is stated and no longer there.

mod both_pools;
pub mod case;
pub mod compare;
pub mod folder_run;
pub mod launch_run;
pub mod observe;
mod obstacles;
pub mod older_pool_run;
pub mod page;
pub mod pool_run;
pub mod rig;
pub(crate) mod storer;
pub mod table;
