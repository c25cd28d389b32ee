//! Trial of a stored refresh token, as deliveries use it: login with the keytab, an access token, its claims.
//!
//! Always true: the login is revoked afterwards, also when a person stops the trial.

use std::io::ErrorKind;
use std::time::Duration;

use htvault::{AccessTokenAnswer, VaultToken};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::model::delivery::Credential;
use crate::model::moment::until;
use crate::model::problem::Problem;
use crate::policy::verify;
use crate::system::files::{self, KEYTABS, ReadError};
use crate::vault::Vault;

/// An access token that is not older shows that its issuer works; one that lives longer could not be had.
const NEW: Duration = Duration::from_secs(30);

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

/// Tries a credential, until `stop` is cancelled.
pub(super) async fn try_out(
    vault: &impl Vault,
    credential: &Credential,
    now: Timestamp,
    stop: &CancellationToken,
) -> Trial {
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
        _ => match read(vault, credential, now, stop).await {
            Ok(good) => good,
            Err(problem) => Trial::Failed(problem.to_string()),
        },
    }
}

async fn read(
    vault: &impl Vault,
    credential: &Credential,
    now: Timestamp,
    stop: &CancellationToken,
) -> Result<Trial, Problem> {
    let stopped = || Trial::Left("stopped before its end".to_owned());
    if stop.is_cancelled() {
        return Ok(stopped());
    }
    // Never cut short: Vault may have made a login whose answer would be lost.
    let login = vault.login(credential).await?;
    let Some(proof) = prove(vault, credential, &login.token, now, stop).await else {
        return Ok(stopped());
    };
    let (answer, less) = proof?;
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

/// Proves a refresh token with a login made for that, which is revoked in any case; `None` when that was stopped.
pub(in crate::cli) async fn prove(
    vault: &impl Vault,
    credential: &Credential,
    login: &VaultToken,
    now: Timestamp,
    stop: &CancellationToken,
) -> Option<Result<(AccessTokenAnswer, Option<Problem>), Problem>> {
    let proof = read_new(vault, credential, login, now);
    let proof = stop.run_until_cancelled(proof).await;
    // Only this process has the login; if it cannot be revoked, it expires by itself.
    let _ = vault.revoke(credential, login).await;
    proof
}

/// Reads an access token for jobs. The one in Vault's cache may be the last one, so one that lives longer is asked for;
/// returns the reason when there is none.
async fn read_new(
    vault: &impl Vault,
    credential: &Credential,
    login: &VaultToken,
    now: Timestamp,
) -> Result<(AccessTokenAnswer, Option<Problem>), Problem> {
    let (cached, _) = vault.read_for_jobs(credential, login, None).await?;
    let claims = cached.claims.as_ref();
    // Whether a token without times is new cannot be known.
    let times = claims.and_then(|claims| Some((claims.issued?, claims.expires?)));
    let Some((_, expires)) = times.filter(|(issued, _)| until(*issued, now) > NEW) else {
        return Ok((cached, None));
    };
    let more = until(now, expires) + Duration::from_secs(1);
    vault.read_for_jobs(credential, login, Some(more)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::Outside;
    use crate::fixtures;

    async fn tried(outside: &Outside, credential: &Credential) -> Trial {
        let now = outside.lock().now();
        try_out(outside, credential, now, &CancellationToken::new()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_stopped_leaves_no_login() {
        let outside = Outside::new();
        let credential = fixtures::credential("cmsprod", "cms_crab");
        outside.lock().reads_hang.insert("cmsprod".to_owned());
        let now = outside.lock().now();
        let stop = CancellationToken::new();
        let stopped = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(outside.lock().living(), 1);
            stop.cancel();
        };
        let (trial, ()) = tokio::join!(try_out(&outside, &credential, now, &stop), stopped);
        assert_eq!(trial, Trial::Left("stopped before its end".to_owned()));
        assert_eq!(outside.lock().living(), 0);
        // Stopped before its begin.
        let trial = try_out(&outside, &credential, now, &stop).await;
        assert_eq!(trial, Trial::Left("stopped before its end".to_owned()));
        assert_eq!(outside.lock().logins, 1, "none is made for it");
        assert_eq!(outside.lock().living(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_access_token_is_described_and_no_login_is_left() {
        let outside = Outside::new();
        let credential = fixtures::credential("cmsprod", "cms_crab");
        let trial = tried(&outside, &credential).await;
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
            for _ in 0..2 {
                let trial = tried(&outside, &credential).await;
                assert!(matches!(trial, Trial::Good { .. }), "{trial:?}");
            }
            tokio::time::advance(Duration::from_mins(1)).await;
            {
                let mut world = outside.lock();
                (world.issuer_down, world.no_grant) = (issuer_down, no_grant);
            }
            let trial = tried(&outside, &credential).await;
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
        let trial = tried(&outside, &credential).await;
        assert!(
            matches!(&trial, Trial::Failed(why) if why.contains("storage.modify:/ is missing")),
            "{trial:?}"
        );
        assert_eq!(outside.lock().living(), 0);
    }
}
