//! A `.top` that is missing or broken; files and folders with other modes and owners.

use super::{FETCHED, TOP};
use crate::differential::case::Outcome::{Deleted, Kept, NotServed, Served};
use crate::differential::case::{Case, Change, Differs, Group, Put};

const GOOD: &[(&str, Put)] = &[("cms.top", Put::Text(TOP))];

macro_rules! url {
    ($url:literal) => {
        &[(
            "cms.top",
            Put::Text(concat!(
                r#"{"vault_token":"$TOKEN","vault_url":""#,
                $url,
                r#""}"#
            )),
        )]
    };
}

pub(super) const GROUPS: &[Group] = &[
    Group::new("broken", "A `.top` that cannot be used", &[
        Case::new("empty", "empty", &[("cms.top", Put::Text(""))]).same(NotServed),
        Case::new("no-json", "not JSON", &[("cms.top", Put::Text("vault_token=$TOKEN"))]).same(NotServed),
        Case::new("half", "JSON that ends in the middle", &[("cms.top", Put::Text(r#"{"vault_token":"$TOKEN","#))]).same(NotServed),
        Case::new("list", "a JSON list", &[("cms.top", Put::Text("[]"))]).same(NotServed),
        Case::new("no-token", "no `vault_token`, and no underscore in the name", &[("cms.top", Put::Text(child!("creds/cms/cmsprod:default")))]).same(NotServed),
        Case::new("no-url", "no `vault_url`", &[("cms.top", Put::Text(r#"{"vault_token":"$TOKEN"}"#))]).same(NotServed),
        Case::new("null-token", "`vault_token` is null", &[("cms.top", Put::Text(r#"{"vault_token":null,"vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod/null-token.$SIDE:default"}"#))]).same(NotServed),
        Case::new("number-token", "`vault_token` is a number", &[("cms.top", Put::Text(r#"{"vault_token":5,"vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod/number-token.$SIDE:default"}"#))]).differs(Differs { theirs: Deleted, ours: NotServed, only_theirs: &["asks creds/cms/cmsprod/number-token:default?minimum_seconds=2400 → 403","cms.top gone",], only_ours: &["cms.top as it was, 0600 root:condor",], why: "What was stored is not deleted; and nothing is asked with what cannot be a token." }),
        Case::new("empty-token", "`vault_token` is empty", &[("cms.top", Put::Text(r#"{"vault_token":"","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod/empty-token.$SIDE:default"}"#))]).differs(Differs { theirs: Deleted, ours: NotServed, only_theirs: &["asks creds/cms/cmsprod/empty-token:default?minimum_seconds=2400 → 403","cms.top gone",], only_ours: &["cms.top as it was, 0600 root:condor",], why: "What was stored is not deleted; and nothing is asked with what cannot be a token." }),
        Case::new("header-token", "`vault_token` holds a new line", &[("cms.top", Put::Text(r#"{"vault_token":"$TOKEN\r\nX-A: b","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default"}"#))]).same(NotServed),
        Case::new("more-fields", "unknown fields besides", &[("cms.top", Put::Text(top!("creds/cms/cmsprod:default", r#""more":{"a":[1]}"#)))]).same(Served),
        Case::new("twice", "`vault_token` is there twice, a dead and a living one", &[("cms.top", Put::Text(top!("creds/cms/cmsprod:default", r#""vault_token":"$TOKEN""#)))]).differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "A `.top` that says two things is refused: nobody knows which is meant." }),
        Case::new("lines", "JSON in several lines, as `condor_vault_storer` writes it", &[("cms.top", Put::Text("{\n  \"vault_token\": \"$TOKEN\",\n  \"vault_url\": \"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default\"\n}\n"))]).same(Served),
        Case::new("large", "70,000 blanks before the JSON", &[("cms.top", Put::Blanks(70_000))]).differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "A `.top` has a few hundred bytes; ours reads 64 KiB at most." }),
        Case::new("is-a-link", "a symbolic link to a good one", &[("good", Put::Text(TOP)), ("cms.top", Put::Link("good"))]).differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "A symbolic link could lead to any file that root reads." }),
        Case::new("is-a-folder", "a folder", &[("cms.top", Put::Folder(0o700, "root:root"))]).same(NotServed),
        Case::new("top-mode", "mode 0644, of another owner", &[("cms.top", Put::Owned(TOP, 0o644, "nobody:nobody"))]).same(Served),
        Case::new("top-mode-0", "mode 0000", &[("cms.top", Put::Owned(TOP, 0, "root:condor"))]).same(Served),
    ]),
    Group::new("urls", "Where `vault_url` leads", &[
        Case::new("http", "`http`", url!("http://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("capitals-https", "`HTTPS` in capitals", url!("HTTPS://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("other-port", "port 8443", url!("https://vault.test:8443/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("no-port", "no port", url!("https://vault.test/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("other-path", "a path below `/v2/`", url!("https://vault.test:8200/v2/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("like-v1", "a path below `/v1x/`", url!("https://vault.test:8200/v1x/like-v1.$SIDE:default")).differs(Differs { theirs: NotServed, ours: NotServed, only_theirs: &["asks /v1x/like-v1:default?minimum_seconds=2400 → 404",], only_ours: &[], why: "Only paths below `/v1/` are Vault's." }),
        Case::new("dots", "a path with `/../`", url!("https://vault.test:8200/v1/sys/../secret/oauth/creds/cms/cmsprod:default")).same(Served),
        Case::new("query", "a query in the URL", url!("https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default?minimum_seconds=1")).differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "A URL with a query is not what a storer writes; theirs drops the query silently." }),
        Case::new("user", "a user in the URL", url!("https://a:b@vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default")).differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "A URL with a user is not what a storer writes; theirs drops the user silently." }),
        Case::new("no-host", "no host", url!("https://:8200/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("unknown-host", "a host that does not exist", url!("https://nowhere.invalid:8200/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("nobody-listens", "a host where nothing listens", url!("https://vault3.test:8200/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
        Case::new("other-name", "a host by a name that its certificate has not", url!("https://127.83.0.1:8200/v1/secret/oauth/creds/cms/cmsprod:default")).same(NotServed),
    ]),
    Group::new("untrusted", "`TRUSTED_VAULT_HOSTS = other.test`", &[
        Case::new("untrusted-host", "a `.top` for `vault.test`, older than the setting", GOOD).differs(Differs { theirs: Served, ours: NotServed, only_theirs: FETCHED, only_ours: &[], why: "The setting holds for what is stored already, too; at theirs only the credd looks at it." }),
    ]).with(&[("TRUSTED_VAULT_HOSTS", "other.test")]),
    Group::new("stops-number", "A `.top` that is the JSON number 5", &[
        Case::new("number", "the `.top` itself", &[("cms.top", Put::Text("5"))]).same(NotServed),
        Case::new("between-numbers", "a good account among such", GOOD).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED, why: "One bad `.top` stops nobody else; in theirs no account that comes after it is served, at any pass." }),
        Case::new("number-too", "another such `.top`", &[("cms.top", Put::Text("5"))]).same(NotServed),
    ]),
    Group::new("stops-url", "A `.top` whose `vault_url` is a number", &[
        Case::new("number-url", "the `.top` itself", &[("cms.top", Put::Text(r#"{"vault_token":"$TOKEN","vault_url":5}"#))]).same(NotServed),
        Case::new("between-urls", "a good account among such", GOOD).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED, why: "One bad `.top` stops nobody else; in theirs no account that comes after it is served, at any pass." }),
        Case::new("number-url-too", "another such `.top`", &[("cms.top", Put::Text(r#"{"vault_token":"$TOKEN","vault_url":5}"#))]).same(NotServed),
    ]),
    Group::new("pipes", "A `.top` that is a named pipe", &[
        Case::new("top-pipe", "the `.top` itself", &[("cms.top", Put::Pipe)]).same(NotServed),
        Case::new("between-pipes", "a good account among such", GOOD).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED, why: "Ours opens nothing that could hold it up; theirs waits for ever for somebody to write, and serves nobody." }),
        Case::new("top-pipe-too", "another such `.top`", &[("cms.top", Put::Pipe)]).same(NotServed),
    ]).theirs_stuck(),
    Group::new("folders", "Modes and owners", &[
        Case::new("folder-0755", "the account's folder has mode 0755, root:root", &[("", Put::Folder(0o755, "root:root")), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("folder-user", "the account's folder is the user's own", &[("", Put::Folder(0o700, "cmsprod:cmsprod")), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("folder-0500", "the account's folder has mode 0500", &[("", Put::Folder(0o2500, "condor:condor")), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("use-0644", "an older `.use` with mode 0644 of another owner", &[("cms.use", Put::Owned("x", 0o644, "nobody:nobody")), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("use-link", "`.use` is a symbolic link to a file elsewhere", &[("elsewhere", Put::Text("x")), ("cms.use", Put::Link("elsewhere")), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("use-pipe", "`.use` is a named pipe", &[("cms.use", Put::Pipe), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("marked", "`<user>.mark`: the account has no more jobs", &[("../marked.mark", Put::Text("")), ("cms.top", Put::Text(TOP))]).same(Served),
        Case::new("nothing", "an empty folder", &[]).same(NotServed),
    ]),
    Group::new("use-folder", "A folder in the place of `.use`", &[
        Case::new("use-is-a-folder", "`cms.use` is a folder", &[("cms.use", Put::Folder(0o700, "root:root")), ("cms.use/x", Put::Text("")), ("cms.top", Put::Text(TOP))]).differs(Differs { theirs: Kept, ours: Kept, only_theirs: &["leaves a temporary file in the credential directory",], only_ours: &[], why: "Nothing is left behind; theirs leaves one more file in the directory at each pass." }),
    ]),
    Group::new("full", "The disk is full", &[
        Case::new("disk-full", "`.top` is replaced, then the disk fills up", GOOD).then(&[("cms.top", Put::Text(TOP)), ("../filler", Put::Filler)]).differs(Differs { theirs: Kept, ours: Kept, only_theirs: &["leaves a temporary file in the credential directory",], only_ours: &[], why: "Nothing is left behind." }),
    ]).on_small_disk().changed(Change::Hangup),
];
