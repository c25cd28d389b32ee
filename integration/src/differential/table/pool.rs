//! What a whole pool makes of it.

use crate::differential::case::Differs;
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
pub(super) const POOL: &[PoolRow] = &[
    PoolRow {
        name: "stored",
        words: "a user stores a credential by `condor_store_cred`",
        expected: Same(Served),
    },
    PoolRow {
        name: "job-without-token",
        words: "a job asks for a credential for which Vault has no refresh token",
        expected: Same(NotServed),
    },
    PoolRow {
        name: "job-with-dead-token",
        words: "a job asks for a credential that was stored with a dead vault token",
        expected: Expected::Differs(Differs {
            theirs: Deleted,
            ours: NotServed,
            only_theirs: &["condor_submit fails: the credential is missing"],
            only_ours: &["the job is held, code 4"],
            why: "What was stored stays until it is replaced; the held job can be released then.",
        }),
    },
    PoolRow {
        name: "storer-oidc",
        words: "a person stores `cms_production` by `condor_vault_storer` with htgettoken, and approves at the issuer's page",
        expected: Same(Served),
    },
    PoolRow {
        name: "storer-handle",
        words: "the person adds a handle with reduced scopes and an audience by `condor_vault_storer`",
        expected: Same(Served),
    },
    PoolRow {
        name: "storer-kerberos",
        words: "`condor_vault_storer` for a person with a Kerberos ticket, after all was deleted",
        expected: Same(Served),
    },
    PoolRow {
        name: "reconfigured",
        words: "`CREDMON_OAUTH_TOKEN_MINIMUM` changes from 2400 to 1200, `condor_reconfig`",
        expected: Expected::Differs(Differs {
            theirs: Served,
            ours: Served,
            only_theirs: &["asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200"],
            only_ours: &["asks creds/cms/cmsprod:default?minimum_seconds=1200 → 200"],
            why: "Settings are read again; theirs looks at the directory only, and keeps the settings that it started with.",
        }),
    },
    PoolRow {
        name: "refused-while-running",
        words: "the vault token is revoked while a job runs that uses its access token",
        expected: Expected::Differs(Differs {
            theirs: Deleted,
            ours: Kept,
            only_theirs: &[
                "cms.top is gone",
                "cms.use is gone",
                "the job is held, code 4",
            ],
            only_ours: &[
                "cms.top is there",
                "cms.use is there",
                "the job ends well, exit code 0",
            ],
            why: "A refusal takes no token away. Theirs throws the job out at the starter's next look, and somebody has to release it.",
        }),
    },
    PoolRow {
        name: "restarted",
        words: "`condor_restart`",
        expected: Same(Served),
    },
];
