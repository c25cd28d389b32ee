//! Deliveries that are configured away, and what an order does with them, on paused time.

use super::super::*;
use super::service::{HOUR, Service, at, deliveries, of, outcome};
use crate::engine::revoke::RevocationReport;
use crate::engine::revoke::StepOutcome;
use crate::fakes::Outside;
use crate::model::delivery::Selection;
use crate::policy::plan::State;

#[tokio::test(start_paused = true)]
async fn one_that_is_configured_away_is_revoked_whole_while_the_service_holds_its_token() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    service.reload(vec![at("b", "ap1"), at("b", "ap2")]).await;
    tokio::time::sleep(24 * HOUR).await;
    assert!(service.has("a", "ap1"), "what is there stays");
    assert_eq!(service.unwanted(), [at("a", "ap1").id, at("a", "ap2").id]);
    let reports = service.revoke(of(Some("a"), Some("ap1"))).await;
    assert_eq!(reports.len(), 1);
    assert_eq!(outcome(&reports[0]), [StepOutcome::Done; 3], "{reports:?}");
    assert!(
        reports[0].steps[2]
            .why
            .starts_with("the configuration has it no longer"),
        "{reports:?}"
    );
    assert!(!service.has("a", "ap1") && service.has("a", "ap2"));
    assert!(!outside.lock().stored.contains_key(&at("a", "ap1").id));
    assert_eq!(service.unwanted(), [at("a", "ap2").id]);

    // A stolen schedd: what was there before is meant too.
    let reports = service.revoke(of(None, Some("ap2"))).await;
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(RevocationReport::is_done), "{reports:?}");
    assert!(!service.has("a", "ap2") && !service.has("b", "ap2"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_configured_away_before_a_restart_is_named_and_deleted_where_that_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let outside = Outside::new();
    let mut second = at("a", "ap1");
    second.id.service = "cms_second".to_owned();
    let all = vec![at("a", "ap1"), second.clone(), at("b", "ap2")];
    let service = Service::start_in(state, &outside, all);
    tokio::time::sleep(HOUR).await;
    service.stop().await;

    let service = Service::start_in(state, &outside, vec![at("a", "ap1")]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.unwanted(), [second.id.clone(), at("b", "ap2").id]);
    let token = outside.lock().token_at(&second.id).unwrap();
    let only = Selection {
        service: Some("cms_second".to_owned()),
        ..of(Some("a"), Some("ap1"))
    };
    let reports = service.revoke(only.clone()).await;
    let steps = [StepOutcome::NotDone, StepOutcome::Done, StepOutcome::Done];
    assert_eq!(outcome(&reports[0]), steps, "{reports:?}");
    let command = format!("-accessor {}", token.replace("s.secret", "accessor"));
    assert!(reports[0].steps[0].why.contains(&command), "{reports:?}");
    assert!(!outside.lock().stored.contains_key(&second.id));
    // Named again as long as it lives.
    let reports = service.revoke(only).await;
    assert!(reports[0].steps[0].why.contains(&command), "{reports:?}");

    // No token of another account opens the credd, and the schedd itself is configured away.
    let reports = service.revoke(of(Some("b"), None)).await;
    let steps = [
        StepOutcome::NotDone,
        StepOutcome::NotDone,
        StepOutcome::Done,
    ];
    assert_eq!(outcome(&reports[0]), steps, "{reports:?}");
    tokio::time::sleep(8 * 24 * HOUR).await;
    assert!(service.revoke(of(Some("b"), None)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_wanted_again_goes_on_with_the_token_it_had() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1"), at("a", "ap2")]).await;
    service.reload(vec![at("a", "ap2")]).await;
    tokio::time::sleep(HOUR).await;
    service.reload(vec![at("a", "ap1"), at("a", "ap2")]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    assert_eq!(outside.lock().stores, 2);
    service.revoke(of(None, None)).await;
    assert_eq!(outside.lock().living_children(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_configured_away_in_the_midst_of_a_try_leaves_no_token_when_revoked() {
    for moment in 0..40 {
        let outside = Outside::new();
        let service = Service::start(&outside, vec![at("a", "ap1")]);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        service.reload(Vec::new()).await;
        if moment % 2 == 0 {
            service.reload(vec![at("a", "ap1")]).await;
            service.reload(Vec::new()).await;
        }
        service.revoke(of(Some("a"), None)).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(outside.lock().living_children(), 0, "after {moment} ms");
        assert!(outside.lock().stored.is_empty(), "after {moment} ms");
    }
}
