//! Logins with tickets of the real KDC, tokens, and policies as htvault-config has them.

use htvault::{Action, ErrorKind};
use integration::chain::{ISSUER, Lives};

use crate::{minimum, parts};

#[tokio::test]
async fn a_real_login_gives_tokens_and_each_dead_one_is_told_from_one_that_is_refused() {
    let parts = parts(Lives::HOUR).await;
    let client = &parts.client;
    let login = parts.login("crabtw", "crab").await;
    assert_eq!(login.user.as_deref(), Some("crabtw"));
    assert_eq!(login.lease_seconds, 28 * 86_400);
    let child = client.create_token(&login.token, 604_800).await.unwrap();
    assert_eq!(child.lease_seconds, 604_800);
    let info = client.lookup_self(&child.token).await.unwrap();
    assert_eq!(info.accessor, child.accessor);
    assert!((604_700..=604_800).contains(&info.ttl_seconds), "{info:?}");
    let url = parts.site.creds("crabtw", "crab").unwrap();
    let wanted = minimum(2400);
    let answer = client.access_token(&url, &child.token, &wanted).await;
    let claims = answer.unwrap().claims.unwrap();
    assert_eq!(claims.subject.as_deref(), Some("crabtw"));
    assert_eq!(claims.issuer.as_deref(), Some(ISSUER));

    // What lives longer than the longest life is cut, with a warning.
    let long = client.create_token(&login.token, 9_000_000).await.unwrap();
    assert_eq!(long.lease_seconds, 28 * 86_400);
    assert!(long.warnings[0].contains("capped"), "{:?}", long.warnings);

    // A living token that the policy refuses: another's credential, and another role.
    let site = &parts.site;
    for (credkey, role) in [("cmsprod", "crab"), ("crabtw", "default")] {
        let url = site.creds(credkey, role).unwrap();
        let refused = client.access_token(&url, &child.token, &wanted).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{credkey}:{role}");
        assert_eq!(refused.action(), Action::FixPolicy);
    }
    // One's own, of which nothing is stored.
    let mine = site.creds("crabtw/robot", "crab").unwrap();
    let none = client.access_token(&mine, &child.token, &wanted).await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NoneStored);

    // A child dies with its parent, and its own siblings with nobody else.
    client.revoke_self(&long.token).await.unwrap();
    assert!(site.lives(&child.token).await.unwrap());
    client.revoke_self(&login.token).await.unwrap();
    let dead = client.access_token(&url, &child.token, &wanted).await;
    let dead = dead.unwrap_err();
    assert_eq!(dead.kind(), ErrorKind::TokenRejected, "{dead}");
    assert!(!site.lives(&child.token).await.unwrap());
}

#[tokio::test]
async fn a_robot_has_what_is_below_its_persons_name_and_a_foreign_keytab_nothing() {
    let parts = parts(Lives::HOUR).await;
    let robot = "crabtw/bastion/ap.test";
    let keytab = parts.folder.path().join("robot.keytab");
    let kdc = &parts.site.chain.kdc;
    let principal = format!("{robot}@TEST");
    let added = kdc.add_principal_with_keytab(&principal, &keytab);
    added.await.unwrap();
    let login = parts.login_with(&keytab, &principal, "crab").await;
    let login = login.unwrap();
    assert_eq!(login.user.as_deref(), Some(robot));

    // Its person onboards for it.
    let of_robot = parts.site.creds(robot, "crab").unwrap();
    let wanted = minimum(60);
    let none = parts.client.access_token(&of_robot, &login.token, &wanted);
    assert_eq!(none.await.unwrap_err().kind(), ErrorKind::NoneStored);
    parts
        .site
        .onboard_for("crabtw", robot, "crab")
        .await
        .unwrap();
    let answer = parts.client.access_token(&of_robot, &login.token, &wanted);
    let claims = answer.await.unwrap().claims.unwrap();
    assert_eq!(claims.subject.as_deref(), Some("crabtw"));
    // The person's own is none of the robot's business.
    let of_person = parts.site.creds("crabtw", "crab").unwrap();
    let refused = parts.client.access_token(&of_person, &login.token, &wanted);
    assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Forbidden);

    // A role of which the issuer knows, but not the Vault.
    let unknown = parts.login_with(&keytab, &principal, "nope").await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::TokenRejected, "{unknown}");
    // A server that does not have the key which the KDC made the ticket for.
    kdc.admin("cpw -randkey host/vault.test").await.unwrap();
    let refused = parts.login_with(&keytab, &principal, "crab").await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LoginRefused, "{refused}");
}
