//! A standby whose leader is dead: `307` without a body, and the leader's address in `Location`.

use bastion::model::problem::{Kind, Remedy};
use integration::hostile::{Answer, Handling, Server};
use integration::wait;

use crate::{BEHIND_URL, CLUSTER, FAR, FRONT, Site, only, states};

/// The answer of a standby that knows only a dead leader; `leader` begins with `https://`.
fn redirect(leader: &str, path: &str) -> Handling {
    let place = format!("{leader}/v1/{path}");
    Handling::Answer(Answer::of(307, "text/plain", "").header("Location", &place))
}

#[tokio::test]
async fn a_standby_that_redirects_is_an_outage_of_that_node_alone() {
    let site = Site::start().await;
    let chain = &site.here.chain;
    let keytab = chain.folder().join("vault.keytab");
    let kdc = &chain.kdc;
    kdc.admin("addprinc -randkey host/cluster.test")
        .await
        .unwrap();
    let add = format!("ktadd -norandkey -k {} host/cluster.test", keytab.display());
    kdc.admin(&add).await.unwrap();
    let thief = Server::start(&chain.ca, "leader", |_| Answer::living(FAR))
        .await
        .unwrap();
    let leader = format!("https://{}:8200", thief.host());
    let front = site.front(move |path| redirect(&leader, path)).await;

    // The name of the cluster has a healthy address, too: bastion and credmon use it.
    site.configure(CLUSTER);
    let (report, said) = site.once().await;
    assert!(report.is_good(), "{:#?}\n{said}", report.problems);
    let asked = front.asked();
    println!("the standby was asked {} times", asked.len());
    assert!(!asked.is_empty(), "the standby is the first address");
    // Once at each of its addresses, by the bastion and by the credmon.
    assert!(asked.len() <= 2 * 2 * FRONT.len(), "{asked:?}");
    // Two addresses that are named in the configuration serve as well.
    site.forget();
    let both = format!("[{CLUSTER}, {BEHIND_URL}]");
    site.configure(&both);
    let (report, said) = site.once().await;
    assert!(report.is_good(), "{:#?}\n{said}", report.problems);
    assert!(thief.requests().is_empty(), "a redirect is not followed");
}

#[tokio::test]
async fn a_cluster_without_a_leader_is_waited_for_in_one_message() {
    let site = Site::start().await;
    let thief = Server::start(&site.here.chain.ca, "leader", |_| Answer::living(FAR)).await;
    let thief = thief.unwrap();
    let leader = format!("https://{}:8200", thief.host());
    let front = site.front(move |path| redirect(&leader, path)).await;
    let config = site.configure("https://vault.test:8200");

    let mut service = site.here.chain.service(&config).unwrap();
    wait::until("the outage to be reported", FAR, async || {
        let output = site.run(&["status", "--json"]).await;
        let report = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        let report: bastion::engine::report::Report = report;
        if report.problems.len() != 1 || states(&report).iter().any(|s| s.is_in_order()) {
            return Err(format!("{report:?}"));
        }
        let group = only(&report);
        assert_eq!((group.kind, group.remedy), (Kind::NoLeader, Remedy::Wait));
        assert!(group.message.contains("standby"), "{}", group.message);
        assert!(
            !group.message.contains("configuration"),
            "{}",
            group.message
        );
        Ok(())
    })
    .await
    .unwrap();
    let asked = front.asked().len();
    front.rule(|_| Handling::Pass);
    wait::until("all to be good", FAR, async || {
        let output = site.run(&["status"]).await;
        (output.status.code() == Some(0)).then_some(())
    })
    .await
    .unwrap();
    println!("{asked} requests while there was no leader");
    assert!(asked < 30, "{asked} requests");
    assert!(thief.requests().is_empty(), "a redirect is not followed");
    let (lines, _) = service.lines_after(integration::process::Mark::default());
    let warned = lines.iter().filter(|line| line.contains("WARN")).count();
    assert_eq!(warned, 1, "{lines:#?}");
    service.stop().await.unwrap();
}
