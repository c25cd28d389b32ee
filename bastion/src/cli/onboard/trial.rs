//! Trial of a stored refresh token, as deliveries use it: login with the keytab, an access token, its claims.

use std::io::ErrorKind;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::delivery::Credential;
use crate::model::problem::Problem;
use crate::policy::verify;
use crate::system::files::{self, KEYTABS, ReadError};
use crate::vault::Vault;

/// Result of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trial {
    /// The account gets an access token as configured.
    Good {
        /// Subject (`sub`).
        subject: Option<String>,
        /// Scopes.
        scopes: Vec<String>,
        /// Expiry.
        expires: Option<Timestamp>,
    },
    /// It does not: the fault, and what to do.
    Failed(String),
    /// Not tried, with the reason: the service will try.
    Left(String),
}

/// Tries a credential.
pub(super) async fn try_out(vault: &impl Vault, credential: &Credential, now: Timestamp) -> Trial {
    let path = &credential.identity.keytab;
    let opened = path.clone();
    let opened = KEYTABS.run(path, move || files::open(&opened)).await;
    match opened {
        Ok(Err(ReadError::System(error))) if error.kind() == ErrorKind::PermissionDenied => {
            Trial::Left(format!(
                "keytab {} cannot be read by this user ({error}): the service tries what was stored",
                path.display()
            ))
        }
        // Any other fault is found by the login.
        _ => match read(vault, credential, now).await {
            Ok(good) => good,
            Err(problem) => Trial::Failed(problem.to_string()),
        },
    }
}

async fn read(
    vault: &impl Vault,
    credential: &Credential,
    now: Timestamp,
) -> Result<Trial, Problem> {
    let login = vault.login(credential).await?;
    let (answer, less) = vault.prove(credential, &login.token, now).await?;
    verify::access_token(credential, &answer, now)?;
    if let Some(problem) = less {
        return Err(problem);
    }
    let expires = answer.expires();
    let claims = answer.claims.unwrap_or_default();
    Ok(Trial::Good {
        subject: claims.subject,
        scopes: claims.scopes,
        expires,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fakes::Outside;
    use crate::fixtures;

    #[tokio::test(start_paused = true)]
    async fn the_access_token_is_described_and_no_login_is_left() {
        let outside = Outside::new();
        let credential = fixtures::credential("cmsprod", "cms_crab");
        let now = outside.lock().now();
        let trial = try_out(&outside, &credential, now).await;
        let Trial::Good { subject, .. } = trial else {
            panic!("{trial:?}");
        };
        assert_eq!(subject.as_deref(), Some("cmsprod"));
        assert_eq!(outside.lock().living(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cached_access_token_is_no_proof_that_the_refresh_token_works() {
        for (issuer_down, no_grant) in [(true, false), (false, true)] {
            let outside = Outside::new();
            let credential = fixtures::credential("cmsprod", "cms_crab");
            let now = || outside.lock().now();
            for _ in 0..2 {
                let trial = try_out(&outside, &credential, now()).await;
                assert!(matches!(trial, Trial::Good { .. }), "{trial:?}");
            }
            tokio::time::advance(Duration::from_mins(1)).await;
            {
                let mut world = outside.lock();
                (world.issuer_down, world.no_grant) = (issuer_down, no_grant);
            }
            let trial = try_out(&outside, &credential, now()).await;
            assert!(
                matches!(&trial, Trial::Failed(why) if why.contains("the issuer gives no new one")),
                "{trial:?}"
            );
            assert_eq!(outside.lock().living(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_not_what_is_asked_for_is_no_success() {
        let outside = Outside::new();
        let mut credential = fixtures::credential("cmsprod", "cms_crab");
        credential.scopes = vec!["storage.modify:/".to_owned()];
        let now = outside.lock().now();
        let trial = try_out(&outside, &credential, now).await;
        assert!(
            matches!(&trial, Trial::Failed(why) if why.contains("storage.modify:/ is missing")),
            "{trial:?}"
        );
        assert_eq!(outside.lock().living(), 0);
    }
}
