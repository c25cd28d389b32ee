//! What comes while an attempt or a revocation runs, or before it is finished: nothing of it is lost.

use std::time::Duration;

use super::super::Order;
use super::run_for;
use super::service::{HOUR, Service, at, deliveries, moved_to, of};
use crate::fakes::Outside;
use crate::fixtures::{config, credd, delivery};
use crate::model::delivery::Target;
use crate::policy::plan::State;
use crate::store::Store;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_configured_while_a_push_runs_is_pushed_after_it() {
    let outside = Outside::new();
    outside.lock().credmon_takes = 10 * SECOND;
    let service = Service::start(&outside, vec![at("a", "ap1")]);
    tokio::time::sleep(2 * SECOND).await;
    let mut other = at("a", "ap1");
    other.lifetime = 6 * 24 * HOUR;
    service.reload(vec![other]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    let line = service.reports.now().unwrap().deliveries[0].clone();
    let left = line.vault_token_seconds_left.unwrap() / 3600;
    assert_eq!(left, 6 * 24 - 1, "hours");
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_with_a_revocation_that_was_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let outside = Outside::new();
    let wanted = || vec![at("a", "ap1"), at("b", "ap1")];
    let service = Service::start_in(state, &outside, wanted());
    tokio::time::sleep(HOUR).await;
    {
        let mut world = outside.lock();
        world.vault_down = true;
        world.schedds_down.insert("ap1".to_owned());
    }
    service.revoke(of(Some("a"), None)).await;
    service.stop().await;
    assert!(service.has("a", "ap1"));

    let service = Service::start_in(state, &outside, wanted());
    {
        let mut world = outside.lock();
        world.vault_down = false;
        world.schedds_down.clear();
    }
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Revoked);
    assert!(!service.has("a", "ap1") && service.has("b", "ap1"));
    assert_eq!(outside.lock().stored.len(), 1, "that of b");
    service.stop().await;

    // What is finished is not begun again, whatever the schedd says.
    outside.lock().schedds_down.insert("ap1".to_owned());
    let service = Service::start_in(state, &outside, vec![at("a", "ap1")]);
    tokio::time::sleep(HOUR).await;
    let line = service.reports.now().unwrap().deliveries[0].clone();
    assert_eq!((line.state, line.problem), (State::Revoked, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_away_is_deleted_when_its_schedd_is_back() {
    for restarts in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let state = Some(folder.path());
        let here = |account: &str| delivery(account, "cms", "here", Target::Directory("/d".into()));
        let outside = Outside::new();
        let other = || delivery("a", "other", "ap1", credd("ap1"));
        let wanted = [deliveries(), vec![here("a"), here("b"), other()]].concat();
        let mut service = Service::start_in(state, &outside, wanted);
        tokio::time::sleep(HOUR).await;
        let rest = || vec![other(), at("b", "ap1"), at("b", "ap2"), here("b")];
        service.reload(rest()).await;
        {
            let mut world = outside.lock();
            let down = ["ap1", "here"].map(str::to_owned);
            world.schedds_down.extend(down);
        }
        let mut of_cms = of(Some("a"), None);
        of_cms.service = Some("cms".to_owned());
        service.revoke(of_cms).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(outside.lock().stored.len(), 6, "two are left");
        assert_eq!(
            service.unwanted(),
            [at("a", "ap1").id, here("a").id],
            "they are shown"
        );
        if restarts {
            service.stop().await;
            service = Service::start_in(state, &outside, rest());
            tokio::time::sleep(HOUR).await;
        }
        outside.lock().schedds_down.clear();
        tokio::time::sleep(HOUR).await;
        let left = outside.lock().stored.keys().cloned().collect::<Vec<_>>();
        assert!(
            left.iter().all(|id| *id == other().id || id.account == "b"),
            "{left:?}"
        );
        assert!(service.unwanted().is_empty());
        service.stop().await;
        let store = Store::read_only(folder.path());
        assert!(store.read(|content| content.unfinished().next().is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_found_token_is_checked_forgets_it_not() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let outside = Outside::new();
    let here = || delivery("a", "cms", "here", Target::Directory("/creds".into()));
    let service = Service::start_in(state, &outside, vec![here()]);
    tokio::time::sleep(HOUR).await;
    service.stop().await;

    outside.lock().reads_hang.insert("a".to_owned());
    let service = Service::start_in(state, &outside, vec![here()]);
    tokio::time::sleep(5 * SECOND).await;
    service.stop().await;
    let records = Store::read_only(folder.path()).records_of(&here().id);
    assert!(records.unwrap().current.is_some());
}

#[tokio::test(start_paused = true)]
async fn tokens_of_another_vault_are_shown_to_no_other_and_stay_named() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    let line = || service.reports.now().unwrap().deliveries[0].clone();
    let former = line().accessor.unwrap();
    let moved = moved_to("https://other.test:8200", at("a", "ap1"));
    service.reload(vec![moved]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    assert!(line().other_accessors.contains(&former), "{:?}", line());
    let reports = service.revoke(of(Some("a"), None)).await;
    assert!(!reports[0].is_done(), "{reports:?}");
    let named = |accessor: &str| {
        let steps = reports[0].steps.iter();
        steps
            .clone()
            .any(|step| format!("{step:?}").contains(accessor))
    };
    assert!(named(&former), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn other_scopes_that_could_not_be_pushed_are_pushed_after_a_restart() {
    for is_killed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let state = Some(folder.path());
        let outside = Outside::new();
        let with_scopes = || {
            let mut other = at("a", "ap1");
            let mut credential = (*other.credential).clone();
            credential.scopes = vec!["storage.read:/".to_owned()];
            other.credential = std::sync::Arc::new(credential);
            vec![other]
        };
        let service = Service::start_in(state, &outside, vec![at("a", "ap1")]);
        tokio::time::sleep(HOUR).await;
        let before = outside.lock().token_at(&at("a", "ap1").id);
        // Either the schedd is down, or the service ends before it has taken the token.
        if !is_killed {
            outside.lock().schedds_down.insert("ap1".to_owned());
        }
        outside.lock().stores_refused = true;
        service.reload(with_scopes()).await;
        tokio::time::sleep(2 * SECOND).await;
        service.stop().await;
        {
            let mut world = outside.lock();
            world.schedds_down.clear();
            world.stores_refused = false;
        }
        assert_eq!(outside.lock().token_at(&at("a", "ap1").id), before);
        let service = Service::start_in(state, &outside, with_scopes());
        tokio::time::sleep(10 * 60 * SECOND).await;
        assert_eq!(service.state("a", "ap1"), State::Good);
        assert_ne!(outside.lock().token_at(&at("a", "ap1").id), before);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_vault_of_before_are_not_revoked_elsewhere_though_configured_away() {
    for is_unfinished in [false, true] {
        let outside = Outside::new();
        let service = Service::good(&outside, vec![at("a", "ap1"), at("b", "ap2")]).await;
        let line = |account: &str| {
            let report = service.reports.now().unwrap();
            let mut lines = report.deliveries.iter();
            lines.find(|line| line.wanted.account == account).cloned()
        };
        let former = line("a").unwrap().accessor.unwrap();
        service.reload(vec![at("b", "ap2")]).await;
        if is_unfinished {
            outside.lock().vault_down = true;
            service.revoke(of(Some("a"), None)).await;
        }
        // The Vault moves, and another one answers now.
        let moved =
            |account: &str, schedd: &str| moved_to("https://other.test:8200", at(account, schedd));
        if is_unfinished {
            let both = vec![moved("a", "ap1"), moved("b", "ap2")];
            service.reload(both).await;
            outside.lock().vault_down = false;
            tokio::time::sleep(HOUR).await;
            let line = line("a").unwrap();
            assert!(line.other_accessors.contains(&former), "{line:?}");
        } else {
            service.reload(vec![moved("b", "ap2")]).await;
            let reports = service.revoke(of(Some("a"), None)).await;
            let told = format!("{reports:?}");
            assert!(!reports[0].is_done() && told.contains(&former), "{told}");
        }
        let living = outside.lock().living_accessors();
        assert!(living.contains(&former), "{living:?}");
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_subject_that_is_configured_is_taken_after_a_restart_and_when_a_person_asks() {
    for target in [credd("ap1"), Target::Directory("/creds".into())] {
        let folder = tempfile::tempdir().unwrap();
        let state = Some(folder.path());
        let of_credkey = |credkey: &str| {
            let mut wanted = delivery("a", "cms", "ap1", target.clone());
            let mut credential = (*wanted.credential).clone();
            let server = credential.url.server();
            credential.credkey = credkey.to_owned();
            credential.url =
                htvault::CredentialUrl::creds(&server, "cms", credkey, "default").unwrap();
            wanted.credential = std::sync::Arc::new(credential);
            vec![wanted]
        };
        let outside = Outside::new();
        let service = Service::start_in(state, &outside, of_credkey("a"));
        tokio::time::sleep(HOUR).await;
        service.stop().await;
        let service = Service::start_in(state, &outside, of_credkey("z"));
        tokio::time::sleep(HOUR / 6).await;
        assert_eq!(service.state("a", "ap1"), State::Good);

        // Nothing is configured anew, and the token is gone: only a person knows that it is right.
        {
            let mut world = outside.lock();
            world.subject = Some("another".to_owned());
            world.stored.clear();
        }
        tokio::time::sleep(HOUR).await;
        assert_eq!(service.state("a", "ap1"), State::Failed);
        service.order(Order::Push(of(Some("a"), None))).await;
        tokio::time::sleep(HOUR / 6).await;
        assert_eq!(service.state("a", "ap1"), State::Good);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_made_before_the_clock_was_set_back_is_not_pushed_after_it() {
    for dies in [false, true] {
        let outside = Outside::new();
        {
            let mut world = outside.lock();
            (world.clock_wrong_by, world.stores_refused) = (365 * 86_400, true);
        }
        let service = Service::start(&outside, vec![at("a", "ap1")]);
        tokio::time::sleep(HOUR).await;
        if dies {
            let logins = outside.lock().all_living();
            for accessor in logins {
                let token = accessor.replace("accessor", "s.secret");
                outside.lock().kill(&token);
            }
        }
        outside.lock().clock_wrong_by = 0;
        tokio::time::sleep(HOUR).await;
        outside.lock().stores_refused = false;
        tokio::time::sleep(HOUR / 6).await;
        assert_eq!(service.state("a", "ap1"), State::Good, "{dies}");
        let replaced = outside.lock().stores;
        tokio::time::sleep(5 * 24 * HOUR).await;
        assert_eq!(outside.lock().stores, replaced + 1, "renewed in time");
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_that_a_person_asks_for_while_one_runs_follows_it() {
    let outside = Outside::new();
    outside.lock().credmon_takes = 10 * SECOND;
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    let before = outside.lock().logins;
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(outside.lock().logins, before + 1);
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(outside.lock().logins, before + 2);
    assert_eq!(service.state("a", "ap1"), State::Good);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_order_of_vaults_addresses_leaves_no_tokens_behind() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    let first = at("a", "ap1").credential.url.server();
    let second = "https://v2.test:8200";
    let moved = moved_to(second, at("a", "ap1"));
    let servers = vec![second.parse().unwrap(), first];
    service.reload_of(vec![moved], servers).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    assert_eq!(outside.lock().living_children(), 1);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_over_a_token_that_was_never_read_names_it_first() {
    let here = || delivery("a", "cms", "here", Target::Directory("/creds".into()));
    let outside = Outside::new();
    let service = Service::good(&outside, vec![here()]).await;
    service.stop().await;
    // The state is lost, and the directory cannot be read at first.
    outside.lock().schedds_down.insert("here".to_owned());
    let service = Service::start(&outside, vec![here()]);
    tokio::time::sleep(HOUR / 60).await;
    outside.lock().schedds_down.clear();
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "here"), State::Good);
    assert_eq!(
        outside.lock().living_children(),
        1,
        "the former one is revoked"
    );
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_vault_of_another_configuration_nothing_is_done_for_a_delivery_of_the_old_one() {
    let outside = Outside::new();
    let config = config(vec![at("a", "ap1")]);
    let mut engine = super::engine(&config, &outside);
    run_for(&mut engine, HOUR / 60).await;
    let calls = outside.lock().calls;
    // As a task on another thread sees it before its own message.
    engine.change_env(|env| env.vaults = vec!["https://v2.test:8200".parse().unwrap()]);
    run_for(&mut engine, HOUR).await;
    assert_eq!(outside.lock().calls, calls);
    engine.change_env(|env| env.vaults = config.vault.servers().to_vec());
    run_for(&mut engine, HOUR).await;
    assert!(engine.report().is_good());
}
