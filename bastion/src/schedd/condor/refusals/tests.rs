//! Texts of real tools, and the advice for each.

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
    for (method, stderr, kind, what) in [
        (
            Scitokens,
            "11/22/26 08:44:09 SECMAN: FAILED: Received \"DENIED\" from server for user crabtw@ap.test using method SCITOKENS.",
            CreddRefused,
            "SECMAN: FAILED: Received \"DENIED\" from server for user crabtw@ap.test using method SCITOKENS.; the access token needs a scope",
        ),
        (
            Fs,
            "11/22/26 08:44:09 SECMAN: FAILED: Received \"DENIED\" from server for user root@ap.test using method FS.",
            CreddRefused,
            "FS.; check the credd's ALLOW_WRITE",
        ),
        (
            Scitokens,
            "11/22/26 08:44:09 SSL Auth: Server has rejected our token!",
            CreddRefused,
            "`SCITOKENS ^ISSUER,SUBJECT$ cmsprod`",
        ),
        (
            Scitokens,
            "11/22/26 08:44:09   err 19:self-signed certificate in certificate chain",
            CreddUntrusted,
            "AUTH_SSL_CLIENT_CAFILE",
        ),
        (
            Scitokens,
            "11/22/26 11:47:25 Can't find address for credd ap2.test",
            CreddDown,
            "that its credd runs",
        ),
        (
            Scitokens,
            "11/22/26 11:57:11 attempt to connect to <127.83.0.31:9618> failed: Connection refused (connect errno = 111).",
            CreddDown,
            "Connection refused (connect errno = 111).; check",
        ),
        (
            Scitokens,
            "11/22/26 11:47:47 ERROR: SECMAN:2005:Protocol Error: No auth methods.",
            CreddRefused,
            "the credd does not offer SCITOKENS",
        ),
        (
            Scitokens,
            "Credential requires interacting with an untrusted host",
            CreddRefused,
            "add vault.test to TRUSTED_VAULT_HOSTS",
        ),
        (
            Scitokens,
            "Operation failed because of a configuration error",
            CreddRefused,
            "SEC_CREDENTIAL_DIRECTORY_OAUTH",
        ),
        (
            Idtokens,
            "Operation failed because it is not allowed",
            CreddRefused,
            "CRED_SUPER_USERS",
        ),
        (
            Idtokens,
            "11/22/26 11:59:25 TOKEN: No token found.",
            Transport,
            "SEC_TOKEN_DIRECTORY",
        ),
        (
            Kerberos,
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
        let output = ToolOutput {
            success: false,
            stdout: FAILED.to_owned(),
            stderr: format!("{BEFORE}{stderr}{AFTER}"),
        };
        let (found, message) = explain(&output, &delivery(method), method, None);
        assert_eq!(found, kind, "{stderr}");
        assert!(message.contains(what), "{message}");
        assert!(!message.contains("08:44"), "{message}");
    }
}

/// Each as HTCondor 23.9.6 printed it, or HTCondor 25.14.1 against a credd of 23.9.6.
#[test]
fn an_older_htcondor_is_understood() {
    for (method, stderr, kind, what) in [
        (
            Scitokens,
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
            Fs,
            "11/22/26 15:21:03 AUTHENTICATE_FS: Server-requested directory 'FS_XXXSLXU4T' doesn't match expected prefix 'FS_127.83.0.31_9618_'\n\
             11/22/26 15:21:03 SECMAN: required authentication with collector ap2.test:9618 failed, so aborting command QUERY_GENERIC_ADS.",
            CreddRefused,
            "SEC_FS_ENFORCE_CHANNEL_BINDING",
        ),
        (
            Fs,
            "11/22/26 15:21:02 SECMAN: required authentication with collector at <127.83.0.31:9618> failed, so aborting command QUERY_GENERIC_ADS.\n\
             11/22/26 15:21:02 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method|AUTHENTICATE:1004:Failed to authenticate using FS",
            CreddRefused,
            "works on the credd's own machine alone",
        ),
        (
            Kerberos,
            "11/22/26 15:21:02 KERBEROS: No credentials cache found\n\
             11/22/26 15:21:02 SECMAN: required authentication with collector at <127.83.0.31:9618> failed, so aborting command QUERY_GENERIC_ADS.",
            Transport,
            "check the account's keytab",
        ),
        (
            Scitokens,
            "11/22/26 15:22:56   err 19:self-signed certificate in certificate chain\n\
             11/22/26 15:22:56 SECMAN: required authentication with collector at <127.83.0.31:9618> failed, so aborting command QUERY_GENERIC_ADS.\n\
             11/22/26 15:22:56 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method|AUTHENTICATE:1004:Failed to authenticate using SCITOKENS",
            CreddUntrusted,
            "AUTH_SSL_CLIENT_CAFILE",
        ),
    ] {
        let output = ToolOutput {
            success: false,
            stdout: FAILED.to_owned(),
            stderr: format!(
                "{stderr}\n11/22/26 15:21:02 STORE_CRED: Failed to start STORE_CRED command. Unable to contact credd ap2.test\n"
            ),
        };
        let (found, message) = explain(&output, &delivery(method), method, None);
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(what), "{message}");
    }
}

#[test]
fn a_connection_that_ends_is_a_credd_that_restarts() {
    let output = ToolOutput {
        stderr: "11/22/26 11:57:09 ERROR: SECMAN:2011:Connection closed during command authorization. Probably due to an unknown command.\n"
            .to_owned(),
        ..ToolOutput::default()
    };
    let (kind, message) = explain(&output, &delivery(Scitokens), Scitokens, None);
    assert_eq!(kind, CreddDown);
    assert!(message.contains("or it restarts"), "{message}");
}

#[test]
fn an_unknown_failure_is_told_in_the_tools_own_words() {
    let output = ToolOutput {
        stdout: FAILED.to_owned(),
        ..ToolOutput::default()
    };
    let (kind, message) = explain(&output, &delivery(Scitokens), Scitokens, None);
    assert_eq!(kind, CreddRefused);
    assert!(
        message
            .starts_with("Make sure your ALLOW_WRITE setting includes this host.; see the CredLog"),
        "{message}"
    );
}

/// Only these are followed by an access token with more scope.
#[test]
fn what_is_not_said_of_the_access_token_does_not_speak_of_it() {
    for (stderr, of_token) in [
        ("SECMAN: FAILED: Received \"DENIED\" from server", true),
        ("SSL Auth: Server has rejected our token!", true),
        (
            "ERROR: AUTHENTICATE:1003:Failed to authenticate with any method",
            true,
        ),
        (
            "Credential requires interacting with an untrusted host",
            false,
        ),
        ("Operation failed because of a configuration error", false),
        ("Operation failed because it is not allowed", false),
        ("ERROR: SECMAN:2005:Protocol Error: No auth methods.", false),
        ("Oh", false),
    ] {
        let output = ToolOutput {
            stderr: stderr.to_owned(),
            ..ToolOutput::default()
        };
        let (kind, _) = explain(&output, &delivery(Scitokens), Scitokens, None);
        assert_eq!(kind, CreddRefused, "{stderr}");
        assert_eq!(are_of_token(&output, Scitokens), of_token, "{stderr}");
    }
}
