//! "Good" is true: what is said of jobs' access tokens is never better than what they have.

use super::service::{HOUR, Service, at, of};
use super::*;
use crate::engine::report::Line;
use crate::model::delivery::Delivery;
use crate::model::problem::Remedy;
use tokio::sync::oneshot;

fn two() -> Vec<Delivery> {
    vec![at("a", "ap1"), at("b", "ap2")]
}

fn lines(service: &Service) -> Vec<Line> {
    service.reports.now().unwrap().deliveries.clone()
}

/// Fails when a line says more than what is true of it.
pub(super) fn is_true(outside: &Outside, line: &Line) {
    let world = outside.lock();
    let ends = world.stored.get(&line.wanted.id()).and_then(|s| s.ends);
    assert!(line.jobs_safe_until <= ends, "{line:?} but {ends:?}");
    let have = ends.is_some_and(|end| world.now() < end);
    assert!(have || !line.jobs_have_token, "{line:?}");
    assert!(have || line.state != Good, "{line:?}");
}

/// Passes so much time, and looks at every line each half minute.
async fn watch(service: &Service, time: Duration) {
    for _ in 0..time.as_secs() / 30 {
        tokio::time::sleep(MINUTE / 2).await;
        for line in lines(service) {
            is_true(&service.outside, &line);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_outage_and_a_refused_grant_are_told_long_before_jobs_suffer() {
    for (is_down, kind, remedy) in [
        (true, Kind::IssuerDown, Remedy::Wait),
        (false, Kind::NotOnboarded, Remedy::Onboard),
    ] {
        let outside = Outside::new();
        outside.lock().access_life = HOUR;
        let service = Service::good(&outside, two()).await;
        watch(&service, 3 * HOUR).await;
        assert!(lines(&service).iter().all(|line| line.state == Good));
        {
            let mut world = outside.lock();
            (world.issuer_down, world.no_grant) = (is_down, !is_down);
        }
        watch(&service, 25 * MINUTE).await;
        for line in lines(&service) {
            let problem = line.problem.as_ref().unwrap();
            assert_eq!((problem.kind, problem.remedy), (kind, remedy));
            assert!(line.jobs_have_token);
        }
        watch(&service, 2 * HOUR).await;
        assert!(lines(&service).iter().all(|line| !line.jobs_have_token));
        {
            let mut world = outside.lock();
            (world.issuer_down, world.no_grant) = (false, false);
        }
        service.order(Order::Retry(of(None, None))).await;
        watch(&service, 10 * MINUTE).await;
        assert!(lines(&service).iter().all(|line| line.state == Good));
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_grant_is_told_within_a_tenth_of_an_access_tokens_life_whenever_it_begins() {
    for (life, number) in [(HOUR, 1), (HOUR, 3), (2 * MINUTE, 1)] {
        for moment in 0..20 {
            let outside = Outside::new();
            outside.lock().access_life = life;
            // Of one account: they share what Vault has cached, with their credmons.
            let wanted = (0..number).map(|n| at("a", &format!("ap{n}"))).collect();
            let service = Service::good(&outside, wanted).await;
            tokio::time::sleep(life + life / 50 * moment).await;
            outside.lock().no_grant = true;
            tokio::time::sleep(life / 10).await;
            for line in lines(&service) {
                let kind = line.problem.as_ref().map(|problem| problem.kind);
                assert_eq!(kind, Some(Kind::NotOnboarded), "{life:?} {moment} {line:?}");
                assert!(line.jobs_have_token, "{line:?}");
            }
            service.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_token_that_dies_is_replaced_within_a_tenth_of_an_access_tokens_life() {
    for (life, number) in [(HOUR, 200), (3 * MINUTE / 2, 4)] {
        let outside = Outside::new();
        outside.lock().access_life = life;
        let many = (0..number).map(|n| at(&format!("a{n}"), &format!("ap{}", n % 50)));
        let wanted: Vec<Delivery> = many.collect();
        let service = Service::good(&outside, wanted.clone()).await;
        tokio::time::sleep(HOUR).await;
        {
            let mut world = outside.lock();
            for delivery in &wanted {
                let token = world.token_at(&delivery.id).unwrap();
                world.kill(&token);
            }
        }
        // And a moment for the push.
        tokio::time::sleep(life / 10 + Duration::from_secs(20)).await;
        let problems = service.reports.now().unwrap().problem_lines();
        for delivery in &wanted {
            let id = &delivery.id;
            assert!(
                service.has(&id.account, &id.schedd),
                "{id} {life:?}\n{problems:?}"
            );
        }
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn proofs_at_a_large_site_keep_their_time_and_their_bound() {
    let outside = Outside::new();
    outside.lock().access_life = HOUR;
    let here = Target::Directory("/creds".into());
    let many = (0..2000).map(|n| delivery(&format!("a{n}"), "cms", "here", here.clone()));
    let service = Service::good(&outside, many.collect()).await;
    tokio::time::sleep(HOUR).await;
    let before = outside.lock().calls;
    tokio::time::sleep(HOUR).await;
    let calls = outside.lock().calls - before;
    // Each is proved every six minutes, or a little oftener.
    assert!((20_000..30_000).contains(&calls), "{calls}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_login_of_a_person_the_credential_is_pushed() {
    let outside = Outside::new();
    let service = Service::good(&outside, two()).await;
    let before = outside.lock().stores;
    let (answer, answered) = oneshot::channel();
    let command = Command::Onboarded(of(Some("a"), None), None, answer);
    service.commands.send(command).await.ok().unwrap();
    assert_eq!(answered.await.unwrap().fault, None);
    tokio::time::sleep(MINUTE).await;
    assert!(
        outside.lock().stores > before,
        "so the credmon acts at once"
    );
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_configuration_or_state_is_told_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let outside = Outside::new();
    let service = Service::start_in(Some(&state), &outside, two());
    let is_good = async || {
        let report = service.reports.now().unwrap();
        (report.is_good(), report.problem_lines().concat())
    };
    tokio::time::sleep(MINUTE).await;
    assert_eq!(is_good().await, (true, String::new()));
    let faults = |faults: Option<&str>| Command::Faults(faults.map(str::to_owned));
    let tell = async |command| service.commands.send(command).await.ok().unwrap();
    tell(faults(Some("a.yaml:3:1: unknown key"))).await;
    tokio::time::sleep(MINUTE).await;
    let (good, told) = is_good().await;
    assert!(!good && told.contains("a.yaml:3:1: unknown key"), "{told}");
    tell(faults(None)).await;
    // Something that is no directory stands where the state was.
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::write(&state, "").unwrap();
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(MINUTE).await;
    let (good, told) = is_good().await;
    assert!(!good && told.contains("cannot be written"), "{told}");
    std::fs::remove_file(&state).unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(is_good().await, (true, String::new()));
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tokens_of_another_subject_are_told_and_not_taken_without_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    outside.lock().access_life = DAY;
    let state = Some(folder.path());
    let mut wanted = two();
    for delivery in &mut wanted {
        (delivery.lifetime, delivery.renew_below) = (6 * HOUR, 4 * HOUR);
    }
    let service = Service::start_in(state, &outside, wanted.clone());
    tokio::time::sleep(MINUTE).await;
    // Over a restart, too.
    service.stop().await;
    let service = Service::start_in(state, &outside, wanted);
    outside.lock().subject = Some("evil\u{1b}[31m".to_owned());
    let before = outside.lock().stores;
    // Until the renewal of every token is long due.
    tokio::time::sleep(4 * HOUR).await;
    assert_eq!(outside.lock().stores, before);
    let report = service.reports.now().unwrap();
    for line in &report.deliveries {
        let problem = line.problem.as_ref().unwrap();
        assert_eq!(problem.kind, Kind::WrongToken);
        let told = &problem.message;
        assert!(
            told.contains("evil\\u{1b}[31m") && told.contains("were of subject"),
            "{told}"
        );
    }
    service.order(Order::Push(of(Some("a"), None))).await;
    tokio::time::sleep(10 * MINUTE).await;
    let states: Vec<State> = lines(&service).iter().map(|line| line.state).collect();
    assert_eq!(states, [Good, Failed]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_schedd_does_not_take_makes_no_job_safe() {
    for moment in [0, 1, 10, 19] {
        let outside = Outside::new();
        let service = Service::good(&outside, two()).await;
        watch(&service, HOUR + moment * MINUTE).await;
        {
            // Its disk is full: the credmon writes nothing, either.
            let mut world = outside.lock();
            (world.stores_refused, world.credmons) = (true, false);
        }
        service.order(Order::Push(of(None, None))).await;
        watch(&service, 2 * HOUR).await;
        assert!(lines(&service).iter().all(|line| !line.jobs_have_token));
        {
            let mut world = outside.lock();
            (world.stores_refused, world.credmons) = (false, true);
        }
        tokio::time::sleep(10 * MINUTE).await;
        assert!(lines(&service).iter().all(|line| line.state == Good));
        service.stop().await;
    }
}
