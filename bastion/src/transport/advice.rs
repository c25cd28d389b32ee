//! What a credd's refusals mean, and what to do about each. Pure.
//!
//! The texts are what `condor_store_cred -d` of HTCondor 25.14.1 and 23.9.6 printed, against credds of
//! both; `docs/schedds.md` says which were seen.

use super::tool::{self, Said};
use crate::delivery::{Delivery, Method, Target};
use crate::problem::Kind;

/// One sort of refusal.
struct Rule {
    /// Any of these in a line of the tool's.
    parts: &'static [&'static str],
    /// Only with this method; with any when `None`.
    method: Option<Method>,
    kind: Kind,
    /// `{account}` and `{vault}` are filled in.
    advice: &'static str,
}

/// Stands in advice for issuer and subject of the access token that was shown to the credd.
pub(super) const BEARER: &str = "ISSUER,SUBJECT";

/// The first that fits counts: what is more special comes first.
const RULES: &[Rule] = &[
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
        parts: &["because it is not allowed"],
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

/// Why a run failed, and what to do.
pub(super) fn failure(said: &Said, delivery: &Delivery) -> (Kind, String) {
    let lines = || said.stderr.lines().chain(said.stdout.lines());
    let method = match &delivery.target {
        Target::Credd { opening, .. } => opening.method,
        Target::Directory(_) => Method::default(),
    };
    let fitting = RULES
        .iter()
        .filter(|rule| rule.method.is_none_or(|wanted| wanted == method));
    let found = fitting.into_iter().find_map(|rule| {
        let says = |line: &&str| rule.parts.iter().any(|part| line.contains(part));
        Some((rule, lines().find(says)?))
    });
    if let Some((rule, line)) = found {
        let vault = delivery.credential.url.server();
        let advice = rule
            .advice
            .replace("{account}", &delivery.id.account)
            .replace("{method}", tool::words(method))
            .replace("{vault}", vault.host());
        return (rule.kind, format!("{}; {advice}", words(line)));
    }
    let last = lines().map(words).rfind(|line| !line.is_empty());
    let what = last.unwrap_or_else(|| "condor_store_cred failed without a word".to_owned());
    let advice = "see the CredLog at the schedd, and the version of HTCondor here and there";
    (Kind::CreddRefused, format!("{what}; {advice}"))
}

/// A line without the time that HTCondor's log puts in front.
pub(super) fn words(line: &str) -> String {
    let dated = |word: &str| {
        word.len() >= 8
            && word
                .bytes()
                .all(|b| b.is_ascii_digit() || b"/:.".contains(&b))
    };
    let words: Vec<&str> = line
        .split_whitespace()
        .skip_while(|word| dated(word))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Opening;
    use crate::fixtures::delivery_to;

    fn delivery(method: Method) -> Delivery {
        delivery_to(Target::Credd {
            host: "ap.test".to_owned(),
            collector: None,
            opening: Opening {
                method,
                domain: None,
            },
        })
    }

    const FAILED: &str =
        "Operation failed.\n    Make sure your ALLOW_WRITE setting includes this host.\n";
    const BEFORE: &str =
        "11/22/26 08:44:09 AUTHENTICATION: setting default map to scitokens@unmapped\n";
    const AFTER: &str = "\n11/22/26 08:44:09 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method\n\
         11/22/26 08:44:09 STORE_CRED: Failed to start STORE_CRED command. Unable to contact credd ap.test\n";

    /// Each as HTCondor 25.14.1 printed it on a real pool.
    #[test]
    fn each_refusal_becomes_advice() {
        use Kind::{CreddDown, CreddRefused, Transport};
        for (method, stderr, kind, what) in [
            (
                Method::Scitokens,
                "11/22/26 08:44:09 SECMAN: FAILED: Received \"DENIED\" from server for user crabtw@ap.test using method SCITOKENS.",
                CreddRefused,
                "SECMAN: FAILED: Received \"DENIED\" from server for user crabtw@ap.test using method SCITOKENS.; the access token needs a scope",
            ),
            (
                Method::Fs,
                "11/22/26 08:44:09 SECMAN: FAILED: Received \"DENIED\" from server for user root@ap.test using method FS.",
                CreddRefused,
                "FS.; check the credd's ALLOW_WRITE",
            ),
            (
                Method::Scitokens,
                "11/22/26 08:44:09 SSL Auth: Server has rejected our token!",
                CreddRefused,
                "`SCITOKENS ISSUER,SUBJECT cmsprod`",
            ),
            (
                Method::Scitokens,
                "11/22/26 08:44:09   err 19:self-signed certificate in certificate chain",
                CreddRefused,
                "AUTH_SSL_CLIENT_CAFILE",
            ),
            (
                Method::Scitokens,
                "11/22/26 11:47:25 Can't find address for credd ap2.test",
                CreddDown,
                "that its credd runs",
            ),
            (
                Method::Scitokens,
                "11/22/26 11:57:11 attempt to connect to <127.83.0.31:9618> failed: Connection refused (connect errno = 111).",
                CreddDown,
                "Connection refused (connect errno = 111).; check",
            ),
            (
                Method::Scitokens,
                "11/22/26 11:47:47 ERROR: SECMAN:2005:Protocol Error: No auth methods.",
                CreddRefused,
                "the credd does not offer SCITOKENS",
            ),
            (
                Method::Scitokens,
                "Credential requires interacting with an untrusted host",
                CreddRefused,
                "add vault.test to TRUSTED_VAULT_HOSTS",
            ),
            (
                Method::Scitokens,
                "Operation failed because of a configuration error",
                CreddRefused,
                "SEC_CREDENTIAL_DIRECTORY_OAUTH",
            ),
            (
                Method::Idtokens,
                "Operation failed because it is not allowed",
                CreddRefused,
                "CRED_SUPER_USERS",
            ),
            (
                Method::Idtokens,
                "11/22/26 11:59:25 TOKEN: No token found.",
                Transport,
                "SEC_TOKEN_DIRECTORY",
            ),
            (
                Method::Kerberos,
                "11/22/26 11:56:15 AUTH_ERROR: Server not found in Kerberos database",
                Transport,
                "host/NAME",
            ),
            (
                Method::Ssl,
                "11/22/26 11:56:15 ERROR: SECMAN:2007:Failed to received post-auth ClassAd",
                CreddRefused,
                "by this host's SSL: its map file needs a line",
            ),
        ] {
            let said = Said {
                success: false,
                stdout: FAILED.to_owned(),
                stderr: format!("{BEFORE}{stderr}{AFTER}"),
            };
            let (found, message) = failure(&said, &delivery(method));
            assert_eq!(found, kind, "{stderr}");
            assert!(message.contains(what), "{message}");
            assert!(!message.contains("08:44"), "{message}");
        }
    }

    /// Each as HTCondor 23.9.6 printed it, or HTCondor 25.14.1 against a credd of 23.9.6.
    #[test]
    fn an_older_htcondor_is_understood() {
        use Kind::{CreddRefused, Transport};
        for (method, stderr, kind, what) in [
            (
                Method::Scitokens,
                "11/22/26 15:21:07 SECMAN: required authentication with credd ap2.test failed, so aborting command STORE_CRED.\n\
                 11/22/26 15:21:07 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method",
                CreddRefused,
                "that SCITOKENS is among SEC_DEFAULT_AUTHENTICATION_METHODS",
            ),
            (
                Method::Ssl,
                "11/22/26 15:21:02 SECMAN: required authentication with collector at <127.83.0.31:9618> failed, so aborting command QUERY_GENERIC_ADS.\n\
                 11/22/26 15:21:02 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method",
                CreddRefused,
                "the collector, which is asked where the credd is, does not take SSL",
            ),
            (
                Method::Fs,
                "11/22/26 15:21:03 AUTHENTICATE_FS: Server-requested directory 'FS_XXXSLXU4T' doesn't match expected prefix 'FS_127.83.0.31_9618_'\n\
                 11/22/26 15:21:03 SECMAN: required authentication with collector ap2.test:9618 failed, so aborting command QUERY_GENERIC_ADS.",
                CreddRefused,
                "SEC_FS_ENFORCE_CHANNEL_BINDING",
            ),
            (
                Method::Fs,
                "11/22/26 15:21:02 SECMAN: required authentication with collector at <127.83.0.31:9618> failed, so aborting command QUERY_GENERIC_ADS.\n\
                 11/22/26 15:21:02 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method|AUTHENTICATE:1004:Failed to authenticate using FS",
                CreddRefused,
                "works on the credd's own machine alone",
            ),
            (
                Method::Kerberos,
                "11/22/26 15:21:02 KERBEROS: No credentials cache found\n\
                 11/22/26 15:21:02 SECMAN: required authentication with collector at <127.83.0.31:9618> failed, so aborting command QUERY_GENERIC_ADS.",
                Transport,
                "check the account's keytab",
            ),
            (
                Method::Scitokens,
                "11/22/26 15:22:56   err 19:self-signed certificate in certificate chain\n\
                 11/22/26 15:22:56 SECMAN: required authentication with collector at <127.83.0.31:9618> failed, so aborting command QUERY_GENERIC_ADS.\n\
                 11/22/26 15:22:56 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method|AUTHENTICATE:1004:Failed to authenticate using SCITOKENS",
                CreddRefused,
                "AUTH_SSL_CLIENT_CAFILE",
            ),
        ] {
            let said = Said {
                success: false,
                stdout: FAILED.to_owned(),
                stderr: format!(
                    "{stderr}\n11/22/26 15:21:02 STORE_CRED: Failed to start STORE_CRED command. Unable to contact credd ap2.test\n"
                ),
            };
            let (found, message) = failure(&said, &delivery(method));
            assert_eq!(found, kind, "{message}");
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn a_connection_that_ends_is_a_credd_that_restarts() {
        let said = Said {
            stderr: "11/22/26 11:57:09 ERROR: SECMAN:2011:Connection closed during command authorization. Probably due to an unknown command.\n"
                .to_owned(),
            ..Said::default()
        };
        let (kind, message) = failure(&said, &delivery(Method::Scitokens));
        assert_eq!(kind, Kind::CreddDown);
        assert!(message.contains("or it restarts"), "{message}");
    }

    #[test]
    fn an_unknown_failure_is_told_in_the_tools_own_words() {
        let said = Said {
            stdout: FAILED.to_owned(),
            ..Said::default()
        };
        let (kind, message) = failure(&said, &delivery(Method::Scitokens));
        assert_eq!(kind, Kind::CreddRefused);
        assert!(
            message.starts_with(
                "Make sure your ALLOW_WRITE setting includes this host.; see the CredLog"
            ),
            "{message}"
        );
    }
}
