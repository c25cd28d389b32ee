//! The client library with a cluster of three nodes on three addresses, aliases, faults, quotas
//! and outages: what it hides from its callers, and what it tells them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use htvault::clock::{Clock as _, SystemClock};
use htvault::kerberos::{KerberosErrorKind, Ticket};
use htvault::{
    AccessTokenRequest, Action, Client, CredentialUrl, ErrorKind, IssuedToken, Poll, RequestLimit,
    Settings, VaultToken,
};
use integration::ca::Ca;
use integration::chain::{ADMIN, Chain, Lives};
use integration::conformance::admin::Admin;
use integration::{sandbox, wait};
use reqwest::Method;
use serde_json::{Value, json};

const FAR: Duration = Duration::from_mins(2);
const NODES: [&str; 3] = ["127.83.0.1:8200", "127.83.0.2:8200", "127.83.0.3:8200"];
/// A name with the three addresses.
const CLUSTER: &str = "https://cluster.test:8200";

/// One cluster at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Cluster {
    chain: Chain,
    admin: Admin,
    _folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

const LIVES: Lives = Lives {
    access_token: 3600,
    access_minimum: 2400,
    vault_token: 604_800,
    renew_below: 259_200,
};

async fn cluster(nodes: &[&'static str]) -> Cluster {
    let one = ONE.lock().await;
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let chain = Chain::start_cluster(folder.path(), LIVES, nodes)
        .await
        .unwrap();
    chain.kdc.use_here().unwrap();
    let admin = Admin::new(&format!("http://{ADMIN}"), &chain.ca.file()).unwrap();
    Cluster {
        chain,
        admin,
        _folder: folder,
        _one: one,
    }
}

impl Cluster {
    fn settings(&self, server: &str) -> Settings {
        let mut settings = Settings::new(server.parse().unwrap());
        settings.cluster = Some("vault.test".to_owned());
        settings.tls.ca_file = Some(self.chain.ca.file());
        settings
    }

    fn client(&self) -> Client {
        Client::new(&self.settings(CLUSTER)).unwrap()
    }

    async fn login(&self, client: &Client) -> IssuedToken {
        let keytab = self.chain.keytabs().join("crabtw.keytab");
        let ticket = Ticket::from_keytab("crabtw@TEST", &keytab).unwrap();
        let host = client.settings().kerberos_host();
        let negotiate = ticket.negotiate("host", host).unwrap();
        client.login("cms", "crab", &negotiate).await.unwrap()
    }

    async fn set(&self, path: &str, body: Value) {
        self.admin.call(Method::PUT, path, &body).await.unwrap();
    }

    /// Makes something go wrong.
    async fn fault(&self, fault: Value) {
        self.admin
            .call(Method::POST, "/faults", &fault)
            .await
            .unwrap();
    }

    /// Counts, from now on, the requests that each node gets.
    async fn count(&self) {
        self.admin.restore().await.unwrap();
        for node in 1..=3 {
            self.fault(json!({"effect": "latency", "value": "1ms", "node": node}))
                .await;
        }
    }

    /// What [`Cluster::count`] has counted.
    async fn counted(&self) -> Vec<u64> {
        let state = self
            .admin
            .call(Method::GET, "/faults", &Value::Null)
            .await
            .unwrap();
        state["faults"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|fault| fault["effect"] == "latency")
            .map(|fault| fault["met"].as_u64().unwrap())
            .collect()
    }
}

/// The order in which the resolver gives the three addresses is its own business: the first one
/// that is asked is found out.
async fn preferred(cluster: &Cluster, client: &Client, token: &VaultToken) -> usize {
    cluster.count().await;
    client.lookup_self(token).await.unwrap();
    let counted = cluster.counted().await;
    assert_eq!(counted.iter().sum::<u64>(), 1, "{counted:?}");
    counted.iter().position(|&count| count == 1).unwrap()
}

fn creds() -> CredentialUrl {
    CredentialUrl::creds(&CLUSTER.parse().unwrap(), "cms", "crabtw", "crab").unwrap()
}

fn minimum(seconds: u64) -> AccessTokenRequest {
    AccessTokenRequest {
        minimum_seconds: Some(seconds),
        ..AccessTokenRequest::default()
    }
}

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
async fn a_rate_limit_is_learned_and_a_bound_of_our_own_keeps_us_below_it() {
    let cluster = cluster(&["127.83.0.1:8200"]).await;
    let mut settings = cluster.settings("https://vault.test:8200");
    let client = Client::new(&settings).unwrap();
    let token = cluster.login(&client).await.token;

    cluster.set("/quota", json!({"quota": "3/1m/2s"})).await;
    let error = wait::until("a 429", FAR, async || {
        match client.lookup_self(&token).await {
            Ok(_) => Err("still answered".to_owned()),
            Err(error) => Ok(error),
        }
    })
    .await
    .unwrap();
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert_eq!(error.action(), Action::SlowDown);
    assert_eq!(error.status(), Some(429));
    // Nothing more is sent, not even when the server would answer again.
    cluster.set("/quota", json!({"quota": null})).await;
    let error = client.lookup_self(&token).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status()),
        (ErrorKind::RateLimited, None),
        "{error}"
    );
    assert!(error.retry_after().unwrap() <= Duration::from_secs(15));

    // `Retry-After` is obeyed where a server sends it, and then it goes on by itself.
    let client = Client::new(&settings).unwrap();
    cluster
        .set("/quota", json!({"quota": "3/1s/1s", "retry_after": true}))
        .await;
    wait::until("a 429", FAR, async || {
        client.lookup_self(&token).await.err()
    })
    .await
    .unwrap();
    cluster.set("/quota", json!({"quota": null})).await;
    wait::until("an answer after the block", FAR, async || {
        client.lookup_self(&token).await
    })
    .await
    .unwrap();

    // With a bound of our own the server never has to refuse.
    cluster.set("/quota", json!({"quota": "10/2s/1m"})).await;
    settings.limit = Some(RequestLimit {
        limit: 9,
        // The server's windows are fixed, ours slide: longer by what the way may take.
        per: Duration::from_secs(4),
    });
    let client = Client::new(&settings).unwrap();
    let asked = (0..20).map(|_| {
        let (client, token) = (client.clone(), token.clone());
        tokio::spawn(async move { client.lookup_self(&token).await.map(drop) })
    });
    for task in asked.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_issuers_outage_is_bridged_by_the_cached_token() {
    let cluster = cluster(&["127.83.0.1:8200"]).await;
    let client = Client::new(&cluster.settings("https://vault.test:8200")).unwrap();
    let token = cluster.login(&client).await.token;
    let now = SystemClock.now();
    let request = minimum(3598);
    let first = client
        .best_access_token(&creds(), &token, &minimum(2400), None, now)
        .await
        .unwrap();
    assert_eq!(first.less_because, None);

    cluster.set("/issuer", json!({"state": "down"})).await;
    // It has less left than asked for, but more than nothing.
    let bridged = wait::until(
        "the cached token to be short of what is asked",
        FAR,
        async || {
            let best = client
                .best_access_token(&creds(), &token, &request, None, SystemClock.now())
                .await;
            best.ok().filter(|best| best.less_because.is_some())
        },
    )
    .await
    .unwrap();
    assert_eq!(bridged.less_because.as_deref(), Some("token expired"));
    assert_eq!(
        bridged.answer.claims.as_ref().unwrap().id,
        first.answer.claims.as_ref().unwrap().id
    );

    // Who holds that very token gets the reason, not the same token again.
    let holds = bridged.answer.expires();
    let error = client
        .best_access_token(&creds(), &token, &request, holds, SystemClock.now())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotLongEnough);

    // A refused refresh token is bridged as well, and is somebody's task.
    cluster.set("/issuer", json!({"state": "up"})).await;
    let victim = json!({"credkey": "crabtw", "role": "cms:crab"});
    cluster
        .admin
        .call(Method::POST, "/kill", &victim)
        .await
        .unwrap();
    let bridged = client
        .best_access_token(&creds(), &token, &request, None, SystemClock.now())
        .await
        .unwrap();
    assert!(bridged.less_because.unwrap().contains("invalid_grant"));
    let error = client
        .access_token(&creds(), &token, &request)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.action()),
        (ErrorKind::RefreshRefused, Action::Onboard)
    );
}

#[tokio::test]
async fn a_person_onboards_once() {
    let cluster = cluster(&["127.83.0.1:8200"]).await;
    let client = Client::new(&cluster.settings("https://vault.test:8200")).unwrap();
    let mut flow = client
        .start_device_flow("cms", "production", "nonce-of-this-test")
        .await
        .unwrap();
    assert!(matches!(
        client.poll(&mut flow).await.unwrap(),
        Poll::Pending
    ));
    // Too early is told, and obeyed.
    let interval = flow.interval;
    assert!(matches!(
        client.poll(&mut flow).await.unwrap(),
        Poll::SlowDown
    ));
    assert_eq!(flow.interval, interval * 2);

    approve(&cluster, &flow.url, "crabtw").await;
    let login = wait::until("the approved login", FAR, async || {
        match client.poll(&mut flow).await {
            Ok(Poll::Done(login)) => Ok(login),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    assert_eq!(login.credkey, "crabtw");
    let url = CredentialUrl::creds(client.server(), "cms", &login.credkey, "production").unwrap();
    client
        .store_refresh_token(&url, "cms", &login)
        .await
        .unwrap();
    let answer = client
        .access_token(&url, &login.login.token, &minimum(2400))
        .await
        .unwrap();
    assert_eq!(answer.claims.unwrap().subject.as_deref(), Some("crabtw"));

    client
        .forget_refresh_token(&url, &login.login.token)
        .await
        .unwrap();
    let error = client
        .access_token(&url, &login.login.token, &minimum(60))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoneStored);
}

/// Does what the page's form does when a person approves.
async fn approve(cluster: &Cluster, url: &str, credkey: &str) {
    let server = integration::conformance::server::Server::new(
        "https://vault.test:8200",
        &cluster.chain.ca.file(),
    )
    .unwrap();
    cluster.admin.approve(&server, url, credkey).await.unwrap();
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
