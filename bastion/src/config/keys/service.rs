//! Keys of the sections about the Vault, about lives of tokens, and about the service itself.

use super::{Form, Key, Kind, key};

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
