//! Why `condor_store_cred` failed, and what to do: its lines by the table of refusals. Pure.

use super::refusals::RULES;
use super::tool::{self, Said};
use crate::delivery::{Delivery, Method, Target};
use crate::problem::Kind;

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
    use crate::fixtures::{credd_by, delivery_to};

    fn delivery(method: Method) -> Delivery {
        delivery_to(credd_by("ap.test", method, None))
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
