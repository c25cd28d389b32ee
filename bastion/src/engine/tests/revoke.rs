//! Orders to revoke, against a Vault, credds and credmons that behave, on paused time.

use super::super::*;
use super::service::{HOUR, Service, at, deliveries, of, outcome};
use crate::engine::revoke::RevocationReport;
use crate::engine::revoke::StepOutcome;
use crate::fakes::Outside;
use crate::fixtures::{credd_by, delivery};
use crate::policy::plan::State;
use crate::store::Store;
use tokio::sync::oneshot;

#[tokio::test(start_paused = true)]
async fn one_delivery_is_revoked_alone_and_is_not_pushed_again_until_asked_for() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    let reports = service.revoke(of(Some("a"), Some("ap1"))).await;
    assert_eq!(reports.len(), 1);
    assert!(reports[0].is_done(), "{reports:?}");
    tokio::time::sleep(24 * HOUR).await;
    assert!(!service.has("a", "ap1"));
    assert!(
        outside
            .lock()
            .stored
            .keys()
            .all(|id| *id != at("a", "ap1").id)
    );
    assert_eq!(service.state("a", "ap1"), State::Revoked);
    for (account, schedd) in [("a", "ap2"), ("b", "ap1"), ("b", "ap2")] {
        assert!(service.has(account, schedd), "{account} at {schedd}");
        assert_eq!(service.state(account, schedd), State::Good);
    }

    service.order(Order::Retry(of(Some("a"), None))).await;
    tokio::time::sleep(HOUR).await;
    assert!(
        !service.has("a", "ap1"),
        "a retry is no wish to have it again"
    );

    service.order(Order::Push(of(Some("a"), Some("ap1")))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    assert!(service.has("a", "ap1"));
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_is_stolen_and_silent_loses_every_token_at_once() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    outside.lock().schedds_down.insert("ap1".to_owned());
    let reports = service.revoke(of(None, Some("ap1"))).await;
    for report in &reports {
        let outcome: Vec<StepOutcome> = report.steps.iter().map(|step| step.outcome).collect();
        // Token, stored credential, kept off.
        assert_eq!(
            outcome,
            [StepOutcome::Done, StepOutcome::NotDone, StepOutcome::Done]
        );
    }
    assert!(!service.has("a", "ap1") && !service.has("b", "ap1"));
    assert!(service.has("a", "ap2") && service.has("b", "ap2"));

    // A second run finishes what the first could not.
    outside.lock().schedds_down.clear();
    let reports = service.revoke(of(None, Some("ap1"))).await;
    assert!(reports.iter().all(RevocationReport::is_done), "{reports:?}");
    assert_eq!(outside.lock().stored.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_runs_is_ended_first_and_its_token_dies_too() {
    let outside = Outside::new();
    // The credmon never serves: every try waits for it when the order comes.
    outside.lock().credmons = false;
    let service = Service::start(&outside, vec![at("a", "ap1")]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(service.has("a", "ap1"));
    let before = outside.lock().now();
    let reports = service.revoke(of(Some("a"), None)).await;
    assert!(reports[0].is_done(), "{reports:?}");
    let took = until(before, outside.lock().now());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(outside.lock().living_children(), 0);
    assert!(outside.lock().stored.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_order_in_the_midst_of_a_try_leaves_no_token_whenever_it_comes() {
    for moment in 0..60 {
        let outside = Outside::new();
        let service = Service::start(&outside, vec![at("a", "ap1")]);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let reports = service.revoke(of(Some("a"), None)).await;
        assert!(reports[0].is_done(), "after {moment} ms: {reports:?}");
        tokio::time::sleep(HOUR).await;
        assert_eq!(outside.lock().living_children(), 0, "after {moment} ms");
        assert!(outside.lock().stored.is_empty(), "after {moment} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn two_orders_at_once_are_both_answered_and_nothing_selected_is_an_answer() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    let (one, two) = tokio::join!(
        service.revoke(of(Some("a"), None)),
        service.revoke(of(None, Some("ap1")))
    );
    assert_eq!((one.len(), two.len()), (2, 2));
    assert!(service.revoke(of(Some("nobody"), None)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_configuration_of_the_delivery_is_delivered_and_the_same_is_not() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    service.revoke(of(Some("a"), None)).await;
    service.reload(vec![at("a", "ap1")]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Revoked);

    let mut other = at("a", "ap1");
    other.lifetime = 48 * HOUR;
    service.reload(vec![other]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_undo_an_order() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let outside = Outside::new();
    let service = Service::start_in(state, &outside, vec![at("a", "ap1"), at("b", "ap1")]);
    tokio::time::sleep(HOUR).await;
    service.revoke(of(Some("a"), None)).await;
    service.stop().await;

    let service = Service::start_in(state, &outside, vec![at("a", "ap1"), at("b", "ap1")]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Revoked);
    assert_eq!(service.state("b", "ap1"), State::Good);
    // Who pushes everything, or logs in for the account, does not mean the schedd that was stolen.
    service.order(Order::Push(of(None, None))).await;
    service.order(Order::Push(of(Some("a"), None))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Revoked);
    assert!(!service.has("a", "ap1"));
    service.order(Order::Push(of(Some("a"), Some("ap1")))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    assert!(Store::read_only(folder.path()).read(|content| content.revoked.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_kept_is_done_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let outside = Outside::new();
    let service = Service::start_in(Some(&file), &outside, vec![at("a", "ap1")]);
    tokio::time::sleep(HOUR).await;
    let reports = service.revoke(of(Some("a"), None)).await;
    let step = reports[0].steps.last().unwrap();
    assert_eq!(step.outcome, StepOutcome::NotDone);
    assert!(
        step.why
            .contains("a restart of the service would deliver it again"),
        "{step:?}"
    );
    assert_eq!(outside.lock().living_children(), 0);
}

#[tokio::test(start_paused = true)]
async fn credds_that_no_access_token_opens_are_shown_none_when_something_is_revoked() {
    use crate::model::delivery::Method;
    let to = |account: &str, schedd: &str, method, domain: Option<&str>| {
        delivery(account, "cms", schedd, credd_by(schedd, method, domain))
    };
    let outside = Outside::new();
    let wanted = vec![
        to("a", "super", Method::Idtokens, Some("test")),
        to("b", "super", Method::Idtokens, Some("test")),
        to("a", "ticket", Method::Kerberos, None),
        to("a", "host", Method::Ssl, None),
    ];
    let service = Service::good(&outside, wanted.clone()).await;
    // Their deliveries made them, one login each.
    let logins = outside.lock().logins;
    outside.lock().no_grant = true;
    let reports = service.revoke(of(Some("a"), None)).await;
    assert_eq!(reports.len(), 3);
    for report in &reports {
        assert_eq!(outcome(report), [StepOutcome::Done; 3], "{report:?}");
    }
    assert_eq!(outside.lock().logins, logins);
    assert!(service.has("b", "super"));

    // As `offboard` goes on: the refresh token is not needed by any of them.
    let (answer, answered) = oneshot::channel();
    let forget = Command::Forget("a".to_owned(), answer);
    service.commands.send(forget).await.ok().unwrap();
    let steps = answered.await.unwrap();
    assert!(
        steps.iter().all(|step| step.outcome < StepOutcome::NotDone),
        "{steps:?}"
    );
    assert_eq!(outside.lock().stored.len(), 1);

    // Configured away, a super-user still deletes it.
    service.reload(vec![wanted[0].clone()]).await;
    let reports = service.revoke(of(Some("b"), None)).await;
    assert_eq!(outcome(&reports[0]), [StepOutcome::Done; 3], "{reports:?}");
    assert!(outside.lock().stored.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_revocation_in_an_outage_is_finished_when_that_is_over() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    {
        let mut world = outside.lock();
        world.vault_down = true;
        world.schedds_down.insert("ap1".to_owned());
    }
    let reports = service.revoke(of(Some("a"), None)).await;
    assert_eq!(
        outcome(&reports[0])[..2],
        [StepOutcome::NotDone, StepOutcome::NotDone]
    );
    let why = &reports[0].steps[0].why;
    assert!(why.ends_with("it is tried again until it is done"), "{why}");
    let problem = |service: &Service| {
        let report = service.reports.now().unwrap();
        report.deliveries[0].problem.clone()
    };
    tokio::time::sleep(HOUR).await;
    let told = problem(&service).unwrap().message;
    assert!(told.contains("vault token"), "{told}");
    outside.lock().vault_down = false;
    tokio::time::sleep(HOUR / 6).await;
    let told = problem(&service).unwrap().message;
    assert!(told.contains("credential at the schedd"), "{told}");
    outside.lock().schedds_down.clear();
    tokio::time::sleep(HOUR / 6).await;
    assert_eq!(problem(&service), None);
    assert_eq!(service.state("a", "ap1"), State::Revoked);
    assert_eq!(outside.lock().stored.len(), 2, "those of b");
    assert!(!service.has("a", "ap1") && !service.has("a", "ap2"));
    assert!(service.has("b", "ap1") && service.has("b", "ap2"));
}
