//! Keys of what is wanted: schedds, accounts and their credentials.

use super::{Form, GRANT, Key, Kind, TOKENS, key};

pub(crate) static GROUP: &[Key] = &[
    key(
        "directory",
        "A credential directory on this host; needs no HTCondor tools.",
        Kind::Text(Form::Path),
    )
    .like(&[r#""/var/lib/condor/oauth_credentials""#]),
    key(
        "credds",
        "Hosts of the credds, by name or by address (`MyAddress` of the credd's ad).",
        Kind::Texts(Form::Word),
    )
    .like(&[r#"["ap1.example.org", "ap2.example.org"]"#]),
    key(
        "collector",
        "The collector that knows these schedds; without it the one of this host's HTCondor \
         configuration.",
        Kind::Text(Form::Word),
    )
    .like(&[r#""cm.example.org:9618""#]),
    key(
        "constraint",
        "Schedds whose ads satisfy this expression are found through the collector.",
        Kind::Text(Form::Any),
    )
    .like(&[r#""CMSGWMS_Type == \"crabschedd\"""#]),
    key(
        "authenticate",
        "How this host shows the credds who it is: an access token of the account, an IDTOKEN on \
         this host, this host's certificate, a ticket of the account, or being on the same machine.",
        Kind::Choice(METHODS),
    )
    .without(r#""scitokens""#),
    key(
        "superuser_for",
        "Store in the account's name as a super-user of the credd (CRED_SUPER_USERS): the domain \
         of the accounts, as in ACCOUNT@DOMAIN.",
        Kind::Text(Form::Word),
    )
    .like(&[r#""example.org""#]),
];

/// Words for [`crate::delivery::Method`], in its order.
pub(crate) const METHODS: &[&str] = &["scitokens", "idtokens", "ssl", "kerberos", "fs"];

const CHOICE_OF_SCHEDDS: Key = key(
    "schedds",
    "Where to: names of groups, names of schedds, and globs (`*`, `?`, `[a-c]`) over both; `!NAME` \
     takes away.",
    Kind::Texts(Form::Choosing),
)
.like(&[
    r#""tier0""#,
    r#"["crab*", "ap?.example.org", "!ap3.example.org"]"#,
]);

pub(crate) static ACCOUNT: &[Key] = &[
    key(
        "principal",
        "Kerberos principal that logs in; {account} stands for the account's name.",
        Kind::Text(Form::Principal),
    )
    .like(&[
        r#""{account}@EXAMPLE.ORG""#,
        r#""cmsprod/bastion/host.example.org@EXAMPLE.ORG""#,
    ]),
    key(
        "keytab",
        "File with its key; {account} stands for the account's name.",
        Kind::Text(Form::PathTemplate),
    )
    .like(&[r#""/etc/token-bastion/keytabs/{account}.keytab""#]),
    key(
        "credkey",
        "Whose credential it is at Vault; without it the principal without its realm. {account} \
         stands for the account's name.",
        Kind::Text(Form::Word),
    )
    .like(&[r#""cmsprod/bastion/host.example.org""#]),
    key(
        "tokens",
        "How long its vault tokens live.",
        Kind::Section(TOKENS),
    ),
    key(
        "grant",
        "What is known of its refresh tokens.",
        Kind::Section(GRANT),
    ),
    CHOICE_OF_SCHEDDS,
    key(
        "credentials",
        "Its credentials by HTCondor's service name: ISSUER or ISSUER_ROLE, or any other one with \
         `issuer` and `role`.",
        Kind::Named(Form::Service, CREDENTIAL),
    )
    .like(&[r#"{"cms": {}, "cms_production": {"authorize_with": "cms"}}"#]),
];

const SCOPES: Key = key(
    "scopes",
    "Scopes to reduce the jobs' access tokens to, which are then demanded of them; without it the \
     role's own scopes.",
    Kind::Texts(Form::Any),
)
.like(&[r#"["storage.read:/", "storage.create:/store/temp/user"]"#]);

const AUDIENCE: Key = key(
    "audience",
    "Audience to make the jobs' access tokens for, which is then demanded of them.",
    Kind::Texts(Form::Any),
)
.like(&[r#""https://wlcg.cern.ch/jwt/v1/any""#]);

pub(crate) static CREDENTIAL: &[Key] = &[
    key(
        "issuer",
        "Issuer as Vault names it; without it the service name's first part.",
        Kind::Text(Form::Word),
    ),
    key(
        "role",
        "Role at that issuer; without it the service name's second part, or `default`.",
        Kind::Text(Form::Word),
    ),
    SCOPES,
    AUDIENCE,
    key(
        "authorize_with",
        "The credential of the same account whose access token opens the credd; without it this one.",
        Kind::Text(Form::Service),
    ),
    key(
        "tokens",
        "How long its vault tokens live.",
        Kind::Section(TOKENS),
    ),
    key(
        "grant",
        "What is known of its refresh token.",
        Kind::Section(GRANT),
    ),
    CHOICE_OF_SCHEDDS,
    key(
        "at",
        "What is different at some schedds, by a glob over their names or the name of a group; the \
         first that fits counts, alone.",
        Kind::Named(Form::Glob, OVERRIDE),
    )
    .like(&[r#"{"ap?.example.org": {"tokens": {"lifetime": "2d", "renew_below": "1d"}}}"#]),
];

/// What may be different at some schedds.
pub(crate) static OVERRIDE: &[Key] = &[
    SCOPES,
    AUDIENCE,
    key(
        "tokens",
        "How long vault tokens live there.",
        Kind::Section(TOKENS),
    ),
];
