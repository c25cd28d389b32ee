//! Reads of access tokens, as the issuer gives them or as Vault still has them.

use std::time::Duration;

use htvault::{AccessTokenAnswer, AccessTokenRequest, CredentialUrl, ErrorKind, VaultToken};

use super::HtVault;
use crate::model::delivery::Credential;
use crate::model::moment::until;
use crate::model::problem::{Kind, Problem, Request};
use crate::vault::AccessKind;

impl HtVault {
    pub(super) async fn read_with(
        &self,
        credential: &Credential,
        token: &VaultToken,
        kind: AccessKind,
        minimum_seconds: Option<u64>,
    ) -> Result<AccessTokenAnswer, htvault::Error> {
        let exchange;
        let (url, scopes, audience) = match kind {
            AccessKind::Full => (&credential.full_url, None, None),
            AccessKind::Reduced(scopes) => {
                exchange = CredentialUrl::sts(
                    &credential.url.server(),
                    &credential.issuer,
                    &credential.credkey,
                    &credential.role,
                )?;
                (&exchange, Some(scopes.to_owned()), None)
            }
            AccessKind::ForJobs => (
                &credential.url,
                credential.scope_list(),
                credential.audience.clone(),
            ),
        };
        let request = AccessTokenRequest {
            minimum_seconds,
            scopes,
            audience,
        };
        self.in_turn(self.client.access_token(url, token, &request))
            .await
    }

    /// Reads an access token with a remaining lifetime of `at_least`, or else what Vault still has, with the reason.
    pub(super) async fn read_new(
        &self,
        credential: &Credential,
        token: &VaultToken,
        kind: AccessKind,
        at_least: Duration,
    ) -> Result<(AccessTokenAnswer, Option<Problem>), Problem> {
        let asked = self.read_with(credential, token, kind, Some(at_least.as_secs()));
        let error = match asked.await {
            Ok(answer) => return Ok((answer, None)),
            Err(error) => error,
        };
        let problem = Problem::from_vault(credential, &error, Request::AccessToken);
        if !matches!(problem.kind, Kind::IssuerDown | Kind::NotOnboarded) {
            return Err(problem);
        }
        // Vault may still have one with a shorter lifetime, which is better for jobs than none.
        let Ok(answer) = self.read_with(credential, token, kind, None).await else {
            return Err(problem);
        };
        let claims = answer.claims.as_ref();
        let issued = claims.and_then(|claims| claims.issued);
        let whole = issued
            .zip(answer.expires())
            .map(|(from, to)| until(from, to));
        // An issuer that now issues tokens of a shorter lifetime is not down.
        let is_by_nature = error.kind() == ErrorKind::NotLongEnough
            && whole.is_some_and(|whole| whole <= at_least);
        Ok((answer, Some(problem).filter(|_| !is_by_nature)))
    }
}
