//! Every key of the configuration: its name, what it means, and what may stand there.
//!
//! One table for the strict reader, which refuses what is not in it, and for the schema that
//! editors use. What holds: a key that is not here is in neither.

/// A key of a section.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What it means, for people.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// Values to learn from, as JSON.
    pub(crate) examples: &'static [&'static str],
    /// What holds without the key, as JSON.
    pub(crate) default: Option<&'static str>,
}

/// What may stand at a key.
#[derive(Debug)]
pub(crate) enum Kind {
    /// One text of this form.
    Text(Form),
    /// A text of this form, or a list of such.
    Texts(Form),
    /// One of these words.
    Choice(&'static [&'static str]),
    Flag,
    Count,
    /// Keys with fixed names.
    Section(&'static [Key]),
    /// Names of this form, each with a section.
    Named(Form, &'static [Key]),
}

/// The form of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Form {
    Any,
    /// Whatever is not empty and has no blanks in it.
    Word,
    Duration,
    Cron,
    /// An absolute path.
    Path,
    /// An absolute path in which `{account}` may stand.
    PathTemplate,
    Principal,
    /// Address of a Vault.
    Server,
    /// Address and port of the loopback.
    Loopback,
    Account,
    Service,
    /// Name of a group of schedds.
    Group,
    /// Names or globs, some behind a `!`.
    Choosing,
    Glob,
}

const fn key(name: &'static str, about: &'static str, kind: Kind) -> Key {
    Key {
        name,
        about,
        kind,
        examples: &[],
        default: None,
    }
}

impl Key {
    const fn like(mut self, examples: &'static [&'static str]) -> Self {
        self.examples = examples;
        self
    }

    const fn without(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
}

/// The whole file.
pub(crate) static TOP: &[Key] = &[
    key(
        "vault",
        "The Vault that everything is read from.",
        Kind::Section(VAULT),
    ),
    key(
        "tokens",
        "How long vault tokens live, for whoever says nothing else.",
        Kind::Section(TOKENS),
    ),
    key(
        "grant",
        "What is known of refresh tokens at Vault, for whoever says nothing else.",
        Kind::Section(GRANT),
    ),
    key(
        "kerberos",
        "Kerberos at the Vault.",
        Kind::Section(KERBEROS),
    ),
    key(
        "schedule",
        "When deliveries are looked at, besides what is due.",
        Kind::Section(SCHEDULE),
    ),
    key(
        "defaults",
        "Any key of an account; holds for accounts that do not have it.",
        Kind::Section(ACCOUNT),
    ),
    key(
        "schedds",
        "Groups of schedds by name. A group is a list of hosts (`credds`), a credential directory \
         on this host (`directory`), or is found through a collector.",
        Kind::Named(Form::Group, GROUP),
    ),
    key(
        "accounts",
        "Accounts at the schedds by name, and what each gets where.",
        Kind::Named(Form::Account, ACCOUNT),
    ),
    key(
        "listen",
        "Metrics, health and status by HTTP; not served without this.",
        Kind::Section(LISTEN),
    ),
    key(
        "control",
        "How commands reach the service.",
        Kind::Section(CONTROL),
    ),
    key(
        "state",
        "Directory for what outlives a restart and is no secret, such as the age of grants.",
        Kind::Text(Form::Path),
    )
    .without(r#""/var/lib/token-bastion""#),
];

pub(crate) static VAULT: &[Key] = &[
    key(
        "address",
        "Address of the Vault, all of whose network addresses are tried; or a list of nodes of one \
         cluster, the preferred one first. The first one's name is in stored credentials and in \
         the Kerberos service.",
        Kind::Texts(Form::Server),
    )
    .like(&[
        r#""https://htvault.example.org:8200""#,
        r#"["https://htvault1.example.org:8200", "https://htvault2.example.org:8200"]"#,
    ]),
    key(
        "ca_file",
        "PEM file of certificate authorities to trust, instead of the system's.",
        Kind::Text(Form::Path),
    )
    .like(&[r#""/etc/pki/tls/certs/ca-bundle.crt""#]),
    key(
        "ca_dir",
        "Hashed directory of certificate authorities, trusted besides.",
        Kind::Text(Form::Path),
    )
    .like(&[r#""/etc/grid-security/certificates""#]),
    key(
        "requests",
        "At most this many requests are sent, to stay below the server's quota.",
        Kind::Section(REQUESTS),
    ),
];

pub(crate) static REQUESTS: &[Key] = &[
    key("limit", "Number of requests.", Kind::Count).like(&["300"]),
    key("per", "In this time.", Kind::Text(Form::Duration)).like(&[r#""5m""#]),
];

pub(crate) static TOKENS: &[Key] = &[
    key(
        "lifetime",
        "How long a vault token lives.",
        Kind::Text(Form::Duration),
    )
    .like(&[r#""7d""#, r#""36h""#])
    .without(r#""7d""#),
    key(
        "renew_below",
        "A vault token is replaced when less than this is left: how long an outage may last before \
         a job notices. Shorter than lifetime.",
        Kind::Text(Form::Duration),
    )
    .like(&[r#""3d""#])
    .without(r#""3d""#),
];

pub(crate) static GRANT: &[Key] = &[
    key(
        "lifetime",
        "How long the issuer's refresh token lives after somebody logged in, where that is known.",
        Kind::Text(Form::Duration),
    )
    .like(&[r#""30d""#]),
    key(
        "warn",
        "People are warned when less than this is left of it.",
        Kind::Text(Form::Duration),
    )
    .like(&[r#""2 weeks""#])
    .without(r#""14d""#),
];

pub(crate) static KERBEROS: &[Key] = &[key(
    "service",
    "The Vault's service principal is SERVICE/VAULT-HOST.",
    Kind::Text(Form::Word),
)
.without(r#""host""#)];

pub(crate) static SCHEDULE: &[Key] = &[
    key(
        "check",
        "When every delivery is looked at: five fields as in crontab(5), in local time.",
        Kind::Text(Form::Cron),
    )
    .like(&[r#""*/10 * * * *""#])
    .without(r#""*/10 * * * *""#),
    key(
        "spread",
        "Looks and renewals are spread over this time.",
        Kind::Text(Form::Duration),
    )
    .without(r#""5m""#),
];

pub(crate) static LISTEN: &[Key] = &[key(
    "address",
    "Address of this host's loopback, and port.",
    Kind::Text(Form::Loopback),
)
.like(&[r#""127.0.0.1:9118""#])];

pub(crate) static CONTROL: &[Key] = &[key(
    "socket",
    "The Unix socket for commands.",
    Kind::Text(Form::Path),
)
.without(r#""/run/token-bastion/control""#)];

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
    RELEASE_HELD,
];

/// Words for [`crate::delivery::Method`], in its order.
pub(crate) const METHODS: &[&str] = &["scitokens", "idtokens", "ssl", "kerberos", "fs"];

const RELEASE_HELD: Key = key(
    "release_held",
    "Jobs that are held for want of the account's credentials are released once they are good.",
    Kind::Flag,
)
.without("false");

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
    RELEASE_HELD,
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
    RELEASE_HELD,
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
    RELEASE_HELD,
];
