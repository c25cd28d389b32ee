//! Which providers belong to which monitor.

use super::{FETCHED, TOP};
use crate::differential::case::Outcome::{NotServed, Served};
use crate::differential::case::{Case, Differs, Group, Put, Reference};

const CMS: &[(&str, Put)] = &[("cms.top", Put::Text(TOP))];
const CMS_CRAB: &[(&str, Put)] = &[("cms_crab.top", Put::Text(TOP))];
const DUNE: &[(&str, Put)] = &[("dune.top", Put::Text(TOP))];
const BOX: &[(&str, Put)] = &[("box.top", Put::Text(TOP))];
const GITHUB: &[(&str, Put)] = &[("github.top", Put::Text(TOP))];
const SCITOKENS: &[(&str, Put)] = &[("scitokens.top", Put::Text(TOP))];

pub(super) const GROUPS: &[Group] = &[
    Group::new("lists", "Providers of other monitors", &[
        Case::new("in-local", "in `LOCAL_CREDMON_PROVIDER_NAMES`", &[("locals.top", Put::Text(TOP))]).same(NotServed),
        Case::new("is-local", "is `LOCAL_CREDMON_PROVIDER_NAME`", &[("onlylocal.top", Put::Text(TOP))]).same(NotServed),
        Case::new("in-oauth2", "in `OAUTH2_CREDMON_PROVIDER_NAMES`, between commas and blanks", BOX).same(NotServed),
        Case::new("in-oauth2-handle", "a handle of it: `box_read.top`", &[("box_read.top", Put::Text(TOP))]).same(NotServed),
        Case::new("in-client", "in `CLIENT_CREDMON_PROVIDER_NAMES`", &[("clients.top", Put::Text(TOP))]).same(NotServed),
        Case::new("in-pelican", "in `PELICAN_CREDMON_PROVIDER_NAMES`", &[("pelicans.top", Put::Text(TOP))]).same(NotServed),
        Case::new("client-id", "`github_CLIENT_ID` is set", GITHUB).same(NotServed),
        Case::new("client-id-handle", "a handle of it: `github_x.top`", &[("github_x.top", Put::Text(TOP))]).same(NotServed),
        Case::new("client-id-capitals", "`GITLAB_CLIENT_ID` is set, the service is `gitlab`", &[("gitlab.top", Put::Text(TOP))]).same(NotServed),
        Case::new("client-id-empty", "`empty_CLIENT_ID` is set to nothing", &[("empty.top", Put::Text(TOP))]).same(Served),
        Case::new("listed-whole", "`cms_prod`, as a whole, in `OAUTH2_CREDMON_PROVIDER_NAMES`", &[("cms_prod.top", Put::Text(TOP))]).differs(Differs { theirs: Served, ours: NotServed, only_theirs: &["asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200","cms_prod.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms_prod.use new, 0400 root:condor",], only_ours: &[], why: "Sites list names such as `cms_prod` as a whole; ours takes the list at its word, theirs compares `cms` alone." }),
        Case::new("star", "not listed, while another list holds `*`", CMS).same(Served),
    ]).with(&[
        ("LOCAL_CREDMON_PROVIDER_NAMES", "locals"), ("LOCAL_CREDMON_PROVIDER_NAME", "onlylocal"),
        ("OAUTH2_CREDMON_PROVIDER_NAMES", "* drive, box cms_prod"), ("CLIENT_CREDMON_PROVIDER_NAMES", "clients"),
        ("PELICAN_CREDMON_PROVIDER_NAMES", "pelicans"), ("github_CLIENT_ID", "x"), ("GITLAB_CLIENT_ID", "x"),
        ("empty_CLIENT_ID", ""),
    ]),
    Group::new("ours-ignored", "`VAULT_CREDMON_PROVIDER_NAMES = dune`, against `condor_credmon_vault`", &[
        Case::new("listed", "`dune.top`", DUNE).same(Served),
        Case::new("not-listed", "`cms.top`", CMS).differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "`condor_credmon_vault` does not read the setting; `condor_credmon_oauth` does, and so does ours." }),
    ]).with(&[("VAULT_CREDMON_PROVIDER_NAMES", "dune")]),
    Group::new("ours-listed", "`VAULT_CREDMON_PROVIDER_NAMES = dune, scitokens box github`, against `condor_credmon_oauth`", &[
        Case::new("several-listed", "`dune.top`", DUNE).same(Served),
        Case::new("several-handle", "`dune_pro.top`", &[("dune_pro.top", Put::Text(TOP))]).same(Served),
        Case::new("several-not-listed", "`cms.top`", CMS).same(NotServed),
        Case::new("several-client-id", "`github.top`, which has a `github_CLIENT_ID` too", GITHUB).same(Served),
        Case::new("several-oauth2", "`box.top`, which is in `OAUTH2_CREDMON_PROVIDER_NAMES` too", BOX).same(Served),
        Case::new("several-scitokens", "`scitokens.top`, named explicitly", SCITOKENS).same(Served),
    ]).with(&[
        ("VAULT_CREDMON_PROVIDER_NAMES", "dune, scitokens box github"), ("OAUTH2_CREDMON_PROVIDER_NAMES", "box"),
        ("LOCAL_CREDMON_PROVIDER_NAMES", "nothing"), ("github_CLIENT_ID", "x"),
    ]).against(Reference::Several),
    Group::new("ours-star", "`VAULT_CREDMON_PROVIDER_NAMES = *`, against `condor_credmon_oauth`", &[
        Case::new("star-any", "`cms_crab.top`", CMS_CRAB).same(Served),
        Case::new("star-other", "`box.top`, which is in `OAUTH2_CREDMON_PROVIDER_NAMES`", BOX).same(NotServed),
    ]).with(&[("VAULT_CREDMON_PROVIDER_NAMES", "*"), ("OAUTH2_CREDMON_PROVIDER_NAMES", "box")]).against(Reference::Several),
    Group::new("ours-underscore-special", "`VAULT_CREDMON_PROVIDER_NAMES = cms_crab` with `CREDMON_ALLOW_SPECIAL_CHAR_NAMES = true`, against `condor_credmon_oauth`", &[
        Case::new("whole-listed", "`cms_crab.top`", CMS_CRAB).same(Served),
        Case::new("whole-not-listed", "`cms.top`", CMS).same(NotServed),
    ]).with(&[("VAULT_CREDMON_PROVIDER_NAMES", "cms_crab"), ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", "true")]).against(Reference::Several),
];
