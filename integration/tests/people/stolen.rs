//! What somebody has who took over a schedd or copied a keytab, and how it is taken away.

use std::time::Instant;

use htvault::kerberos::Ticket;
use htvault::{AccessTokenRequest, CredentialUrl, ErrorKind, VaultToken};
use integration::ended::text;
use serde_json::Value;

use crate::{Parts, deliveries, parts, state};

/// Tries to read an access token of an account with any vault token.
async fn read(parts: &Parts, token: &VaultToken, account: &str, role: &str) -> Option<ErrorKind> {
    let url = CredentialUrl::creds(parts.client.server(), "cms", account, role).unwrap();
    let request = AccessTokenRequest::default();
    let answer = parts.client.access_token(&url, token, &request).await;
    answer.err().map(|error| error.kind())
}

#[tokio::test]
async fn what_a_stolen_schedd_has_reads_its_own_credentials_only_and_dies_at_one_order() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let crab = parts.stored("there", "crabtw", "cms_crab").unwrap();
    let prod = parts.stored("there", "cmsprod", "cms").unwrap();
    assert_eq!(read(&parts, &crab, "crabtw", "crab").await, None);
    // Neither another account's credential nor another role of its own.
    for (account, role) in [
        ("cmsprod", "default"),
        ("crabtw", "default"),
        ("crabtw", "production"),
    ] {
        let refused = read(&parts, &crab, account, role).await;
        assert!(refused.is_some(), "{account} {role}");
    }
    // What it may make of it dies with it.
    let child = parts.client.create_token(&crab, 28 * 86_400).await;
    let child = child.map(|issued| issued.token);
    let elsewhere = parts.stored("here", "crabtw", "cms_crab").unwrap();

    let begun = Instant::now();
    let revoked = parts.run(&["revoke", "--all-at", "there"]).await;
    let took = begun.elapsed();
    assert_eq!(revoked.status.code(), Some(0), "{}", text(&revoked));
    println!("every token of the schedd was revoked in {took:?}");
    for token in [Some(&crab), Some(&prod), child.as_ref().ok()]
        .into_iter()
        .flatten()
    {
        assert!(!parts.lives(token).await);
    }
    assert!(parts.stored("there", "crabtw", "cms_crab").is_none());
    assert!(parts.lives(&elsewhere).await, "another schedd's token");
    let left = parts.status(|status| Some(status.clone())).await;
    for line in deliveries(&left) {
        let wanted = if line["schedd"] == "there" {
            "cut_off"
        } else {
            "good"
        };
        assert_eq!(line["state"], wanted, "{line}");
    }
}

#[tokio::test]
async fn a_copied_keytab_is_worth_nothing_once_its_principal_is_locked_and_its_account_offboarded()
{
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    // With the keytab whoever has it is the account.
    let stolen = parts.login("crabtw", "crab").await.token;
    assert_eq!(read(&parts, &stolen, "crabtw", "crab").await, None);
    assert!(
        read(&parts, &stolen, "cmsprod", "default").await.is_some(),
        "and no other"
    );

    // No new login from now on; one that there is lives on, and reads nothing more.
    parts
        .chain
        .kdc
        .admin("modprinc -allow_tix crabtw@TEST")
        .await
        .unwrap();
    let keytab = parts.chain.keytabs().join("crabtw.keytab");
    let refused = Ticket::from_keytab("crabtw@TEST", &keytab).err().unwrap();
    assert!(!refused.to_string().is_empty());
    let offboarded = parts
        .run(&["offboard", "--account", "crabtw", "--yes"])
        .await;
    println!("{}", text(&offboarded));
    assert!(
        parts.lives(&stolen).await,
        "only Vault's admins know this login"
    );
    let answer = read(&parts, &stolen, "crabtw", "crab").await;
    assert_eq!(answer, Some(ErrorKind::NoneStored));
    let status = parts.status(|status| Some(status.clone())).await;
    assert_eq!(
        state(&status, "cmsprod", "here"),
        "good",
        "the others' work goes on"
    );
    // Vault's admins end it by its owner.
    let tokens = parts.tokens().await;
    let own = tokens
        .as_array()
        .unwrap()
        .iter()
        .filter(|token| token["owner"] == "crabtw");
    for token in own.collect::<Vec<&Value>>() {
        parts.kill(token["accessor"].as_str().unwrap()).await;
    }
    assert!(!parts.lives(&stolen).await);
}
