//! Revocations that are tried again, and what comes meanwhile, on paused time.

use super::super::*;
use super::service::{HOUR, Service, at, moved_to, of};
use crate::engine::revoke::StepOutcome;
use crate::fakes::Outside;
use crate::fixtures::{credd, credd_by, delivery};
use crate::model::delivery::{Delivery, Method};
use crate::model::problem::Remedy;
use crate::policy::plan::State;
use crate::store::Store;
use tokio::sync::oneshot;

#[tokio::test(start_paused = true)]
async fn a_schedd_that_hangs_keeps_no_token_alive_when_vault_is_back() {
    for number in [1, 40] {
        let outside = Outside::new();
        let wanted: Vec<_> = (0..number).map(|n| at(&format!("a{n}"), "ap1")).collect();
        let service = Service::good(&outside, wanted).await;
        {
            let mut world = outside.lock();
            world.vault_down = true;
            world.schedds_hang.insert("ap1".to_owned());
        }
        service.revoke(of(None, Some("ap1"))).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(outside.lock().living_children(), number);
        outside.lock().vault_down = false;
        tokio::time::sleep(HOUR / 12).await;
        assert_eq!(outside.lock().living_children(), 0);
        outside.lock().schedds_hang.clear();
        tokio::time::sleep(HOUR / 4).await;
        assert!(outside.lock().stored.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_do_not_wait_for_revocations_when_vault_is_back() {
    for moment in 0..6 {
        let outside = Outside::new();
        let hanging = (0..5).map(|n| format!("x{n}"));
        let hanging: Vec<String> = hanging.collect();
        let of_a = hanging.iter().map(|schedd| {
            let target = credd_by(schedd, Method::Idtokens, Some("test"));
            delivery("a", "cms", schedd, target)
        });
        let wanted = of_a.chain([at("b", "ok")]).collect();
        let service = Service::good(&outside, wanted).await;
        {
            let mut world = outside.lock();
            world.vault_down = true;
            world.schedds_hang.extend(hanging);
        }
        service.revoke(of(Some("a"), None)).await;
        tokio::time::sleep(HOUR + HOUR / 60 * moment).await;
        assert_eq!(service.state("b", "ok"), State::Failed);
        outside.lock().vault_down = false;
        tokio::time::sleep(HOUR / 40).await;
        // Its credmon makes the next access token a little later.
        assert_ne!(service.state("b", "ok"), State::Failed, "{moment}");
        assert_eq!(outside.lock().living_children(), 1);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_orders_while_a_revocation_waits_comes_first() {
    let mut waited = 0;
    for moment in 0..30 {
        let outside = Outside::new();
        let service = Service::good(&outside, vec![at("a", "ap1"), at("b", "ap2")]).await;
        {
            let mut world = outside.lock();
            world.vault_down = true;
            world.schedds_down.insert("ap1".to_owned());
        }
        service.revoke(of(Some("a"), None)).await;
        tokio::time::sleep(HOUR).await;
        // One of them asks Vault at a time, which takes long.
        {
            let mut world = outside.lock();
            world.schedds_down.clear();
            world.vault_takes = Duration::from_secs(15);
        }
        tokio::time::sleep(HOUR / 20 + Duration::from_secs(3 * moment)).await;
        if service.reports.now().unwrap().deliveries[0].working {
            continue;
        }
        waited += 1;
        let stored = || outside.lock().token_at(&at("a", "ap1").id);
        let before = stored().unwrap();
        service.order(Order::Push(of(Some("a"), Some("ap1")))).await;
        outside.lock().vault_down = false;
        // Jobs keep what they have until it is replaced.
        while stored().unwrap() == before {
            assert!(outside.lock().is_alive(&before), "{moment}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(HOUR / 10).await;
        assert_eq!(service.state("a", "ap1"), State::Good, "{moment}");
        service.stop().await;
    }
    assert!(waited > 5, "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_forgotten_though_logins_of_the_account_were_refused_just_before() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    outside.lock().login_refused.insert("a".to_owned());
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(HOUR / 12).await;
    outside.lock().login_refused.clear();
    let (answer, answered) = oneshot::channel();
    let forget = Command::Forget("a".to_owned(), answer);
    service.commands.send(forget).await.ok().unwrap();
    let steps = answered.await.unwrap();
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].outcome, StepOutcome::Done, "{steps:?}");
}

#[tokio::test(start_paused = true)]
async fn another_way_to_vault_or_schedd_is_no_wish_to_have_it_again() {
    let other_keytab = |mut delivery: Delivery| {
        let mut credential = (*delivery.credential).clone();
        let mut identity = (*credential.identity).clone();
        identity.keytab = "/another.keytab".into();
        credential.identity = Arc::new(identity);
        delivery.credential = Arc::new(credential);
        delivery
    };
    let other_server = |delivery| moved_to("https://other.test:8200", delivery);
    let other_opener = |mut delivery: Delivery| {
        delivery.target = credd_by("ap1", Method::Idtokens, Some("test"));
        delivery
    };
    let ways: [&dyn Fn(Delivery) -> Delivery; 3] = [&other_keytab, &other_server, &other_opener];
    for other_way in ways {
        let outside = Outside::new();
        let service = Service::good(&outside, vec![at("a", "ap1")]).await;
        service.revoke(of(None, Some("ap1"))).await;
        let stores = outside.lock().stores;
        service.reload(vec![other_way(at("a", "ap1"))]).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(service.state("a", "ap1"), State::Revoked);
        assert_eq!(outside.lock().stores, stores);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_is_left_alone_keeps_no_token_alive_when_vault_is_back() {
    let outside = Outside::new();
    let target = || credd_by("ap1", Method::Idtokens, Some("test"));
    let others = (0..8).map(|n| delivery(&format!("x{n}"), "cms", "ap1", target()));
    let wanted = others
        .chain([delivery("a", "cms", "ap1", target())])
        .collect();
    let service = Service::good(&outside, wanted).await;
    {
        let mut world = outside.lock();
        world.vault_down = true;
        world.schedds_hang.insert("ap1".to_owned());
    }
    let (answer, answered) = oneshot::channel();
    let order = Command::Revoke(of(Some("a"), None), true, answer);
    service.commands.send(order).await.ok().unwrap();
    answered.await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert!(service.has("a", "ap1"));
    outside.lock().vault_down = false;
    tokio::time::sleep(HOUR / 12).await;
    assert!(!service.has("a", "ap1"));
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_revocation_takes_the_way_to_its_schedd_that_is_configured_since() {
    let outside = Outside::new();
    let other = |target| delivery("a", "other", "ap1", target);
    let wanted = vec![at("a", "ap1"), other(credd("ap1"))];
    let service = Service::good(&outside, wanted).await;
    outside.lock().schedds_down.insert("ap1".to_owned());
    let mut of_cms = of(Some("a"), None);
    of_cms.service = Some("cms".to_owned());
    service.revoke(of_cms).await;
    // Access tokens open nothing any more; a token of the pool does.
    let target = credd_by("ap1", Method::Idtokens, Some("test"));
    service.reload(vec![other(target)]).await;
    {
        let mut world = outside.lock();
        world.no_grant = true;
        world.cached.clear();
        world.schedds_down.clear();
    }
    tokio::time::sleep(HOUR).await;
    let left = outside.lock().stored.contains_key(&at("a", "ap1").id);
    assert!(!left);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_while_an_opener_logs_in_leaves_no_login() {
    for milliseconds in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let outside = Outside::new();
        let service = Service::start_in(Some(folder.path()), &outside, vec![at("a", "ap1")]);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        service.revoke(of(None, None)).await;
        service.stop().await;
        let store = Store::read_only(folder.path());
        let known: Vec<String> = store.read(|content| content.logins.keys().cloned().collect());
        let living = outside.lock().all_living();
        assert!(
            living.iter().all(|login| known.contains(login)),
            "after {milliseconds} ms: {living:?}, but {known:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_deleted_though_others_at_the_schedd_fail_and_wait() {
    let outside = Outside::new();
    let others = (0..40).map(|n| at(&format!("x{n}"), "ap1"));
    let wanted = others.chain([at("a", "ap1")]).collect();
    let service = Service::good(&outside, wanted).await;
    outside.lock().schedds_down.insert("ap1".to_owned());
    service.revoke(of(Some("a"), None)).await;
    tokio::time::sleep(HOUR).await;
    {
        let mut world = outside.lock();
        world.schedds_down.clear();
        world.credmons = false;
    }
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(HOUR).await;
    let left = outside.lock().stored.contains_key(&at("a", "ap1").id);
    assert!(!left);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_hangs_at_the_stop_keeps_no_session_of_others() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    let before = outside.lock().living();
    assert_eq!(before, 3, "a session, a token and its login");
    let mut wanted = vec![at("a", "ap1"), at("b", "ap2")];
    wanted.reverse();
    outside.lock().login_hangs.insert("b".to_owned());
    service.reload(wanted).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    service.stop().await;
    assert_eq!(outside.lock().living(), 2, "what is at the schedd");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_follows_a_push_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let outside = Outside::new();
    let service = Service::start_in(state, &outside, vec![at("a", "ap1")]);
    tokio::time::sleep(HOUR).await;
    // What follows waits until this is attempted.
    outside.lock().vault_takes = Duration::from_secs(15);
    let of_schedd = || of(None, Some("ap1"));
    service.revoke_in_background(of_schedd()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let push = Command::Order(Order::Push(of_schedd()), oneshot::channel().0);
    service.commands.send(push).await.ok().unwrap();
    let reports = service.revoke(of_schedd()).await;
    assert!(reports[0].is_done(), "{reports:?}");
    service.stop().await;

    let service = Service::start_in(state, &outside, vec![at("a", "ap1")]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Revoked);
    assert_eq!(outside.lock().living_children(), 0);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_while_a_revocation_breaks_off_is_in_force_after_it() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    tokio::time::sleep(HOUR).await;
    {
        let mut world = outside.lock();
        world.vault_takes = Duration::from_secs(15);
        world.panics.insert("a".to_owned());
    }
    service.revoke_in_background(of(None, Some("ap1"))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut other = at("a", "ap1");
    other.lifetime = 6 * 24 * HOUR;
    service.reload(vec![other]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    {
        let mut world = outside.lock();
        world.vault_takes = Duration::from_millis(5);
        world.panics.clear();
    }
    assert_eq!(service.reports.now().unwrap().health.internal_faults, 1);
    service.order(Order::Push(of(None, Some("ap1")))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    let line = service.reports.now().unwrap().deliveries[0].clone();
    assert_eq!(line.wanted.lifetime_seconds, 6 * 24 * 3600);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_takes_long_holds_up_no_order_of_another() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1"), at("b", "ap2")]).await;
    outside.lock().schedds_hang.insert("ap1".to_owned());
    service.revoke_in_background(of(Some("a"), None)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = outside.lock().now();
    service.order(Order::Retry(of(None, None))).await;
    service.reload(vec![at("a", "ap1"), at("b", "ap2")]).await;
    assert!(until(before, outside.lock().now()) < Duration::from_secs(1));
    // Who wants it again has it when the revocation that runs has ended.
    service.order(Order::Push(of(None, Some("ap1")))).await;
    outside.lock().schedds_hang.clear();
    tokio::time::sleep(HOUR / 30).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    assert_eq!(outside.lock().living_children(), 2);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_while_another_is_carried_out_is_not_finished_with_that() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    let service = Service::start_in(Some(folder.path()), &outside, vec![at("a", "ap1")]);
    tokio::time::sleep(HOUR / 60).await;
    {
        let mut world = outside.lock();
        world.vault_takes = Duration::from_secs(15);
        world.schedds_hang.insert("ap1".to_owned());
    }
    let leave_schedd = Command::Revoke(of(None, None), true, oneshot::channel().0);
    service.commands.send(leave_schedd).await.ok().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    service.revoke_in_background(of(None, None)).await;
    // The first one has ended, the second waits for the schedd.
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(outside.lock().living_children(), 0);
    let store = Store::read_only(folder.path());
    assert_eq!(store.read(|content| content.unfinished().count()), 1);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn other_content_that_is_configured_while_a_revocation_runs_is_delivered_after_it() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    outside.lock().schedds_hang.insert("ap1".to_owned());
    service.revoke_in_background(of(None, Some("ap1"))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut other = at("a", "ap1");
    other.lifetime = 6 * 24 * HOUR;
    service.reload(vec![other]).await;
    // What is stored there stays, and is dead.
    tokio::time::sleep(HOUR / 30).await;
    outside.lock().schedds_hang.clear();
    tokio::time::sleep(HOUR / 30).await;
    assert_eq!(outside.lock().living_children(), 1);
    assert_eq!(service.state("a", "ap1"), State::Good);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_whose_schedd_nothing_says_how_to_reach_ends_when_a_person_leaves_it() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    let both = vec![at("a", "ap1"), at("b", "ap2")];
    let service = Service::start_in(Some(folder.path()), &outside, both);
    tokio::time::sleep(HOUR / 60).await;
    outside.lock().schedds_down.insert("ap1".to_owned());
    service.revoke(of(Some("a"), None)).await;
    service.stop().await;

    let only_b = vec![at("b", "ap2")];
    let service = Service::start_in(Some(folder.path()), &outside, only_b);
    tokio::time::sleep(HOUR / 60).await;
    let lines = || {
        let report = service.reports.now().unwrap();
        let is_unfinished = !report.unwanted.is_empty();
        (is_unfinished, report.is_good(), report.problem_lines())
    };
    let remedy = || service.reports.now().unwrap().unwanted[0].remedy();
    assert_eq!(remedy(), Remedy::FixThisHost);
    assert!(!service.revoke(of(Some("a"), None)).await[0].is_done());
    let words = "a/cms at ap1: its revocation is not finished: run `token-bastion revoke --account a --service cms \
                 --schedd ap1` again, with --leave-schedd if that schedd is no more";
    assert_eq!(lines(), (true, false, vec![words.to_owned()]));
    let (answer, answered) = oneshot::channel();
    let leave_schedd = Command::Revoke(of(Some("a"), None), true, answer);
    service.commands.send(leave_schedd).await.ok().unwrap();
    let reports = answered.await.unwrap();
    assert!(reports[0].is_done(), "{reports:?}");
    assert_eq!(lines(), (false, true, Vec::new()));
    service.stop().await;
}
