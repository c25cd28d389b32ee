//! Handles and their parents, scopes and audience.

use super::TOP;
use crate::differential::case::Outcome::{Kept, NotServed, Served};
use crate::differential::case::{Case, Differs, Group, Put};

pub(super) const GROUPS: &[Group] = &[
    Group::new(
        "handles",
        "Handles and their parents",
        &[
            Case::new(
                "borrows",
                "`cms_read.top` has no token and takes that of `cms.top`",
                &[
                    ("cms.top", Put::Text(TOP)),
                    (
                        "cms_read.top",
                        Put::Text(child!("creds/cms/cmsprod:default")),
                    ),
                ],
            )
            .same(Served),
            Case::new(
                "borrows-deep",
                "`cms_crab_read.top` takes the token of `cms_crab.top`",
                &[
                    ("cms_crab.top", Put::Text(TOP)),
                    (
                        "cms_crab_read.top",
                        Put::Text(child!("creds/cms/cmsprod:default")),
                    ),
                ],
            )
            .same(Served),
            Case::new(
                "no-grandparent",
                "`cms_crab_read.top` without token; only `cms.top` is there",
                &[
                    ("cms.top", Put::Text(TOP)),
                    (
                        "cms_crab_read.top",
                        Put::Text(child!("creds/cms/cmsprod:default")),
                    ),
                ],
            )
            .differs(Differs { theirs: Served, ours: Served, only_theirs: &["cms_crab_read.top gone",], only_ours: &["cms_crab_read.top as it was, 0600 root:condor",], why: "Nothing that a user stored is deleted; with the parent it is served again." }),
            Case::new(
                "parent-gone",
                "`cms_read.top` without token; `cms.top` is gone",
                &[
                    (
                        "cms_read.top",
                        Put::Text(child!("creds/cms/cmsprod:default")),
                    ),
                    ("cms_read.use", Put::AccessToken(600)),
                ],
            )
            .same(Kept),
            Case::new(
                "parent-without-url",
                "`cms.top` has a token and no URL",
                &[
                    ("cms.top", Put::Text(r#"{"vault_token":"$TOKEN"}"#)),
                    (
                        "cms_read.top",
                        Put::Text(child!("creds/cms/cmsprod:default")),
                    ),
                ],
            )
            .differs(Differs { theirs: Served, ours: NotServed, only_theirs: &["asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200","cms_read.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms_read.use new, 0400 root:condor",], only_ours: &[], why: "A vault token is sent only to the server that its own `.top` names; a parent that names none lends none." }),
            Case::new(
                "parent-without-token",
                "neither has a token",
                &[
                    ("cms.top", Put::Text(child!("creds/cms/cmsprod:default"))),
                    (
                        "cms_read.top",
                        Put::Text(child!("creds/cms/cmsprod:default")),
                    ),
                ],
            )
            .same(NotServed),
            Case::new(
                "parent-broken",
                "`cms.top` is no JSON",
                &[
                    ("cms.top", Put::Text("{")),
                    (
                        "cms_read.top",
                        Put::Text(child!("creds/cms/cmsprod:default")),
                    ),
                ],
            )
            .same(NotServed),
        ],
    ),
    Group::new(
        "scopes",
        "Scopes and audience",
        &[
            Case::new(
                "creds-scopes",
                "`creds/` URL with `scopes`",
                &[(
                    "cms.top",
                    Put::Text(top!(
                        "creds/cms/cmsprod:default",
                        r#""scopes":"storage.read:/ openid""#
                    )),
                )],
            )
            .same(Served),
            Case::new(
                "creds-audience",
                "`creds/` URL with `audience`",
                &[(
                    "cms.top",
                    Put::Text(top!(
                        "creds/cms/cmsprod:default",
                        r#""audience":"https://dav.test""#
                    )),
                )],
            )
            .same(Served),
            Case::new(
                "sts-scopes",
                "`sts/` URL with `scopes`",
                &[(
                    "cms_r.top",
                    Put::Text(top!(
                        "sts/cms/cmsprod:default",
                        r#""scopes":"storage.read:/""#
                    )),
                )],
            )
            .same(Served),
            Case::new(
                "sts-audience",
                "`sts/` URL with `audience`",
                &[(
                    "cms_r.top",
                    Put::Text(top!(
                        "sts/cms/cmsprod:default",
                        r#""audience":"https://dav.test""#
                    )),
                )],
            )
            .same(Served),
            Case::new(
                "sts-both",
                "`sts/` URL with scopes between commas, and two audiences",
                &[(
                    "cms_r.top",
                    Put::Text(top!(
                        "sts/cms/cmsprod:default",
                        r#""scopes":"storage.read:/,openid""#,
                        r#""audience":"https://a.test,https://b.test""#
                    )),
                )],
            )
            .same(Served),
            Case::new(
                "sts-alone",
                "`sts/` URL with neither",
                &[("cms_r.top", Put::Text(top!("sts/cms/cmsprod:default")))],
            )
            .same(Served),
            Case::new(
                "sts-not-allowed",
                "`sts/` URL with a scope that the role has not",
                &[(
                    "cms_r.top",
                    Put::Text(top!(
                        "sts/cms/cmsprod:default",
                        r#""scopes":"storage.write:/everything""#
                    )),
                )],
            )
            .same(NotServed),
            Case::new(
                "child-scopes",
                "a handle with scopes and the parent's token",
                &[
                    ("cms.top", Put::Text(TOP)),
                    (
                        "cms_r.top",
                        Put::Text(child!(
                            "sts/cms/cmsprod:default",
                            r#""scopes":"storage.read:/""#
                        )),
                    ),
                ],
            )
            .same(Served),
            Case::new(
                "empty-scopes",
                "`scopes` and `audience` are empty",
                &[(
                    "cms.top",
                    Put::Text(top!(
                        "creds/cms/cmsprod:default",
                        r#""scopes":"""#,
                        r#""audience":"""#
                    )),
                )],
            )
            .differs(Differs { theirs: Served, ours: Served, only_theirs: &["asks creds/cms/cmsprod:default?audience=&minimum_seconds=2400&scopes= → 200",], only_ours: &["asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200",], why: "An empty parameter says nothing." }),
            Case::new(
                "list-of-scopes",
                "`scopes` is a list",
                &[(
                    "cms.top",
                    Put::Text(top!(
                        "creds/cms/cmsprod:default",
                        r#""scopes":["storage.read:/"]"#
                    )),
                )],
            )
            .differs(Differs { theirs: Served, ours: NotServed, only_theirs: &["asks creds/cms/cmsprod:default?minimum_seconds=2400&scopes=['storage.read:/'] → 200","cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms.use new, 0400 root:condor",], only_ours: &[], why: "Theirs sends Python's way of printing a list, which means nothing to an issuer." }),
        ],
    ),
];
