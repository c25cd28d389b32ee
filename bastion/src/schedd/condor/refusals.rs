//! Failures of HTCondor's tools: the kind of problem and the advice for each, as a table. Pure.
//!
//! The texts are what `condor_store_cred -d` of HTCondor 25.14.1 and 23.9.6 printed, against credds of
//! both; `docs/schedds.md` says which were seen.

use super::tool::ToolOutput;
use crate::model::delivery::Delivery;
use crate::model::delivery::Method::{self, Fs, Idtokens, Kerberos, Scitokens};
use crate::model::problem::Kind::{
    self, CreddCertificate, CreddDown, CreddRefused, CreddUntrusted, Transport,
};
use crate::schedd::advice;
use crate::schedd::credd::method_name;

/// Longest line of a tool in a message, in characters.
const TEXT_LIMIT: usize = 500;

/// A credd's words for who asks in the name of another account, and is no super-user.
pub(super) const NOT_ALLOWED: &str = "because it is not allowed";

/// Advice for an authentication that fails without a reason.
const AUTHENTICATION: &str = "check at the schedd that {method} is among SEC_DEFAULT_AUTHENTICATION_METHODS and that its \
    map file knows {account}";

const ANY: Option<Method> = None;

/// Kind of a failure, the only method with which it occurs, texts of which one is in a line of the tool, and
/// advice, with names in braces to be filled in.
#[derive(Debug)]
pub(super) struct Rule(
    pub(super) Kind,
    pub(super) Option<Method>,
    pub(super) &'static [&'static str],
    pub(super) &'static str,
);

impl Rule {
    pub(super) fn fill(&self, values: &[(&str, &str)]) -> String {
        advice::fill(self.3, values)
    }
}

/// Failures of `condor_store_cred`. The first that fits counts: what is more special comes first.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule(CreddRefused, ANY, &["untrusted host"],
        advice::UNTRUSTED_VAULT),
    Rule(CreddRefused, ANY, &["because of a configuration error"],
        advice::CONFIGURATION),
    Rule(CreddRefused, ANY, &[NOT_ALLOWED],
        advice::NO_SUPERUSER),
    Rule(CreddRefused, Some(Scitokens), &["Received \"DENIED\""],
        advice::DENIED),
    Rule(CreddRefused, ANY, &["Received \"DENIED\""],
        "check the credd's ALLOW_WRITE: it leaves this host or user out"),
    Rule(CreddDown, ANY, &["Can't find address", "communication error"],
        advice::NO_ADDRESS),
    Rule(CreddDown, ANY, &["attempt to connect to", "Failed to connect to"],
        advice::NO_CONNECTION),
    Rule(CreddCertificate, ANY, &["certificate has expired", "certificate is not yet valid"],
        advice::CERTIFICATE_TIMES),
    Rule(CreddCertificate, ANY, &["does not match hostname", "does not match host ", "Unable to extract CN"],
        advice::CERTIFICATE_NAME),
    Rule(CreddUntrusted, ANY, &["certificate verify failed", "self-signed certificate", "Error loading CA file",
         "unable to get local issuer certificate"],
        "the credd's host certificate is not trusted here: set AUTH_SSL_CLIENT_CAFILE or AUTH_SSL_CLIENT_CADIR in \
         this host's HTCondor configuration"),
    Rule(CreddRefused, ANY, &["Server has rejected our token"],
        advice::TOKEN_REFUSED),
    Rule(CreddRefused, ANY, &["No auth methods"],
        advice::NOT_OFFERED),
    Rule(Transport, Some(Idtokens), &["No token found"],
        "put an IDTOKEN of the schedd's pool into SEC_TOKEN_DIRECTORY on this host (`condor_token_create` there)"),
    Rule(Transport, Some(Kerberos), &["AUTH_ERROR", "No credentials cache"],
        "check the account's keytab, and that the realm knows the schedd's principal host/NAME"),
    Rule(CreddRefused, ANY, &["post-auth ClassAd"],
        "the credd knows nobody by this host's {method}: its map file needs a line for it"),
    Rule(CreddRefused, Some(Fs), &["doesn't match expected prefix"],
        "the HTCondor there is older than the one here, which wants the server's address in the folder's name: use \
         the same version, or set SEC_FS_ENFORCE_CHANNEL_BINDING = False in this host's HTCondor configuration"),
    Rule(CreddRefused, Some(Fs), &["Failed to authenticate"],
        "`authenticate: fs` works on the credd's own machine alone, with the same /tmp: a unit with PrivateTmp has \
         another one"),
    Rule(CreddRefused, ANY, &["required authentication with collector"],
        "the collector, which is asked where the credd is, does not take {method} from this host: add it to \
         SEC_DEFAULT_AUTHENTICATION_METHODS there, or name the credd by its address <IP:PORT?sock=…>"),
    Rule(CreddRefused, ANY, &["Failed to authenticate"],
        AUTHENTICATION),
    Rule(CreddDown, ANY, &["SECMAN:2011", "SECMAN:2007"],
        advice::NO_CREDD),
    Rule(CreddDown, ANY, &["Unable to contact"],
        "check the host's name, that its credd runs, and `collector`; it is tried again"),
];

/// The first rule that fits a line of a tool, and that line.
pub(super) fn find<'a>(
    rules: &'static [Rule],
    output: &'a ToolOutput,
    method: Method,
) -> Option<(&'static Rule, &'a str)> {
    rules.iter().find_map(|rule| {
        let Rule(_, only, texts, _) = rule;
        let fits = |line: &&str| texts.iter().any(|text| line.contains(text));
        let line = output.lines().find(fits)?;
        only.is_none_or(|only| only == method)
            .then_some((rule, line))
    })
}

/// Returns true for refusals of the access token that the credd was shown, or of what its bearer may do.
pub(super) fn are_of_token(output: &ToolOutput, method: Method) -> bool {
    let of_token = [advice::DENIED, advice::TOKEN_REFUSED, AUTHENTICATION];
    find(RULES, output, method).is_some_and(|(rule, _)| of_token.contains(&rule.3))
}

/// Kind of a failure of `condor_store_cred`, the line that shows it, and advice. `bearer` is issuer and
/// subject of the access token that the credd was shown.
pub(super) fn explain(
    output: &ToolOutput,
    delivery: &Delivery,
    method: Method,
    bearer: Option<&str>,
) -> (Kind, String) {
    let Some((rule, line)) = find(RULES, output, method) else {
        let last = output.lines().rfind(|line| !line.trim().is_empty());
        let line = undated(last.unwrap_or("condor_store_cred failed without a word"));
        let advice = "see the CredLog at the schedd, and the version of HTCondor here and there";
        return (CreddRefused, format!("{line}; {advice}"));
    };
    let vault = delivery.credential.url.server();
    let advice = rule.fill(&[
        ("{account}", &delivery.id.account),
        ("{method}", &method_name(method)),
        ("{vault}", vault.host()),
        ("{bearer}", bearer.unwrap_or("ISSUER,SUBJECT")),
    ]);
    (rule.0, format!("{}; {advice}", undated(line)))
}

/// A line without the time that HTCondor's log puts in front, printable and of bounded length.
pub(super) fn undated(line: &str) -> String {
    let is_date = |word: &&str| {
        let is_of_date = |b: u8| b.is_ascii_digit() || b"/:.".contains(&b);
        word.len() >= 8 && word.bytes().all(is_of_date)
    };
    let words: Vec<&str> = line.split_whitespace().skip_while(is_date).collect();
    htvault::text::printable(&words.join(" "), TEXT_LIMIT)
}

#[cfg(test)]
mod tests;
