//! Names of services and accounts.

use super::{FETCHED, TOP};
use crate::differential::case::Outcome::{NotServed, Served};
use crate::differential::case::{Case, Differs, Group, Put};

const fn named(
    name: &'static str,
    words: &'static str,
    file: &'static [(&'static str, Put)],
) -> Case {
    Case::new(name, words, file)
}

pub(super) const GROUPS: &[Group] = &[
    Group::new(
        "names",
        "Names of services and accounts",
        &[
            named("provider", "`cms.top`", &[("cms.top", Put::Text(TOP))]).same(Served),
            named(
                "provider-handle",
                "`cms_crab.top` with a token of its own",
                &[("cms_crab.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "two-underscores",
                "`cms_crab_read.top` with a token of its own",
                &[("cms_crab_read.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "trailing-underscore",
                "`cms_.top`",
                &[("cms_.top", Put::Text(TOP))],
            )
            .same(NotServed),
            named(
                "leading-underscore",
                "`_cms.top`",
                &[("_cms.top", Put::Text(TOP))],
            )
            .same(NotServed),
            named(
                "special-characters",
                "`a.b+c=d-e.top`",
                &[("a.b+c=d-e.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "capitals",
                "`CMS_Crab.top`",
                &[("CMS_Crab.top", Put::Text(TOP))],
            )
            .same(Served),
            named("digits", "`4.top`", &[("4.top", Put::Text(TOP))]).same(Served),
            named(
                "several",
                "`cms.top`, `cms_crab.top` and `dune.top` of one account",
                &[
                    ("cms.top", Put::Text(TOP)),
                    ("cms_crab.top", Put::Text(TOP)),
                    ("dune.top", Put::Text(TOP)),
                ],
            )
            .same(Served),
            named(
                "not-a-service-name",
                "`a b.top`, which the credd would not write",
                &[("a b.top", Put::Text(TOP))],
            )
            .differs(Differs { theirs: Served, ours: NotServed, only_theirs: &["a b.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","a b.use new, 0400 root:condor","asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200",], only_ours: &[], why: "HTCondor gives no such names; a name never changes a path or a log line of ours." }),
            named("hidden-file", "`.cms.top`", &[(".cms.top", Put::Text(TOP))]).same(NotServed),
            named(
                "other-ending",
                "`cms.top.old`",
                &[("cms.top.old", Put::Text(TOP))],
            )
            .same(NotServed),
            named(
                "scitokens",
                "`scitokens.top`, the schedd's own issuer",
                &[("scitokens.top", Put::Text(TOP))],
            )
            .same(NotServed),
            named(
                "scitokens-handle",
                "`scitokens_read.top`",
                &[("scitokens_read.top", Put::Text(TOP))],
            )
            .same(NotServed),
            named(
                "user.with-odd+name@host",
                "an account with other characters in its name",
                &[("cms.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                ".hidden",
                "an account's folder whose name begins with a dot",
                &[("cms.top", Put::Text(TOP))],
            )
            .same(NotServed),
            named(
                "linked",
                "the account's folder is a symbolic link",
                &[
                    ("", Put::Nothing),
                    ("../.linked-to", Put::Folder(0o2700, "condor:condor")),
                    ("../.linked-to/cms.top", Put::Text(TOP)),
                    ("", Put::Link(".linked-to")),
                ],
            )
            .differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "A symbolic link could lead to any folder; the credd makes none." }),
        ],
    ),
    Group::new(
        "special",
        "Names with `CREDMON_ALLOW_SPECIAL_CHAR_NAMES = true`",
        &[
            named(
                "special-underscore",
                "`cms_crab.top`",
                &[("cms_crab.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "special-trailing",
                "`cms_.top`",
                &[("cms_.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "special-scitokens",
                "`scitokens.top`",
                &[("scitokens.top", Put::Text(TOP))],
            )
            .same(NotServed),
            named(
                "special-leading-underscore",
                "`_cms.top`",
                &[("_cms.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "special-scitokens-handle",
                "`scitokens_read.top`: another provider now",
                &[("scitokens_read.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "special-listed",
                "`box_read.top`, with `box` in another monitor's list",
                &[("box_read.top", Put::Text(TOP))],
            )
            .same(Served),
            named(
                "special-listed-whole",
                "`my_box.top`, which is in another monitor's list",
                &[("my_box.top", Put::Text(TOP))],
            )
            .same(NotServed),
        ],
    )
    .with(&[
        ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", "true"),
        ("OAUTH2_CREDMON_PROVIDER_NAMES", "box my_box"),
    ]),
];
