//! Logins with tickets of the real KDC, tokens and policies.

use integration::chain::Lives;

use crate::{minimum, parts};

#[tokio::test]
async fn a_keytab_gives_a_login_a_vault_token_and_an_access_token() {
    let parts = parts(Lives::HOUR).await;
    let login = parts.login("crabtw", "crab").await;
    assert_eq!(login.user.as_deref(), Some("crabtw"));
    assert_eq!(login.lease_seconds, 28 * 86_400);
    let child = parts.client.create_token(&login.token, 604_800).await;
    let child = child.unwrap();
    assert_eq!(child.lease_seconds, 604_800);
    let info = parts.client.lookup_self(&child.token).await.unwrap();
    assert_eq!(info.accessor, child.accessor);
    let url = parts.site.creds("crabtw", "crab").unwrap();
    let wanted = minimum(2400);
    let answer = parts.client.access_token(&url, &child.token, &wanted).await;
    let claims = answer.unwrap().claims.unwrap();
    assert_eq!(claims.subject.as_deref(), Some("crabtw"));
    assert_eq!(claims.issuer.as_deref(), Some(integration::chain::ISSUER));
}
