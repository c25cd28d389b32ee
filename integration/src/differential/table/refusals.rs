//! What the server refuses, and what goes wrong there.

use super::TOP;
use crate::differential::case::Outcome::{Deleted, Kept, NotServed, Served};
use crate::differential::case::{Case, Differs, Group, Put};

pub(super) const GROUPS: &[Group] = &[
    Group::new("refusals", "Requests that are refused", &[
        Case::new("dead", "403, the vault token is dead; an access token is in place", &[
            ("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(r#"{"vault_token":"$DEAD","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod/dead.$SIDE:default"}"#)),
        ]).same(Kept),
        Case::new("dead-first", "403, the vault token is dead; no access token yet", &[
            ("cms.top", Put::Text(r#"{"vault_token":"$DEAD","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod/dead-first.$SIDE:default"}"#)),
        ]).same(NotServed),
        Case::new("policy", "403, the vault token lives and the policy refuses", &[
            ("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/crabtw:crab"))),
        ]).same(Kept),
        Case::new("not-onboarded", "404, Vault has no refresh token", &[
            ("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/robot:default"))),
        ]).same(Kept),
        Case::new("no-such-mount", "404, no such path at Vault", &[
            ("cms.top", Put::Text(top!("nothing/cms/cmsprod:default"))),
        ]).same(NotServed),
    ]),
    Group::new("short-life", "`CREDMON_OAUTH_TOKEN_MINIMUM = 7200`, while the issuer's tokens live 3600 s", &[
        Case::new("first-short", "400 `token expired`; no access token yet", &[("cms.top", Put::Text(TOP))]).same(NotServed),
        Case::new("again-short", "400 `token expired`; an access token is in place", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(TOP))]).same(Kept),
    ]).with(&[("CREDMON_OAUTH_TOKEN_MINIMUM", "7200")]),
    Group::new("limited", "429, the rate limit", &[
        Case::new("rate-limit", "three passes, the second and third by SIGHUP", &[("cms.use", Put::AccessToken(600)), ("cms.top", Put::Text(top!("creds/cms/cmsprod/rate-limit.$SIDE:default")))]).same(Kept),
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
        Case::new("ca-missing", "the system's authorities would do", &[("cms.top", Put::Text(TOP))]).same(NotServed),
    ]).with(&[("AUTH_SSL_CLIENT_CAFILE", "/etc/nowhere.pem")]),
    Group::new("other-ca", "`AUTH_SSL_CLIENT_CAFILE` holds another authority", &[
        Case::new("ca-other", "the server's certificate is not trusted", &[("cms.top", Put::Text(TOP))]).same(NotServed),
    ]).with(&[("AUTH_SSL_CLIENT_CAFILE", "/etc/condor/test/host.crt")]),
    Group::new("ca-file", "`AUTH_SSL_CLIENT_CAFILE` holds the authority, `AUTH_SSL_CLIENT_CADIR` is not there", &[
        Case::new("ca-right", "the server's certificate is trusted", &[("cms.top", Put::Text(TOP))]).same(Served),
    ]).with(&[("AUTH_SSL_CLIENT_CAFILE", "/etc/condor/test/ca.pem"), ("AUTH_SSL_CLIENT_CADIR", "/etc/nowhere")]),
];
