//! Several addresses, names and authorities: which node is asked, and by what name.

use std::time::Duration;

use htvault::kerberos::{KerberosErrorKind, Ticket};
use htvault::{Action, Client, CredentialUrl, ErrorKind, Settings, VaultToken};
use integration::ca::Ca;
use integration::wait;
use serde_json::json;

use crate::{CLUSTER, FAR, NODES, cluster, minimum, preferred};

#[tokio::test]
async fn a_dead_node_costs_one_try_and_the_preference_stays_put() {
    let cluster = cluster(&NODES).await;
    let client = cluster.client();
    let token = cluster.login(&client).await.token;
    let first = preferred(&cluster, &client, &token).await;
    let node = format!("/nodes/{}", first + 1);

    cluster.set(&node, json!({"up": false})).await;
    for _ in 0..10 {
        client.lookup_self(&token).await.unwrap();
    }
    let counted = cluster.counted().await;
    let second = counted.iter().position(|&count| count == 10).unwrap();
    assert_ne!(second, first, "{counted:?}");

    // It is back, and yet nobody moves at once.
    cluster.set(&node, json!({"up": true})).await;
    cluster.count().await;
    for _ in 0..5 {
        client.lookup_self(&token).await.unwrap();
    }
    assert_eq!(cluster.counted().await[second], 5);
}

#[tokio::test]
async fn what_another_node_may_do_better_is_tried_there_and_a_refusal_is_not() {
    let cluster = cluster(&NODES).await;
    let token = cluster.login(&cluster.client()).await.token;
    for effect in [
        json!({"effect": "drop"}),
        json!({"effect": "status", "value": 500}),
        json!({"effect": "status", "value": 503}),
        json!({"effect": "garbage"}),
        json!({"effect": "oversized", "value": "2M"}),
        json!({"effect": "hang"}),
    ] {
        let mut settings = cluster.settings(CLUSTER);
        settings.request_timeout = Duration::from_secs(3);
        let client = Client::new(&settings).unwrap();
        let first = preferred(&cluster, &client, &token).await;
        let mut fault = effect.clone();
        fault["node"] = json!(first + 1);
        cluster.fault(fault).await;
        let answer = client.lookup_self(&token).await;
        assert!(answer.is_ok(), "{effect}: {answer:?}");
    }

    let client = cluster.client();
    let first = preferred(&cluster, &client, &token).await;
    cluster
        .set(
            &format!("/nodes/{}", first + 1),
            json!({"condition": "sealed"}),
        )
        .await;
    client.lookup_self(&token).await.unwrap();

    // A refusal is the same everywhere: it is asked for once.
    cluster.count().await;
    let other = CredentialUrl::creds(&CLUSTER.parse().unwrap(), "cms", "cmsprod", "crab").unwrap();
    let error = client
        .access_token(&other, &token, &minimum(60))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(cluster.counted().await.iter().sum::<u64>(), 1);
}

#[tokio::test]
async fn when_all_nodes_fail_each_is_named_and_recovery_needs_no_restart() {
    let cluster = cluster(&NODES).await;
    let client = cluster.client();
    let token = cluster.login(&client).await.token;

    cluster
        .set("/nodes/all", json!({"condition": "leaderless"}))
        .await;
    let error = client.lookup_self(&token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
    assert_eq!(error.action(), Action::Retry);

    cluster
        .set("/nodes/all", json!({"condition": "sealed"}))
        .await;
    let error = client.lookup_self(&token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sealed, "{error}");

    cluster.set("/nodes/all", json!({"up": false})).await;
    let error = client.lookup_self(&token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let text = error.to_string();
    for address in NODES {
        assert!(text.contains(address), "{text}");
    }
    assert!(text.contains(CLUSTER), "{text}");

    cluster.admin.restore().await.unwrap();
    client.lookup_self(&token).await.unwrap();
}

#[tokio::test]
async fn a_list_of_servers_and_an_alias_log_in_by_the_clusters_name() {
    let cluster = cluster(&NODES).await;
    let servers = ["https://vault3.test:8200", "https://vault2.test:8200"];
    let servers = servers.map(|server| server.parse().unwrap()).to_vec();
    let mut settings = Settings::for_cluster(servers).unwrap();
    settings.cluster = Some("vault.test".to_owned());
    settings.tls.ca_file = Some(cluster.chain.ca.file());
    let client = Client::new(&settings).unwrap();
    let token = cluster.login(&client).await.token;
    assert_eq!(
        preferred(&cluster, &client, &token).await,
        2,
        "the first of the list"
    );
    cluster.set("/nodes/3", json!({"up": false})).await;
    cluster.login(&client).await;
    assert_eq!(cluster.counted().await[1], 1, "the second of the list");
    assert!(Settings::for_cluster(Vec::new()).is_err());
}

#[tokio::test]
async fn an_alias_logs_in_by_its_own_name_unless_reverse_look_up_is_on() {
    let cluster = cluster(&NODES).await;
    let kdc = &cluster.chain.kdc;
    let keytab = cluster.chain.folder().join("vault.keytab");
    kdc.admin("addprinc -randkey host/alias.test")
        .await
        .unwrap();
    let add = format!("ktadd -norandkey -k {} host/alias.test", keytab.display());
    kdc.admin(&add).await.unwrap();
    let mut settings = cluster.settings("https://alias.test:8200");
    settings.cluster = None;
    let client = Client::new(&settings).unwrap();
    cluster.login(&client).await;

    // The address's own name is vault2.test, for which nobody has a key.
    let config = std::env::var("KRB5_CONFIG").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let reverse = text.replace("rdns = false", "rdns = true").replace(
        "dns_canonicalize_hostname = false",
        "dns_canonicalize_hostname = true",
    );
    assert_ne!(text, reverse);
    std::fs::write(&config, reverse).unwrap();
    let keytab = cluster.chain.keytabs().join("crabtw.keytab");
    let ticket = Ticket::from_keytab("crabtw@TEST", &keytab).unwrap();
    let error = ticket.negotiate("host", "alias.test").unwrap_err();
    assert_eq!(error.kind(), KerberosErrorKind::ServiceUnknown, "{error}");
    assert!(error.to_string().contains("rdns = false"), "{error}");
}

#[tokio::test]
async fn an_address_of_version_six_works_by_name_and_by_number() {
    let cluster = cluster(&["[::1]:8200"]).await;
    for server in ["https://six.test:8200", "https://[::1]:8200"] {
        let client = Client::new(&cluster.settings(server)).unwrap();
        cluster.login(&client).await;
    }
}

#[tokio::test]
async fn authorities_that_are_replaced_on_disk_are_picked_up() {
    let cluster = cluster(&["127.83.0.1:8200"]).await;
    let other = Ca::create(&cluster.chain.folder().join("other-ca"), "Another CA").unwrap();
    let bundle = cluster.chain.folder().join("bundle.pem");
    std::fs::copy(other.file(), &bundle).unwrap();
    let mut settings = cluster.settings("https://vault.test:8200");
    settings.tls.ca_file = Some(bundle.clone());
    let client = Client::new(&settings).unwrap();
    let token = VaultToken::from("s.none".to_owned());
    let error = client.lookup_self(&token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");

    std::fs::copy(cluster.chain.ca.file(), &bundle).unwrap();
    wait::until("the new authority to be trusted", FAR, async || {
        let error = client.lookup_self(&token).await.unwrap_err();
        (error.kind() == ErrorKind::TokenRejected)
            .then_some(())
            .ok_or(error)
    })
    .await
    .unwrap();

    // A broken file leaves the one that worked in force.
    std::fs::write(&bundle, "broken").unwrap();
    let error = client.lookup_self(&token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenRejected, "{error}");

    // A directory of hashed names serves as well as a bundle.
    let certificates = cluster.chain.folder().join("certificates");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::copy(cluster.chain.ca.file(), certificates.join("1a2b3c4d.0")).unwrap();
    settings.tls.ca_file = Some(other.file());
    settings.tls.ca_dir = Some(certificates);
    let client = Client::new(&settings).unwrap();
    cluster.login(&client).await;
}
