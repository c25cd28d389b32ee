//! Every key of the configuration: its name, what it means, and what may stand there.
//!
//! One table for the strict reader, which refuses what is not in it, and for the schema that
//! editors use. What holds: a key that is not here is in neither.

mod service;
mod wanted;

pub(crate) use self::service::{
    CONTROL, GRANT, KERBEROS, LISTEN, REQUESTS, SCHEDULE, TOKENS, VAULT,
};
pub(crate) use self::wanted::{ACCOUNT, CREDENTIAL, GROUP, METHODS, OVERRIDE};

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

/// Keys that there were, wherever they stood, and what to do instead.
pub(crate) static FORMER: &[(&str, &str)] = &[(
    "release_held",
    "remove it: held jobs are released by HTCondor itself, with a line at the schedd that the manual \
     gives (docs/schedds.md, Held jobs)",
)];

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
