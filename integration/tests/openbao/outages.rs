//! A server that is sealed, that refuses requests for a while, or whose LDAP is down: what the bastion
//! says, what it does, and that no token is lost.

use bastion::engine::report::Report;
use bastion::model::problem::{Kind, Remedy};
use integration::chain::Lives;
use integration::wait;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{FAR, Host};

/// The only problem of a report, once there is one.
async fn problem(host: &Host, command: &str) -> (Kind, Remedy, String) {
    let report: Report = host.report(command).await.unwrap();
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    let group = &report.problems[0];
    (group.kind, group.remedy, group.message.clone())
}

/// Every token that the schedd has lives at the server.
async fn all_live(host: &Host) {
    let tokens = host.vault_tokens();
    assert_eq!(tokens.len(), 3);
    for (path, token) in tokens {
        let lives = host.parts.site.lives(&token).await.unwrap();
        assert!(lives, "{}", path.display());
    }
}

#[tokio::test]
async fn a_sealed_server_is_waited_for_and_its_tokens_are_good_afterwards() {
    let host = Host::start(Lives::CALM).await;
    let mut service = host.service();
    host.all_good().await;
    let before = host.vault_tokens();

    let bao = &host.parts.site.bao;
    bao.seal(0).await.unwrap();
    let (kind, remedy, message) = problem(&host, "push").await;
    assert_eq!((kind, remedy), (Kind::VaultDown, Remedy::Wait));
    assert!(message.contains("sealed"), "{message}");
    let after = host.vault_tokens();
    assert!(
        before.keys().eq(after.keys()),
        "nothing is taken from the schedd"
    );

    bao.unseal(0).await.unwrap();
    host.all_good().await;
    all_live(&host).await;
    // The push that was ordered meanwhile was done: each token was replaced, and the old one is dead.
    for (path, token) in before {
        let lives = host.parts.site.lives(&token).await.unwrap();
        let now = &host.vault_tokens()[&path];
        assert_ne!(now.expose(), token.expose(), "{}", path.display());
        assert!(!lives, "{}", path.display());
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_used_up_quota_is_waited_for_in_one_message() {
    const QUOTA: &str = "sys/quotas/rate-limit/all";
    let host = Host::start(Lives::CALM).await;
    let mut service = host.service();
    host.all_good().await;
    let api = &host.parts.site.bao.api;
    let quota = json!({"rate": 1, "interval": "1h", "block_interval": "1h"});
    api.write(QUOTA, quota).await.unwrap();
    let (kind, remedy, message) = problem(&host, "push").await;
    assert_eq!((kind, remedy), (Kind::RateLimited, Remedy::Wait));
    assert!(message.contains("rate limit"), "{message}");

    let mark = service.mark();
    api.call(Method::DELETE, QUOTA, &Value::Null).await.unwrap();
    host.all_good().await;
    all_live(&host).await;
    let (lines, _) = service.lines_after(mark);
    let warned = lines.iter().filter(|line| line.contains("WARN")).count();
    assert_eq!(warned, 0, "{lines:#?}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn logins_wait_for_ldap_and_living_tokens_do_not() {
    let mut host = Host::start(Lives::QUICK).await;
    let mut service = host.service();
    host.all_good().await;
    host.parts.site.ldap.close().await;
    let told = wait::until("the outage to be told", FAR, async || {
        let report = host.report("status").await?;
        let group = report.problems.first().cloned();
        group.ok_or_else(|| "no problem yet".to_owned())
    });
    let told = told.await.unwrap();
    assert_eq!(told.remedy, Remedy::Wait, "{told:?}");
    assert!(told.message.contains("LDAP"), "{told:?}");
    // Access tokens go on by the tokens that the schedd has.
    let before = host.access_tokens();
    wait::until("new access tokens", FAR, async || {
        let now = host.access_tokens();
        let new = now.iter().all(|(path, token)| before[path] != *token);
        (new && now.len() == 3).then_some(())
    })
    .await
    .unwrap();
    host.parts.site.ldap.open().await.unwrap();
    host.all_good().await;
    all_live(&host).await;
    service.stop().await.unwrap();
}

#[tokio::test]
async fn both_tokens_are_renewed_and_no_replaced_one_is_left_at_the_server() {
    let host = Host::start(Lives::QUICK).await;
    let mut service = host.service();
    host.all_good().await;
    let first = host.vault_tokens();
    let seen = host.access_tokens();
    wait::until("new tokens of both kinds", FAR, async || {
        let (tops, uses) = (host.vault_tokens(), host.access_tokens());
        assert_eq!((tops.len(), uses.len()), (3, 3), "a token is gone");
        let new_tops = tops.iter().all(|(p, t)| first[p].expose() != t.expose());
        let new_uses = uses.iter().all(|(p, t)| seen[p] != *t);
        (new_tops && new_uses).then_some(())
    })
    .await
    .unwrap();
    host.all_good().await;
    for token in first.values() {
        wait::until("the replaced token's end", FAR, async || {
            let lives = host.parts.site.lives(token).await;
            (!lives.map_err(|error| error.to_string())?)
                .then_some(())
                .ok_or_else(|| "it lives".to_owned())
        })
        .await
        .unwrap();
    }
    service.stop().await.unwrap();
    all_live(&host).await;
}
