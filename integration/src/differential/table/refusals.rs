//! What the server refuses, and what goes wrong there.

use super::{FETCHED, TOP};
use crate::conformance::cases::State;
use crate::differential::case::Outcome::{Deleted, Kept, NotServed, Served};
use crate::differential::case::{Case, Differs, Group, Put};

/// What one side alone has when it alone asks for less.
const FETCHED_LESS: &[&str] = &[
    "asks creds/cms/cmsprod:default?minimum_seconds=10 → 200",
    "cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes",
    "cms.use new, 0400 root:condor",
];

const BRIDGED: &str = "Vault's last access token carries jobs on for as long as it lives.";

pub(super) const GROUPS: &[Group] = &[
    Group::new("refusals", "Requests that are refused", &[
        Case::new("dead", "403, the vault token is dead; an access token is in place", &[
            ("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(r#"{"vault_token":"$DEAD","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod/dead.$SIDE:default"}"#)),
        ]).differs(Differs { theirs: Deleted, ours: Kept, only_theirs: &["cms.top gone","cms.use gone",], only_ours: &["cms.top as it was, 0600 root:condor","cms.use as it was, 0400 root:condor",], why: "A refusal takes no token away: without `.use` running jobs are evicted and held, with one that lives they may end well. What was stored stays until it is replaced." }),
        Case::new("dead-first", "403, the vault token is dead; no access token yet", &[
            ("cms.top", Put::Text(r#"{"vault_token":"$DEAD","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod/dead-first.$SIDE:default"}"#)),
        ]).differs(Differs { theirs: Deleted, ours: NotServed, only_theirs: &["cms.top gone",], only_ours: &["cms.top as it was, 0600 root:condor",], why: "What was stored stays until it is replaced, so that `status` can say what is wrong with it." }),
        Case::new("policy", "403, the vault token lives and the policy refuses", &[
            ("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/crabtw:crab"))),
        ]).differs(Differs { theirs: Deleted, ours: Kept, only_theirs: &["cms.top gone","cms.use gone",], only_ours: &["cms.top as it was, 0600 root:condor","cms.use as it was, 0400 root:condor",], why: "The vault token lives: the policy is at fault, which an admin mends. Theirs throws the credential away and all running jobs of the account out." }),
        Case::new("not-onboarded", "404, Vault has no refresh token", &[
            ("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/robot:default"))),
        ]).same(Kept),
        Case::new("no-such-mount", "404, no such path at Vault", &[
            ("cms.top", Put::Text(top!("nothing/cms/cmsprod:default"))),
        ]).differs(Differs { theirs: Deleted, ours: NotServed, only_theirs: &["cms.top gone",], only_ours: &["cms.top as it was, 0600 root:condor",], why: "The vault token lives: path or policy is at fault, which an admin mends." }),
    ]),
    Group::new("short-life", "`CREDMON_OAUTH_TOKEN_MINIMUM = 7200`, while the issuer's tokens live 3600 s", &[
        Case::new("first-short", "400 `token expired`; no access token yet", &[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: &["asks creds/cms/cmsprod:default?minimum_seconds=10 → 200","cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms.use new, 0400 root:condor",], why: "When Vault has no token with MINIMUM left, a shorter one is better than none." }),
        Case::new("again-short", "400 `token expired`; an access token is in place", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(TOP))]).differs(Differs { theirs: Kept, ours: Served, only_theirs: &["cms.use as it was, 0400 root:condor",], only_ours: &["asks creds/cms/cmsprod:default?minimum_seconds=10 → 200","cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes","cms.use new, 0400 root:condor",], why: "When Vault has no token with MINIMUM left, one that outlives the token in place is better than none: this carries jobs through an outage of the issuer." }),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "7200")]),
    Group::new("issuer-down", "The token issuer is down, and the access token that Vault has lives less than `CREDMON_OAUTH_TOKEN_MINIMUM`", &[
        Case::new("outage-first", "400 `token expired`; no access token yet", &[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED_LESS, why: BRIDGED }),
        Case::new("outage-again", "400 `token expired`; an access token is in place", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(TOP))]).differs(Differs { theirs: Kept, ours: Served, only_theirs: &["cms.use as it was, 0400 root:condor"], only_ours: FETCHED_LESS, why: BRIDGED }),
        Case::new("outage-sts", "500 of `sts/`; an access token is in place", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("sts/cms/cmsprod:default", r#""scopes":"storage.read:/""#)))]).same(Kept),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "3599")]).aged().amid(State::IssuerDown),
    Group::new("refresh-refused", "The token issuer refuses the refresh token, and the access token that Vault has lives less than `CREDMON_OAUTH_TOKEN_MINIMUM`", &[
        Case::new("refused-first", "400 `refresh failed`; no access token yet", &[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED_LESS, why: BRIDGED }),
        Case::new("refused-again", "400 `refresh failed`; an access token is in place", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(TOP))]).differs(Differs { theirs: Kept, ours: Served, only_theirs: &["cms.use as it was, 0400 root:condor"], only_ours: FETCHED_LESS, why: BRIDGED }),
        Case::new("refused-sts", "`sts/`: Vault exchanges the access token that it has", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("sts/cms/cmsprod:default", r#""scopes":"storage.read:/""#)))]).same(Served),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "3599")]).aged().amid(State::RefreshRefused),
    Group::new("limited", "429, the rate limit", &[
        Case::new("rate-limit", "three passes, the second and third by SIGHUP", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/rate-limit.$SIDE:default")))]).differs(Differs { theirs: Kept, ours: Kept, only_theirs: &["asks creds/cms/cmsprod/rate-limit:default?minimum_seconds=2400 → 429, 3 times",], only_ours: &["asks creds/cms/cmsprod/rate-limit:default?minimum_seconds=2400 → 429, 1 times",], why: "A limit is not met by more requests: the next request waits for half a minute or longer." }),
    ]).under(&["status=429,path=secret/oauth/creds/cms/cmsprod/rate-limit.$SIDE"]).passing(3),
    Group::new("server-error", "500", &[
        Case::new("error-500", "the server fails", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/error-500.$SIDE:default")))]).same(Kept),
    ]).under(&["status=500,path=secret/oauth/creds/cms/cmsprod/error-500.$SIDE"]),
    Group::new("sealed", "503", &[
        Case::new("error-503", "the server is sealed", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/error-503.$SIDE:default")))]).same(Kept),
    ]).under(&["status=503,path=secret/oauth/creds/cms/cmsprod/error-503.$SIDE"]),
    Group::new("hang", "No answer", &[
        Case::new("hangs", "the server hangs", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/hangs.$SIDE:default")))]).same(Kept),
    ]).under(&["hang,path=secret/oauth/creds/cms/cmsprod/hangs.$SIDE"]),
    Group::new("drop", "The connection breaks", &[
        Case::new("drops", "the server closes the connection", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/drops.$SIDE:default")))]).same(Kept),
    ]).under(&["drop,path=secret/oauth/creds/cms/cmsprod/drops.$SIDE"]),
    Group::new("garbage", "200 with something else than JSON", &[
        Case::new("no-json-answer", "the answer is no JSON", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/no-json-answer.$SIDE:default")))]).same(Kept),
    ]).under(&["garbage,path=secret/oauth/creds/cms/cmsprod/no-json-answer.$SIDE"]),
    Group::new("no-ca", "`AUTH_SSL_CLIENT_CAFILE` is not there", &[
        Case::new("ca-missing", "the system's authorities would do", &[("cms.top", Put::Text(TOP))]).differs(Differs { theirs: NotServed, ours: Served, only_theirs: &[], only_ours: FETCHED, why: "A wrong path stops nothing: it is said in the log, and the system's authorities are used." }),
    ]).with(&[("AUTH_SSL_CLIENT_CAFILE", "/etc/nowhere.pem")]),
    Group::new("other-ca", "`AUTH_SSL_CLIENT_CAFILE` holds another authority", &[
        Case::new("ca-other", "the server's certificate is not trusted", &[("cms.top", Put::Text(TOP))]).same(NotServed),
    ]).with(&[("AUTH_SSL_CLIENT_CAFILE", "/etc/condor/test/host.crt")]),
    Group::new("ca-file", "`AUTH_SSL_CLIENT_CAFILE` holds the authority, `AUTH_SSL_CLIENT_CADIR` is not there", &[
        Case::new("ca-right", "the server's certificate is trusted", &[("cms.top", Put::Text(TOP))]).same(Served),
    ]).with(&[("AUTH_SSL_CLIENT_CAFILE", "/etc/condor/test/ca.pem"), ("AUTH_SSL_CLIENT_CADIR", "/etc/nowhere")]),
];
