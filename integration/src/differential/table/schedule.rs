//! When an access token is got anew.

use super::TOP;
use crate::differential::case::Outcome::{Kept, NotServed, Served};
use crate::differential::case::{Case, Change, Differs, Group, Put};

const BOTH: &[(&str, Put)] = &[
    ("cms.top", Put::Text(TOP)),
    ("cms.use", Put::AccessToken(3600)),
];

pub(super) const GROUPS: &[Group] = &[
    Group::new("start", "What is found at the start", &[
        Case::new("fresh", "`.use` is newer than `.top` and lives an hour", BOTH).same(Kept),
        Case::new("older", "`.use` is older than `.top`", &[("cms.use", Put::AccessToken(3600)), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("missing", "`.use` is missing", &[("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("ended", "`.use` is newer than `.top` and has ended", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::AccessToken(-60))]).same(Served),
        Case::new("nearly", "`.use` is newer than `.top` and lives 60 s more", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::AccessToken(60))]).same(Served),
        Case::new("opaque", "`.use` is newer than `.top` and no JWT", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::Text("opaque\n"))]).same(Kept),
        Case::new("empty-use", "`.use` is newer than `.top` and empty", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::Text(""))]).same(Served),
        Case::new("use-alone", "`.use` without `.top`", &[("cms.use", Put::AccessToken(3600))]).same(Kept),
    ]),
    Group::new("told", "What changes while it runs, then SIGHUP", &[
        Case::new("new-top", "`.top` is stored for the first time", &[]).then(&[("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("second-service", "a second service is stored", BOTH).then(&[("dune.top", Put::Text(TOP))]).same(Served),
        Case::new("replaced", "`.top` is replaced", BOTH).then(&[("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("taken", "`.use` is taken away", BOTH).then(&[("cms.use", Put::Nothing)]).same(Served),
        Case::new("top-taken", "`.top` is taken away", BOTH).then(&[("cms.top", Put::Nothing)]).same(Kept),
        Case::new("made-good", "a broken `.top` is replaced by a good one", &[("cms.top", Put::Text("{"))]).then(&[("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("made-bad", "a good `.top` is replaced by a broken one", BOTH).then(&[("cms.top", Put::Text("{"))]).same(Kept),
        Case::new("folder-gone", "the account's folder is removed", BOTH).then(&[("", Put::Nothing)]).same(NotServed),
        Case::new("marked-later", "the account is marked", BOTH).then(&[("../marked-later.mark", Put::Text(""))]).same(Kept),
        Case::new("untouched", "nothing changes", BOTH).same(Kept),
        Case::new("parent-taken", "the parent's `.top` of a handle is taken away and the handle's `.top` is stored again", &[
            ("cms.top", Put::Text(TOP)), ("cms_r.top", Put::Text(child!("creds/cms/cmsprod:default"))), ("cms_r.use", Put::AccessToken(3600)),
        ]).then(&[("cms.top", Put::Nothing), ("cms_r.top", Put::Text(child!("creds/cms/cmsprod:default")))]).same(Kept),
    ]).changed(Change::Hangup),
    Group::new("untold", "What changes while it runs, without a signal", &[
        Case::new("replaced-untold", "`.top` is replaced, with `.use` in place: the credd sends no signal", BOTH).then(&[("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("taken-untold", "`.use` is taken away", BOTH).then(&[("cms.use", Put::Nothing)]).same(Served),
        Case::new("new-untold", "`.top` is stored for the first time", &[]).then(&[("cms.top", Put::Text(TOP))]).same(Served),
    ]).changed(Change::Untold),
    Group::new("refresh", "`CREDMON_OAUTH_TOKEN_REFRESH = 1`, `CREDMON_OAUTH_TOKEN_MINIMUM = 40`", &[
        Case::new("refreshed", "an access token of an hour that Vault has no newer one for", &[("cms.top", Put::Text(TOP))]).same(Served),
    ]).with(&[("CREDMON_OAUTH_TOKEN_REFRESH", "1"), ("CREDMON_OAUTH_TOKEN_MINIMUM", "40")]),
    Group::new("not-a-number", "`CREDMON_OAUTH_TOKEN_MINIMUM = abc`", &[
        Case::new("minimum-abc", "a good `.top`", &[("cms.top", Put::Text(TOP))]).same(Served),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "abc")]),
    Group::new("product", "`CREDMON_OAUTH_TOKEN_MINIMUM = 20 * 60`", &[
        Case::new("minimum-product", "a good `.top`", &[("cms.top", Put::Text(TOP))]).same(Served),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "20 * 60")]),
    Group::new("zero", "`CREDMON_OAUTH_TOKEN_REFRESH = 0`", &[
        Case::new("refresh-zero", "`.use` is newer than `.top` and lives an hour", BOTH).same(Kept),
    ]).with(&[("CREDMON_OAUTH_TOKEN_REFRESH", "0")]),
];
