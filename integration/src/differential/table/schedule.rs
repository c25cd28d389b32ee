//! When an access token is got anew.

use super::{FETCHED, TOP};
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
        Case::new("ended", "`.use` is newer than `.top` and has ended", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::AccessToken(-60))]).differs(Differs { theirs: Kept, ours: Served, only_theirs: &["cms.use as it was, 0400 root:condor",], only_ours: FETCHED, why: "The token itself says when it ends; the file's time does not." }),
        Case::new("nearly", "`.use` is newer than `.top` and lives 60 s more", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::AccessToken(60))]).differs(Differs { theirs: Kept, ours: Served, only_theirs: &["cms.use as it was, 0400 root:condor",], only_ours: &["asks creds/cms/cmsprod:default?minimum_seconds=(more than is left) → 200","cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms.use new, 0400 root:condor",], why: "The token itself says when it ends; the file's time does not." }),
        Case::new("opaque", "`.use` is newer than `.top` and no JWT", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::Text("opaque\n"))]).same(Kept),
        Case::new("empty-use", "`.use` is newer than `.top` and empty", &[("cms.top", Put::Text(TOP)), ("cms.use", Put::Text(""))]).differs(Differs { theirs: Kept, ours: Served, only_theirs: &["cms.use as it was, 0600 root:condor",], only_ours: FETCHED, why: "An empty file is no token." }),
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
        ]).then(&[("cms.top", Put::Nothing), ("cms_r.top", Put::Text(child!("creds/cms/cmsprod:default")))]).differs(Differs { theirs: Kept, ours: Kept, only_theirs: &["cms_r.top gone","cms_r.use gone",], only_ours: &["cms_r.top as it was, 0600 root:condor","cms_r.use as it was, 0400 root:condor",], why: "The token of running jobs stays in place; when the parent is stored again, it is renewed." }),
    ]).changed(Change::Hangup),
    Group::new("untold", "What changes while it runs, without a signal", &[
        Case::new("replaced-untold", "`.top` is replaced, with `.use` in place: the credd sends no signal", BOTH).then(&[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: Kept, ours: Served, only_theirs: &["cms.use as it was, 0400 root:condor",], only_ours: FETCHED, why: "At once, by inotify; theirs looks once a minute, and the credd sends no signal when `.use` is there." }),
        Case::new("taken-untold", "`.use` is taken away", BOTH).then(&[("cms.use", Put::Nothing)]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED, why: "At once, by inotify; theirs looks once a minute." }),
        Case::new("new-untold", "`.top` is stored for the first time", &[]).then(&[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED, why: "At once, by inotify; theirs looks once a minute unless the credd's signal reaches it." }),
    ]).changed(Change::Untold),
    Group::new("refresh", "`CREDMON_OAUTH_TOKEN_REFRESH = 1`, `CREDMON_OAUTH_TOKEN_MINIMUM = 40`", &[
        Case::new("refresh-longer", "an access token in place, 3 s old, that lives longer than the one that Vault has", &[
            ("cms.top", Put::Text(TOP)), ("cms.use", Put::AccessToken(7200)),
        ]).differs(Differs { theirs: Served, ours: Kept, only_theirs: &["cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms.use new, 0400 root:condor",], only_ours: &["cms.use as it was, 0400 root:condor",], why: "A token is replaced only by one that ends later." }),
    ]).with(&[("CREDMON_OAUTH_TOKEN_REFRESH", "1"), ("CREDMON_OAUTH_TOKEN_MINIMUM", "40")]).aged(),
    Group::new("not-a-number", "`CREDMON_OAUTH_TOKEN_MINIMUM = abc`", &[
        Case::new("minimum-abc", "a good `.top`", &[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED, why: "A setting that makes no sense is named in the log and its default is used; theirs serves nobody." }),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "abc")]),
    Group::new("product", "`CREDMON_OAUTH_TOKEN_MINIMUM = 20 * 60`", &[
        Case::new("minimum-product", "a good `.top`", &[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: &["asks creds/cms/cmsprod:default?minimum_seconds=1200 → 200","cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms.use new, 0400 root:condor",], why: "`20 * 60` is understood; theirs serves nobody." }),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "20 * 60")]),
    Group::new("zero", "`CREDMON_OAUTH_TOKEN_REFRESH = 0`", &[
        Case::new("refresh-zero", "`.use` is newer than `.top` and lives an hour", BOTH).differs(Differs { theirs: Served, ours: Kept, only_theirs: FETCHED, only_ours: &["cms.use as it was, 0400 root:condor",], why: "0 would mean a request at every pass for each credential; it is named in the log and the default is used." }),
    ]).with(&[("CREDMON_OAUTH_TOKEN_REFRESH", "0")]),
];
