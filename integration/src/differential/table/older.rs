//! On an older HTCondor: names, whose rules are others there, and the few situations in which its own
//! monitor does something else than the newer one.

use super::pool::PoolRow;
use super::{FETCHED, TOP};
use crate::differential::case::Expected::Same;
use crate::differential::case::Outcome::{NotServed, Served};
use crate::differential::case::{Case, Differs, Expected, Group, Put};
use crate::differential::launch_run::Launch;

const CMS: &[(&str, Put)] = &[("cms.top", Put::Text(TOP))];
const CMS_CRAB: &[(&str, Put)] = &[("cms_crab.top", Put::Text(TOP))];
const TRAILING: &[(&str, Put)] = &[("cms_.top", Put::Text(TOP))];
const LEADING: &[(&str, Put)] = &[("_cms.top", Put::Text(TOP))];
const SPECIAL: &[(&str, Put)] = &[("a.b+c=d-e.top", Put::Text(TOP))];
const BORROWS: &[(&str, Put)] = &[
    ("cms_crab.top", Put::Text(TOP)),
    (
        "cms_crab_read.top",
        Put::Text(child!("creds/cms/cmsprod:default")),
    ),
];

pub(super) const GROUPS: &[Group] = &[
    Group::new("older-names", "Names, by default", &[
        Case::new("older-provider", "`cms.top`", CMS).same(Served),
        Case::new("older-underscore", "`cms_crab.top` with a token of its own", CMS_CRAB).same(Served),
        Case::new("older-two-underscores", "`cms_crab_read.top` with a token of its own", &[("cms_crab_read.top", Put::Text(TOP))]).same(Served),
        Case::new("older-handle", "`cms_crab_read.top` has no token and takes that of `cms_crab.top`", BORROWS).same(Served),
        Case::new("older-trailing", "`cms_.top`", TRAILING).same(Served),
        Case::new("older-leading", "`_cms.top`", LEADING).same(Served),
        Case::new("older-special", "`a.b+c=d-e.top`", SPECIAL).same(Served),
        Case::new("older-capitals", "`CMS_Crab.top`", &[("CMS_Crab.top", Put::Text(TOP))]).same(Served),
        Case::new("older-several", "`cms.top`, `cms_crab.top` and `dune.top` of one account", &[
            ("cms.top", Put::Text(TOP)), ("cms_crab.top", Put::Text(TOP)), ("dune.top", Put::Text(TOP)),
        ]).same(Served),
        Case::new("older-scitokens", "`scitokens.top`", &[("scitokens.top", Put::Text(TOP))]).same(Served),
        Case::new("older-scitokens-handle", "`scitokens_read.top`", &[("scitokens_read.top", Put::Text(TOP))]).same(Served),
        Case::new("older-not-a-name", "`a b.top`, which the credd would not write", &[("a b.top", Put::Text(TOP))])
            .differs(Differs { theirs: Served, ours: NotServed, only_theirs: &["a b.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","a b.use new, 0400 root:condor","asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200",], only_ours: &[], why: "HTCondor gives no such names; a name never changes a path or a log line of ours." }),
        Case::new("older-hidden-file", "`.cms.top`", &[(".cms.top", Put::Text(TOP))]).same(NotServed),
    ]),
    Group::new("older-forbidden", "Names with `CREDMON_ALLOW_SPECIAL_CHAR_NAMES = false`, which means nothing there", &[
        Case::new("forbidden-underscore", "`cms_crab.top`", CMS_CRAB).same(Served),
        Case::new("forbidden-trailing", "`cms_.top`", TRAILING).same(Served),
        Case::new("forbidden-leading", "`_cms.top`", LEADING).same(Served),
        Case::new("forbidden-special", "`a.b+c=d-e.top`", SPECIAL).same(Served),
    ]).with(&[("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", "false")]),
    Group::new("older-allowed", "Names with `CREDMON_ALLOW_SPECIAL_CHAR_NAMES = true`, which means nothing there", &[
        Case::new("allowed-underscore", "`cms_crab.top`", CMS_CRAB).same(Served),
        Case::new("allowed-handle", "`cms_crab_read.top` has no token and takes that of `cms_crab.top`", BORROWS).same(Served),
        Case::new("allowed-trailing", "`cms_.top`", TRAILING).same(Served),
        Case::new("allowed-special", "`a.b+c=d-e.top`", SPECIAL).same(Served),
    ]).with(&[("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", "true")]),
    Group::new("older-others", "Lists of other monitors, which mean nothing there", &[
        Case::new("others-whole", "`cms_crab.top`, with `cms_crab` in `OAUTH2_CREDMON_PROVIDER_NAMES`", CMS_CRAB).same(Served),
        Case::new("others-provider", "`box_read.top`, with `box` in that list", &[("box_read.top", Put::Text(TOP))]).same(Served),
        Case::new("others-local", "`cms.top`, with `LOCAL_CREDMON_PROVIDER_NAME = cms`", CMS).same(Served),
        Case::new("others-client-id", "`github.top`, with a `github_CLIENT_ID`", &[("github.top", Put::Text(TOP))]).same(Served),
        Case::new("others-client-id-handle", "`github_x.top`", &[("github_x.top", Put::Text(TOP))]).same(Served),
    ]).with(&[
        ("OAUTH2_CREDMON_PROVIDER_NAMES", "cms_crab, box"), ("LOCAL_CREDMON_PROVIDER_NAME", "cms"), ("github_CLIENT_ID", "x"),
    ]),
    Group::new("older-list", "`VAULT_CREDMON_PROVIDER_NAMES = cms_crab dune`", &[
        Case::new("list-whole", "`cms_crab.top`", CMS_CRAB).same(Served),
        Case::new("list-whole-handle", "`cms_crab_read.top` has no token and takes that of `cms_crab.top`", BORROWS).same(Served),
        Case::new("list-handle", "`dune_pro.top`", &[("dune_pro.top", Put::Text(TOP))]).same(Served),
        Case::new("list-other", "`cms.top`", CMS)
            .differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "That HTCondor does not know the setting; whoever sets it there means ours." }),
    ]).with(&[("VAULT_CREDMON_PROVIDER_NAMES", "cms_crab dune")]),
    Group::new("older-ca", "`AUTH_SSL_CLIENT_CADIR` without the authority, `AUTH_SSL_CLIENT_CAFILE` empty", &[
        Case::new("older-ca-dir", "a good `.top`", CMS).same(Served),
    ]).with(&[("AUTH_SSL_CLIENT_CADIR", "/etc/condor/config.d"), ("AUTH_SSL_CLIENT_CAFILE", "")]),
];

pub(super) const LAUNCHES: &[Launch] = &[Launch::new(
    "old-name",
    "only `SEC_CREDENTIAL_DIRECTORY` is set, `SEC_CREDENTIAL_DIRECTORY_OAUTH` is empty",
)
.with(&[
    ("SEC_CREDENTIAL_DIRECTORY_OAUTH", ""),
    ("SEC_CREDENTIAL_DIRECTORY", "$DIR"),
])
.expect(Expected::Differs(Differs {
    theirs: NotServed,
    ours: Served,
    only_theirs: &[
        "ends by itself, exit code Some(1)",
        "log lines begin so: ",
        "says something on the terminal",
    ],
    only_ours: &[
        "CREDMON_COMPLETE has 0644 root:condor",
        "SIGTERM: ends with exit code 0",
        "leaves CREDMON_COMPLETE when it ends",
        "log lines begin so: 00/00/00 00:00:00 ",
        "pid has 0644 root:condor",
        "pid names the process: true",
    ],
    why: "An empty value is no value; theirs takes it for the directory's name, and ends.",
}))];

pub(super) const POOL: &[PoolRow] = &[
    PoolRow {
        name: "older-stored",
        words: "a user stores a credential by `condor_store_cred`",
        expected: Same(Served),
    },
    PoolRow {
        name: "older-job",
        words: "a job with `use_oauth_services = cms_crab` finds `cms_crab.use`, stored under that name",
        expected: Same(Served),
    },
    PoolRow {
        name: "older-job-handle",
        words: "a job with `use_oauth_services = cms` and `cms_oauth_permissions_read` finds `cms_read.use`",
        expected: Same(Served),
    },
];
