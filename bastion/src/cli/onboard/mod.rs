//! Onboarding: a person logs in once for an account, so that Vault has a refresh token for it.
//!
//! Always true: a refresh token is stored only for the owner of the credential; the login that stores it is revoked
//! afterwards, whatever the result; the refresh token goes from one answer of Vault into one request to Vault and
//! nowhere else. The stored refresh token is tried with the account's own keytab, as deliveries do it.

pub mod show;
mod trial;
mod wait;

use std::fmt::Write as _;
use std::sync::Arc;

use htvault::{Claims, Client, OidcLogin};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::Config;
use crate::model::delivery::{Credential, Selection};
use crate::model::grants;
pub use trial::{Trial, try_out};
pub use wait::{LoginFailure, PendingLogin, wait};

/// Result of the onboarding of one credential.
#[derive(Clone, Debug, Serialize)]
pub struct Onboarded {
    /// The account.
    pub account: String,
    /// HTCondor's service name.
    pub service: String,
    /// Name of the refresh token at Vault, `ISSUER/CREDKEY:ROLE`.
    pub grant: String,
    /// Person who logged in, as Vault names them.
    pub by: Option<String>,
    /// A refresh token was stored now.
    pub stored: bool,
    /// Expiry of the refresh token, if the issuer stated one.
    pub refresh_token_expires: Option<Timestamp>,
    /// Result of the trial with the account's keytab; absent when nothing was stored.
    pub trial: Option<Trial>,
    /// Reason why nothing was stored.
    pub problem: Option<String>,
}

impl Onboarded {
    /// A result before anything is stored.
    #[must_use]
    pub fn new(credential: &Credential) -> Self {
        Self {
            account: credential.identity.account.clone(),
            service: credential.service.clone(),
            grant: grants::name(credential),
            by: None,
            stored: false,
            refresh_token_expires: None,
            trial: None,
            problem: None,
        }
    }

    /// Returns true when nothing is left to do.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problem.is_none() && !matches!(self.trial, Some(Trial::Failed(_)))
    }
}

/// Returns the selected credentials: those of an account, or one of them.
///
/// # Errors
/// There is none; the message lists those that are configured.
pub fn credentials(config: &Config, wanted: &Selection) -> Result<Vec<Arc<Credential>>, String> {
    let all =
        grants::credentials(
            config
                .deliveries
                .iter()
                .map(|delivery| &delivery.credential)
                .chain(config.searches.iter().flat_map(|search| {
                    search.templates.iter().map(|template| &template.credential)
                })),
        );
    let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
    let of_account: Vec<_> = all
        .iter()
        .filter(|credential| is(&wanted.account, &credential.identity.account))
        .collect();
    let found: Vec<_> = of_account
        .iter()
        .filter(|credential| is(&wanted.service, &credential.service))
        .map(|credential| Arc::clone(credential))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let account = wanted.account.as_deref().unwrap_or_default();
    let service = wanted.service.as_deref().unwrap_or_default();
    Err(if of_account.is_empty() {
        let mut names: Vec<_> = all.iter().map(|c| c.identity.account.as_str()).collect();
        names.dedup();
        format!(
            "the configuration has no account {account:?}, it has {}",
            names.join(", ")
        )
    } else {
        let names: Vec<_> = of_account.iter().map(|c| c.service.as_str()).collect();
        format!(
            "account {account} has no credential {service:?}, it has {}",
            names.join(", ")
        )
    })
}

/// Returns true when a login of `credkey` may be stored for this credential: by its owner, or by the person that owns a
/// robot (`user/purpose/host`).
#[must_use]
pub fn may_store(credential: &Credential, credkey: &str) -> bool {
    credential.credkey == credkey
        || credential
            .credkey
            .strip_prefix(credkey)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Stores the refresh token of a login, and revokes the login. Returns the expiry of the refresh token, if known.
///
/// # Errors
/// Another person logged in, or Vault refuses: the reason, and what to do.
pub async fn store(
    client: &Client,
    credential: &Credential,
    login: &OidcLogin,
) -> Result<Option<Timestamp>, String> {
    let stored = if may_store(credential, &login.credkey) {
        client
            .store_refresh_token(&credential.full_url, &credential.issuer, login)
            .await
            .map_err(|error| error.to_string())
    } else {
        Err(stranger(credential, &login.credkey))
    };
    // Not needed any more, and it would be valid for weeks; if this fails it expires by itself.
    let _ = client.revoke_self(&login.login.token).await;
    stored.map(|()| Claims::read(login.refresh_token.expose()).and_then(|claims| claims.expires))
}

fn stranger(credential: &Credential, credkey: &str) -> String {
    let Credential {
        identity,
        credkey: own,
        ..
    } = credential;
    let person = own.split('/').next().unwrap_or(own);
    format!(
        "{credkey} logged in, but the credential of account {} is {own}'s, so nothing was stored; log out at the \
         issuer (or use a private window), run this again and log in as {person}, or set `credkey: {credkey}` for the \
         account",
        identity.account
    )
}

/// Formats a result for people.
#[must_use]
pub fn text(result: &Onboarded) -> String {
    let Onboarded {
        account,
        service,
        grant,
        ..
    } = result;
    if let Some(problem) = &result.problem {
        return format!("account {account}, service {service}: NOT onboarded: {problem}\n");
    }
    let mut text = match &result.by {
        Some(by) => format!(
            "account {account}, service {service}: {by} logged in, refresh token {grant} is stored at Vault"
        ),
        None => format!(
            "account {account}, service {service}: refresh token {grant} at Vault works already (--all for a new one)"
        ),
    };
    if let Some(end) = result.refresh_token_expires {
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, ", until {end:.0} as the issuer says");
    }
    text.push('\n');
    let _ = match &result.trial {
        Some(Trial::Good {
            subject,
            scopes,
            expires,
        }) => writeln!(
            text,
            "  tried with the keytab: an access token for {}, {}, until {}",
            subject.as_deref().unwrap_or("no named subject"),
            if scopes.is_empty() {
                "no scopes named".to_owned()
            } else {
                scopes.join(" ")
            },
            expires.map_or_else(|| "an unknown expiry".to_owned(), |end| format!("{end:.0}")),
        ),
        Some(Trial::Failed(why)) => writeln!(text, "  tried with the keytab, and FAILED: {why}"),
        Some(Trial::Left(why)) => writeln!(text, "  not tried: {why}"),
        None => Ok(()),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{config, credential, delivery};
    use crate::model::delivery::Target;

    fn selection(account: &str, service: Option<&str>) -> Selection {
        Selection {
            account: Some(account.to_owned()),
            service: service.map(str::to_owned),
            schedd: None,
        }
    }

    #[test]
    fn a_credential_is_onboarded_once_whatever_schedds_it_goes_to() {
        let at = |account: &str, service: &str, schedd: &str| {
            let target = Target::Directory("/d".into());
            delivery(account, service, schedd, target)
        };
        let config = config(vec![
            at("cmsprod", "cms", "a"),
            at("cmsprod", "cms", "b"),
            at("cmsprod", "cms_production", "a"),
            at("crabtw", "cms_crab", "a"),
        ]);
        let services = |account, service| {
            let found = credentials(&config, &selection(account, service));
            found.map(|found| found.iter().map(|c| c.service.clone()).collect::<Vec<_>>())
        };
        assert_eq!(
            services("cmsprod", None).unwrap(),
            ["cms", "cms_production"]
        );
        assert_eq!(services("cmsprod", Some("cms")).unwrap(), ["cms"]);
        assert_eq!(
            services("cmsprod", Some("cms_crab")).unwrap_err(),
            "account cmsprod has no credential \"cms_crab\", it has cms, cms_production"
        );
        assert_eq!(
            services("nobody", None).unwrap_err(),
            "the configuration has no account \"nobody\", it has cmsprod, crabtw"
        );
    }

    #[test]
    fn only_the_owner_or_a_robots_person_may_store() {
        let mut credential = credential("cmsprod", "cms_crab");
        assert!(may_store(&credential, "cmsprod"));
        for other in ["crabtw", "cms", "cmsprod2", "cmsprod/bastion/host", ""] {
            assert!(!may_store(&credential, other), "{other}");
        }
        credential.credkey = "cmsprod/bastion/host.test".to_owned();
        assert!(may_store(&credential, "cmsprod"));
        assert!(may_store(&credential, "cmsprod/bastion/host.test"));
        assert!(!may_store(&credential, "cms"));
        let message = stranger(&credential, "crabtw");
        for part in [
            "crabtw logged in",
            "account cmsprod",
            "log in as cmsprod,",
            "credkey: crabtw",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
