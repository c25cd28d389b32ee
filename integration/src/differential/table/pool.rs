//! What a whole pool makes of it.

use crate::differential::case::Expected::{self, Same};
use crate::differential::case::Outcome::{Deleted, Kept, NotServed, Served};

/// A situation of a whole pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolRow {
    /// Names it.
    pub name: &'static str,
    /// The situation in words.
    pub words: &'static str,
    /// What is expected.
    pub expected: Expected,
}

/// All of them, in the order in which one pool of each side goes through them.
pub const POOL: &[PoolRow] = &[
    PoolRow {
        name: "stored",
        words: "a user stores a credential by `condor_store_cred`",
        expected: Same(Served),
    },
    PoolRow {
        name: "job-without-token",
        words: "a job asks for a credential whose vault token is dead",
        expected: Same(Kept),
    },
    PoolRow {
        name: "reconfigured",
        words: "`CREDMON_OAUTH_TOKEN_MINIMUM` changes from 2400 to 1200, `condor_reconfig`",
        expected: Same(Served),
    },
    PoolRow {
        name: "restarted",
        words: "`condor_restart -daemon credmon_oauth`",
        expected: Same(Served),
    },
    PoolRow {
        name: "refused-while-running",
        words: "the vault token is revoked while a job runs that uses its access token",
        expected: Same(Kept),
    },
];
