//! Three nodes: a leader that is killed, the election of another, and what standbys say meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bastion::model::problem::{Kind, Remedy};
use htvault::{CredentialUrl, ErrorKind};
use integration::chain::Lives;
use integration::conformance::recorded::{Answer, Request, exchange};
use integration::conformance::server::Server;
use integration::openbao::site::THREE_NODES;
use integration::wait;

use crate::{FAR, Host, minimum};

const CLUSTER: &str = "cluster.test";

/// Asks a node for a token that it does not know; what it answers tells who leads.
async fn ask(node: &Server) -> anyhow::Result<Answer> {
    let request = Request {
        method: "GET".into(),
        path: "/v1/auth/token/lookup-self".into(),
        headers: vec![("X-Vault-Token".into(), "s.nobody".into())],
        body: String::new(),
    };
    node.send(&request).await
}

#[tokio::test]
async fn a_killed_leader_is_followed_by_another_and_no_token_is_lost() {
    let mut host = Host::start_at(Lives::CALM, &THREE_NODES, CLUSTER).await;
    let mut service = host.service();
    host.all_good().await;
    let before = host.vault_tokens();
    let site = &mut host.parts.site;
    assert_eq!(site.bao.leader().await.unwrap(), 0);
    let trust = Server::new("https://vault.test:8200", &site.chain.ca.file()).unwrap();
    let standbys = [1, 2].map(|n| trust.at(&format!("https://{}:8200", THREE_NODES[n])));
    for standby in &standbys {
        let answer = ask(standby).await.unwrap();
        assert_eq!(answer.status, 403, "it forwards: {}", answer.body);
    }

    // Each standby is asked all the time, from before the end of the leader.
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut asking = tokio::task::JoinSet::new();
    for standby in standbys.clone() {
        let seen = Arc::clone(&seen);
        asking.spawn(async move {
            loop {
                let answer = ask(&standby).await.unwrap();
                let place = answer.header("Location").map(str::to_owned);
                let mut seen = seen.lock().unwrap();
                seen.insert((answer.status, place, answer.body));
            }
        });
    }
    site.bao.kill(0).await.unwrap();
    // A person orders a push while there is no leader.
    let report = host.report("push").await.unwrap();
    for group in &report.problems {
        assert_eq!((group.kind, group.remedy), (Kind::NoLeader, Remedy::Wait));
    }
    let leader = host.parts.site.bao.wait_for_leader().await.unwrap();
    assert_ne!(leader, 0);
    host.all_good().await;
    asking.shutdown().await;
    let seen = seen.lock().unwrap().clone();
    // A standby that knows only the dead leader redirects to it; without any, it says so.
    let redirected = seen.iter().find(|(status, ..)| *status == 307);
    let (_, place, body) = redirected.unwrap();
    assert_eq!(
        place.as_deref(),
        Some("https://vault.test:8200/v1/auth/token/lookup-self")
    );
    assert_eq!(body, "");
    let recorded = exchange("failover-lookup").unwrap().answer;
    for (status, _, body) in seen.iter().filter(|(status, ..)| *status >= 500) {
        assert_eq!(
            (*status, body.trim()),
            (recorded.status, recorded.json().to_string().as_str())
        );
    }

    // What lived lives at the new leader, and what was replaced does not.
    let site = &mut host.parts.site;
    for (path, token) in &before {
        let lives = site.lives(token).await.unwrap();
        assert!(!lives, "replaced by the push: {}", path.display());
    }
    for (path, token) in host.vault_tokens() {
        assert!(
            host.parts.site.lives(&token).await.unwrap(),
            "{}",
            path.display()
        );
    }
    // The node is back, as a standby.
    let site = &mut host.parts.site;
    site.bao.resume(0).await.unwrap();
    wait::until("the node to forward", FAR, async || {
        let answer = ask(&trust).await?;
        anyhow::ensure!(answer.status == 403, "{} {}", answer.status, answer.body);
        Ok(())
    })
    .await
    .unwrap();
    // A token that is made and revoked at one node is known so at the others, as soon as they follow.
    let site = &host.parts.site;
    let login = host.parts.login("crabtw", "crab").await;
    let nodes = THREE_NODES.map(|node| site.client_at(node).unwrap());
    for node in &nodes {
        let look_up = async || node.lookup_self(&login.token).await;
        wait::until("the node to know it", FAR, look_up)
            .await
            .unwrap();
    }
    nodes[1].revoke_self(&login.token).await.unwrap();
    for (node, name) in nodes.iter().zip(THREE_NODES) {
        let look_up = async || node.lookup_self(&login.token).await.err();
        let dead = wait::until("its end at the node", FAR, look_up)
            .await
            .unwrap();
        assert_eq!(dead.kind(), ErrorKind::TokenRejected, "{name}: {dead}");
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_elects_nobody_is_waited_for_and_reads_go_on() {
    let mut host = Host::start_at(Lives::CALM, &THREE_NODES, CLUSTER).await;
    let mut service = host.service();
    host.all_good().await;
    let before = host.vault_tokens();
    let login = host.parts.login("crabtw", "crab").await;
    let site = &mut host.parts.site;
    let (ca_file, url) = (site.chain.ca.file(), "https://vault2.test:8200");
    let standby = Server::new(url, &ca_file).unwrap();
    site.bao.leave_alone(1).await.unwrap();

    // What has to be written it cannot pass on.
    let mut request = exchange("failover-create").unwrap().request;
    request.headers[0].1 = login.token.expose().to_owned();
    let answer = standby.send(&request).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (307, ""));
    // What is only read, the standby answers by itself.
    let client = site.client_at("vault2.test").unwrap();
    client.lookup_self(&login.token).await.unwrap();
    let url = CredentialUrl::creds(client.server(), "cms", "crabtw", "crab").unwrap();
    let wanted = minimum(60);
    let read = client.access_token(&url, &login.token, &wanted).await;
    read.unwrap();

    let report = host.report("push").await.unwrap();
    assert!(!report.problems.is_empty());
    for group in &report.problems {
        assert_eq!(group.remedy, Remedy::Wait, "{group:?}");
    }
    host.parts.site.bao.take_back().await.unwrap();
    host.all_good().await;
    for (path, token) in before {
        let lives = host.parts.site.lives(&token).await.unwrap();
        assert!(!lives, "replaced by the push: {}", path.display());
    }
    service.stop().await.unwrap();
}
