//! What a credd's refusals mean, and what to do about each: a table.
//!
//! The texts are what `condor_store_cred -d` of HTCondor 25.14.1 and 23.9.6 printed, against credds of
//! both; `docs/schedds.md` says which were seen.

use crate::delivery::Method;
use crate::problem::Kind;

/// What a credd says to whoever asks in the name of another, and is no super-user.
pub(super) const NOT_ALLOWED: &str = "because it is not allowed";

/// Stands in advice for issuer and subject of the access token that was shown to the credd.
pub(super) const BEARER: &str = "ISSUER,SUBJECT";

/// One sort of refusal.
pub(super) struct Rule {
    /// Any of these in a line of the tool's.
    pub(super) parts: &'static [&'static str],
    /// Only with this method; with any when `None`.
    pub(super) method: Option<Method>,
    pub(super) kind: Kind,
    /// `{account}`, `{method}` and `{vault}` are filled in.
    pub(super) advice: &'static str,
}

/// The first that fits counts: what is more special comes first.
pub(super) const RULES: &[Rule] = &[
    Rule {
        parts: &["untrusted host"],
        method: None,
        kind: Kind::CreddRefused,
        advice: "add {vault} to TRUSTED_VAULT_HOSTS in the schedd's configuration",
    },
    Rule {
        parts: &["because of a configuration error"],
        method: None,
        kind: Kind::CreddRefused,
        advice: "the schedd's credential directory is missing or not set: check SEC_CREDENTIAL_DIRECTORY_OAUTH there \
                 (mode 2770, root:condor)",
    },
    Rule {
        parts: &[NOT_ALLOWED],
        method: None,
        kind: Kind::CreddRefused,
        advice: "who is told in CredLog at the schedd may not store for {account}: add that name, without a domain, to \
                 CRED_SUPER_USERS there, or remove `superuser_for` here",
    },
    Rule {
        parts: &["Received \"DENIED\""],
        method: Some(Method::Scitokens),
        kind: Kind::CreddRefused,
        advice: "the access token needs a scope that may write: condor:/WRITE, or compute.create \
                 with compute.modify, compute.cancel and compute.read; name a credential that has it in `authorize_with`; \
                 else the credd's ALLOW_WRITE leaves this host or account out",
    },
    Rule {
        parts: &["Received \"DENIED\""],
        method: None,
        kind: Kind::CreddRefused,
        advice: "check the credd's ALLOW_WRITE: it leaves this host or user out",
    },
    Rule {
        parts: &["Can't find address", "communication error"],
        method: None,
        kind: Kind::CreddDown,
        advice: "check the host's name, that its credd runs, and the collector; it is tried again",
    },
    Rule {
        parts: &["attempt to connect to", "Failed to connect to"],
        method: None,
        kind: Kind::CreddDown,
        advice: "check that the credd runs and the network; it is tried again",
    },
    Rule {
        parts: &[
            "certificate verify failed",
            "self-signed certificate",
            "Error loading CA file",
        ],
        method: None,
        kind: Kind::CreddRefused,
        advice: "the credd's host certificate is not trusted here: set AUTH_SSL_CLIENT_CAFILE or \
                 AUTH_SSL_CLIENT_CADIR in this host's HTCondor configuration",
    },
    Rule {
        parts: &["Server has rejected our token"],
        method: None,
        kind: Kind::CreddRefused,
        advice: "see the CredLog at the schedd: where it says nothing behind `using SCITOKENS` the map file lacks a line \
                 `SCITOKENS ISSUER,SUBJECT {account}`; where it says `SCITOKENS:2` and that it cannot connect, that a certificate is \
                 not OK, or `negative cache`, the credd cannot get the issuer's keys: mend network or trust there, then wait 10 minutes \
                 or remove /run/condor/cache/scitokens and restart the credd; else SCITOKENS_SERVER_AUDIENCE must allow the token's audience",
    },
    Rule {
        parts: &["No auth methods"],
        method: None,
        kind: Kind::CreddRefused,
        advice: "the credd does not offer {method}: add it to SEC_DEFAULT_AUTHENTICATION_METHODS at the schedd",
    },
    Rule {
        parts: &["No token found"],
        method: Some(Method::Idtokens),
        kind: Kind::Transport,
        advice: "put an IDTOKEN of the schedd's pool into SEC_TOKEN_DIRECTORY on this host (`condor_token_create` there)",
    },
    Rule {
        parts: &["AUTH_ERROR", "No credentials cache"],
        method: Some(Method::Kerberos),
        kind: Kind::Transport,
        advice: "check the account's keytab, and that the realm knows the schedd's principal host/NAME",
    },
    Rule {
        parts: &["post-auth ClassAd"],
        method: None,
        kind: Kind::CreddRefused,
        advice: "the credd knows nobody by this host's {method}: its map file needs a line for it",
    },
    Rule {
        parts: &["doesn't match expected prefix"],
        method: Some(Method::Fs),
        kind: Kind::CreddRefused,
        advice: "the HTCondor there is older than the one here, which wants the server's address in the folder's name: use \
                 the same version, or set SEC_FS_ENFORCE_CHANNEL_BINDING = False in this host's HTCondor configuration",
    },
    Rule {
        parts: &["Failed to authenticate"],
        method: Some(Method::Fs),
        kind: Kind::CreddRefused,
        advice: "`authenticate: fs` works on the credd's own machine alone, with the same /tmp: a unit with PrivateTmp has \
                 another one",
    },
    Rule {
        parts: &["required authentication with collector"],
        method: None,
        kind: Kind::CreddRefused,
        advice: "the collector, which is asked where the credd is, does not take {method} from this host: add it to \
                 SEC_DEFAULT_AUTHENTICATION_METHODS there, or name the credd by its address <IP:PORT?sock=…>",
    },
    Rule {
        parts: &["Failed to authenticate"],
        method: None,
        kind: Kind::CreddRefused,
        advice: "check at the schedd that {method} is among SEC_DEFAULT_AUTHENTICATION_METHODS and that its map file \
                 knows {account}",
    },
    Rule {
        parts: &["SECMAN:2011", "SECMAN:2007"],
        method: None,
        kind: Kind::CreddDown,
        advice: "the address is not that of a credd, or it restarts; it is tried again",
    },
    Rule {
        parts: &["Unable to contact"],
        method: None,
        kind: Kind::CreddDown,
        advice: "check the host's name, that its credd runs, and `collector`; it is tried again",
    },
];
