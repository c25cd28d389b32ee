//! Rate limits, an issuer that is down, a refused refresh token, and the onboarding that mends it.

use std::time::Duration;

use htvault::clock::{Clock as _, SystemClock};
use htvault::{Action, Client, CredentialUrl, ErrorKind, Poll, RequestLimit};
use integration::wait;
use reqwest::Method;
use serde_json::json;

use crate::{Cluster, FAR, cluster, minimum};

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
    let url = CredentialUrl::creds(client.server(), "cms", "crabtw", "crab").unwrap();
    let now = SystemClock.now();
    let request = minimum(3598);
    let first = client
        .best_access_token(&url, &token, &minimum(2400), None, now)
        .await
        .unwrap();
    assert!(first.less_because.is_none());

    cluster.set("/issuer", json!({"state": "down"})).await;
    // It has less left than asked for, but more than nothing.
    let bridged = wait::until(
        "the cached token to be short of what is asked",
        FAR,
        async || {
            let best = client
                .best_access_token(&url, &token, &request, None, SystemClock.now())
                .await;
            best.ok().filter(|best| best.less_because.is_some())
        },
    )
    .await
    .unwrap();
    let error = bridged.less_because.unwrap();
    assert_eq!(error.kind(), ErrorKind::NotLongEnough);
    assert_eq!(error.words(), "token expired");
    assert_eq!(
        bridged.answer.claims.as_ref().unwrap().id,
        first.answer.claims.as_ref().unwrap().id
    );

    // Who holds that very token gets the reason, not the same token again.
    let holds = bridged.answer.expires();
    let error = client
        .best_access_token(&url, &token, &request, holds, SystemClock.now())
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
        .best_access_token(&url, &token, &request, None, SystemClock.now())
        .await
        .unwrap();
    let error = bridged.less_because.unwrap();
    assert!(error.words().contains("invalid_grant"), "{error}");
    let error = client
        .access_token(&url, &token, &request)
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
    let mut flow = client.start_device_flow("cms", "production").await.unwrap();
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
    integration::conformance::admin::approve(&server, url, credkey)
        .await
        .unwrap();
}
