//! Result of the onboarding of one credential.

use jiff::Timestamp;
use serde::Serialize;

use super::trial::Trial;
use crate::cli::table::foreign;
use crate::model::delivery::Credential;
use crate::model::grants;

/// Result of the onboarding of one credential.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Onboarded {
    /// Kind of this line of JSON: `done`.
    event: &'static str,
    /// The account.
    account: String,
    /// HTCondor's service name.
    service: String,
    /// Name of the refresh token at Vault, `ISSUER/CREDKEY:ROLE`.
    grant: String,
    /// Person who logged in, as Vault names them.
    pub(super) by: Option<String>,
    /// A refresh token was stored now.
    pub(super) stored: bool,
    /// Expiry of the refresh token, if the issuer stated one.
    pub(super) refresh_token_expires: Option<Timestamp>,
    /// Result of the trial with the account's keytab; absent when nothing was stored.
    pub(super) trial: Option<Trial>,
    /// Reason why nothing was stored.
    pub(super) problem: Option<String>,
}

impl Onboarded {
    /// A result before anything is stored.
    pub(super) fn new(credential: &Credential) -> Self {
        Self {
            event: "done",
            account: credential.identity.account.clone(),
            service: credential.service.clone(),
            grant: grants::name(credential),
            ..Self::default()
        }
    }

    /// Returns true when nothing is left to do.
    pub(super) fn is_good(&self) -> bool {
        self.problem.is_none() && !matches!(self.trial, Some(Trial::Failed(_)))
    }

    /// Formats the result for people.
    pub(super) fn text(&self) -> String {
        let credential = format!("account {}, service {}", self.account, self.service);
        if let Some(problem) = &self.problem {
            return format!("{credential}: NOT onboarded: {problem}\n");
        }
        let grant = &self.grant;
        let stored = match &self.by {
            Some(by) => format!("{by} logged in, refresh token {grant} is stored at Vault"),
            None => format!("refresh token {grant} at Vault works already (--all for a new one)"),
        };
        let expiry = self.refresh_token_expires.map_or_else(String::new, |end| {
            format!(", until {end:.0} as the issuer says")
        });
        let trial = match &self.trial {
            Some(Trial::Good {
                subject,
                scopes,
                expires,
            }) => format!(
                "  tried with the keytab: an access token for {}, {}, until {}\n",
                foreign(subject.as_deref().unwrap_or("no named subject")),
                if scopes.is_empty() {
                    "no scopes named".to_owned()
                } else {
                    foreign(&scopes.join(" "))
                },
                expires.map_or_else(|| "an unknown expiry".to_owned(), |end| format!("{end:.0}")),
            ),
            Some(Trial::Failed(why)) => format!("  tried with the keytab, and FAILED: {why}\n"),
            Some(Trial::Left(why)) => format!("  not tried: {why}\n"),
            None => String::new(),
        };
        format!("{credential}: {stored}{expiry}\n{trial}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::credential;

    #[test]
    fn claims_of_an_access_token_move_no_cursor_and_fill_no_screen() {
        let mut result = Onboarded::new(&credential("cmsprod", "cms"));
        result.trial = Some(Trial::Good {
            subject: Some("\x1b[2J".to_owned() + &"x".repeat(10_000)),
            scopes: vec!["\x1b[2J".to_owned(); 1000],
            expires: None,
        });
        let text = result.text();
        assert!(text.len() < 2000 && !text.contains('\x1b'), "{text}");
    }
}
