//! Failures, hangs and orders of one delivery that must not harm others.

use super::service::{HOUR, Service, at, of};
use super::*;
use crate::engine::report::{Line, RemovedDelivery};
use crate::fixtures::credd_by;
use crate::model::delivery::Delivery;
use crate::model::delivery::Method;
use crate::model::problem::{Cause, Problem, Remedy};

/// Until every delivery of these accounts is good.
async fn good(service: &mut Service, accounts: &[&str]) {
    let good = async {
        loop {
            let report = service.reports.now().unwrap();
            let mut meant = report.deliveries.iter();
            let is_good = |line: &Line| {
                line.state == Good || !accounts.contains(&line.wanted.account.as_str())
            };
            if meant.all(is_good) {
                break;
            }
            service.reports.changed().await.unwrap();
        }
    };
    let in_time = timeout(HOUR, good).await;
    in_time.expect("not good within an hour");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_revoked_or_removed_while_it_probes_stops_nobody() {
    // Probes of an outage come at moments of their own; one of these is hit for certain.
    for second in (1..60).step_by(7) {
        for is_revoked in [true, false] {
            let outside = Outside::new();
            let wanted = vec![at("a", "ap1"), at("b", "ap2"), at("c", "ap3")];
            let mut service = Service::good(&outside, wanted.clone()).await;
            {
                let mut world = outside.lock();
                (world.vault_down, world.vault_takes) = (true, Duration::from_secs(9));
            }
            service.order(Order::Push(of(None, None))).await;
            tokio::time::sleep(Duration::from_secs(second)).await;
            for account in ["a", "b"] {
                if is_revoked {
                    service.revoke_in_background(of(Some(account), None)).await;
                } else {
                    let mut wanted = wanted.clone();
                    wanted.retain(|delivery| *delivery.id.account > *account);
                    service.reload(wanted).await;
                }
            }
            tokio::time::sleep(HOUR).await;
            {
                let mut world = outside.lock();
                (world.vault_down, world.vault_takes) = (false, Duration::from_millis(5));
            }
            let back = outside.lock().now();
            good(&mut service, &["c"]).await;
            let took = until(back, outside.lock().now());
            assert!(took < 5 * MINUTE, "{took:?} after second {second}");
            service.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_whose_reads_hang_hold_up_nobody_else() {
    let outside = Outside::new();
    let hanging = (0..100).map(|n| format!("h{n}"));
    let mut wanted: Vec<Delivery> = hanging
        .clone()
        .map(|account| at(&account, &account))
        .collect();
    wanted.push(delivery("other", "atlas", "ap1", credd("ap1")));
    wanted.push(at("same", "ap2"));
    outside.lock().reads_hang = hanging.collect();
    let begun = outside.lock().now();
    let mut service = Service::start(&outside, wanted);
    good(&mut service, &["other"]).await;
    let took = until(begun, outside.lock().now());
    assert!(took < Duration::from_secs(10), "another issuer: {took:?}");
    good(&mut service, &["same"]).await;
    let took = until(begun, outside.lock().now());
    assert!(took < 2 * MINUTE, "the same issuer: {took:?}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn few_accounts_whose_reads_hang_for_many_schedds_hold_up_nobody_else() {
    let outside = Outside::new();
    let hanging = (0..4).map(|n| format!("h{n}"));
    let of_many = |account: String| (0..30).map(move |n| at(&account, &format!("{account}-{n}")));
    let mut wanted: Vec<Delivery> = hanging.clone().flat_map(of_many).collect();
    wanted.push(at("same", "ap1"));
    outside.lock().reads_hang = hanging.collect();
    let begun = outside.lock().now();
    let mut service = Service::start(&outside, wanted);
    good(&mut service, &["same"]).await;
    let took = until(begun, outside.lock().now());
    assert!(took < MINUTE, "the same issuer: {took:?}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_counted_and_reported_and_its_task_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    let wanted = vec![at("a", "ap1"), at("b", "ap1")];
    let mut service = Service::start_in(Some(folder.path()), &outside, wanted);
    good(&mut service, &["a", "b"]).await;
    let faults = |service: &Service| service.reports.now().unwrap().health.internal_faults;
    assert_eq!(faults(&service), 0);
    outside.lock().panics.insert("a".to_owned());
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(10 * MINUTE).await;
    let report = service.reports.now().unwrap();
    let line = &report.deliveries[0];
    let problem = line.problem.as_ref().unwrap();
    assert_eq!(problem.kind, Kind::Internal);
    assert!(problem.message.contains("please report it"), "{problem:?}");
    assert!((2..20).contains(&faults(&service)), "{}", faults(&service));
    assert_eq!(service.state("b", "ap1"), Good);
    // Its tokens are known by their names.
    let reports = service.revoke(of(Some("a"), None)).await;
    assert!(reports[0].steps.len() > 2, "{reports:?}");
    outside.lock().panics.clear();
    service.order(Order::Push(of(None, Some("ap1")))).await;
    good(&mut service, &["a", "b"]).await;
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_try_finds_out_for_all_deliveries_of_a_credential() {
    let outside = Outside::new();
    let many = (0..60).map(|n| at("a", &format!("ap{n}")));
    let wanted: Vec<Delivery> = many.chain([at("b", "ap1")]).collect();
    let mut service = Service::good(&outside, wanted).await;
    {
        let mut world = outside.lock();
        world.no_grant = true;
        world.cached.clear();
    }
    let calls = || outside.lock().calls;
    let before = calls();
    service.order(Order::Push(of(Some("a"), None))).await;
    tokio::time::sleep(10 * MINUTE).await;
    let asked = calls() - before;
    assert!(asked < 150, "{asked} requests for 60 deliveries");
    outside.lock().no_grant = false;
    service.order(Order::Retry(of(Some("a"), None))).await;
    good(&mut service, &["a", "b"]).await;
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn credds_that_hang_leave_room_however_they_are_opened() {
    for method in [Method::Scitokens, Method::Idtokens, Method::Ssl] {
        let outside = Outside::new();
        outside.lock().schedds_hang = ["bad1", "bad2"].map(str::to_owned).into();
        let to = |account: &str, schedd: &str| {
            let domain = (method != Method::Scitokens).then_some("test");
            delivery(account, "cms", schedd, credd_by(schedd, method, domain))
        };
        let of_schedd = |schedd: &'static str| (0..60).map(move |n| (format!("a{n}"), schedd));
        let bad = of_schedd("bad1").chain(of_schedd("bad2"));
        let mut wanted: Vec<Delivery> = bad.map(|(account, schedd)| to(&account, schedd)).collect();
        wanted.push(to("z", "good"));
        let begun = outside.lock().now();
        let mut service = Service::start(&outside, wanted);
        good(&mut service, &["z"]).await;
        let took = until(begun, outside.lock().now());
        assert!(took < Duration::from_secs(10), "{method}: {took:?}");
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_asks_only_the_schedd_says_nothing_of_vault() {
    let outside = Outside::new();
    let here = Target::Directory("/creds".into());
    let many = (0..40).map(|n| delivery(&format!("a{n}"), "cms", "here", here.clone()));
    let service = Service::good(&outside, many.collect()).await;
    outside.lock().vault_down = true;
    service.order(Order::Push(of(Some("a0"), None))).await;
    tokio::time::sleep(40 * MINUTE).await;
    let in_vain = outside.lock().in_vain;
    assert!(in_vain <= 100, "{in_vain} requests to a Vault that is down");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_services_with_one_delivery_are_told_of_each_other_and_jobs_are_served() {
    let outside = Outside::new();
    let wanted = vec![at("a", "ap1"), at("b", "ap2")];
    let mut one = Service::good(&outside, wanted.clone()).await;
    outside.lock().two_services = true;
    let only = vec![at("a", "ap1")];
    let other = Service::start(&outside, only);
    tokio::time::sleep(MINUTE).await;
    other.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(2 * HOUR).await;
    let mut told = 0;
    for service in [&one, &other] {
        let report = service.reports.now().unwrap();
        let contested = |line: &Line| {
            let problem = line.problem.as_ref();
            problem.is_some_and(|problem| problem.kind == Kind::Contested)
        };
        let who = report.deliveries.iter().filter(|line| contested(line));
        let who: Vec<_> = who.map(|line| line.wanted.account.as_str()).collect();
        assert!(["a"].starts_with(&who), "{who:?}");
        told += who.len();
    }
    assert!(told > 0, "neither says so");
    assert!(one.has("a", "ap1") && one.has("b", "ap2"));
    other.stop().await;
    tokio::time::sleep(13 * HOUR).await;
    good(&mut one, &["a", "b"]).await;
    one.stop().await;
}

/// Lines of the log, from warnings on.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub(super) fn with(&self, words: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(words)).count()
    }
}

/// A subscriber of none: while there is only one, tracing asks the thread that reaches a line first whether it is logged, and
/// that may be another test's, which has none.
static SECOND: std::sync::OnceLock<tracing::Dispatch> = std::sync::OnceLock::new();

/// The log of this thread, until the guard is dropped.
pub(super) fn log() -> (Lines, tracing::subscriber::DefaultGuard) {
    SECOND.get_or_init(|| tracing::Dispatch::new(tracing_subscriber::fmt().finish()));
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone());
    (lines, tracing::subscriber::set_default(log.finish()))
}

#[tokio::test(start_paused = true)]
async fn a_former_token_that_cannot_be_revoked_is_logged_once() {
    let (lines, _log) = log();
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    outside.lock().revoke_refused = true;
    for times in 1..3 {
        service.order(Order::Push(of(None, None))).await;
        tokio::time::sleep(6 * HOUR).await;
        assert_eq!(lines.with("could not be revoked yet"), times);
    }
    outside.lock().revoke_refused = false;
    tokio::time::sleep(HOUR).await;
    assert_eq!(outside.lock().living_children(), 1);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_problem_is_logged_once_and_again_when_it_comes_again() {
    let (lines, _log) = log();
    let outside = Outside::new();
    let wanted = vec![at("a", "ap1"), at("a", "ap2")];
    let mut service = Service::good(&outside, wanted.clone()).await;
    let fails = || outside.lock().no_keytab.insert("a".to_owned());
    fails();
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(lines.with("no such keytab"), 1);
    // It goes by a revocation, by a removal, and by itself.
    service.revoke(of(None, None)).await;
    outside.lock().no_keytab.clear();
    for schedd in ["ap1", "ap2"] {
        service.order(Order::Push(of(None, Some(schedd)))).await;
    }
    good(&mut service, &["a"]).await;
    for times in 2..5 {
        fails();
        service.order(Order::Push(of(None, None))).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(lines.with("no such keytab"), times);
        if times == 2 {
            service.reload(Vec::new()).await;
        }
        outside.lock().no_keytab.clear();
        service.reload(wanted.clone()).await;
        good(&mut service, &["a"]).await;
    }
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_leader_is_one_message_and_is_not_hammered() {
    let outside = Outside::new();
    let many = (0..300).map(|n| at(&format!("a{n}"), &format!("ap{}", n % 30)));
    let many: Vec<Delivery> = many.collect();
    let mut engine = engine(&config(many), &outside);
    engine.settle(|_| {}).await;
    assert!(engine.report().is_good());
    outside.lock().no_leader = true;
    engine.obey(&Order::Push(Selection::default()));
    // Before the stop, which revokes what opened credds.
    let in_vain = async {
        tokio::time::sleep(Duration::from_secs(149)).await;
        outside.lock().in_vain
    };
    let ((), in_vain) = tokio::join!(run_for(&mut engine, Duration::from_secs(150)), in_vain);
    let lines = engine.report().problem_lines();
    assert_eq!(
        lines,
        ["Vault https://vault.test:8200 (300 deliveries): 500 local node not active"]
    );
    // As many attempts as run at a time, then probes.
    assert!(in_vain < 64 + 10, "{in_vain} requests");
    outside.lock().no_leader = false;
    run_for(&mut engine, Duration::from_secs(50)).await;
    assert!(engine.report().is_good(), "{:?}", engine.report().problems);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_is_over_is_followed_by_no_burst() {
    let outside = Outside::new();
    outside.lock().access_life = HOUR;
    let many = (0..300).map(|n| at(&format!("a{n}"), &format!("ap{}", n % 30)));
    let many: Vec<Delivery> = many.collect();
    let service = Service::good(&outside, many).await;
    outside.lock().vault_down = true;
    tokio::time::sleep(20 * MINUTE).await;
    assert!(!service.reports.now().unwrap().is_good());
    outside.lock().vault_down = false;
    // The probe that finds out comes within half a minute, and what has been due waits for its own minute.
    let mut most = 0;
    for _ in 0..9 {
        let before = outside.lock().calls;
        tokio::time::sleep(MINUTE).await;
        most = most.max(outside.lock().calls - before);
    }
    assert!(most <= 150, "{most} requests in a minute");
    let report = service.reports.now().unwrap();
    assert!(report.is_good(), "{:?}", report.problems);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_clock_whose_words_differ_are_logged_once() {
    let (lines, _log) = log();
    let (problems, delivery) = (ProblemLog::default(), at("a", "ap1"));
    let mut raised = Vec::new();
    for second in 0..10 {
        let words = format!("it expired at 12:00:00, and here it is 12:00:{second:02}");
        let problem = Problem::new(Cause::credential(&delivery.credential), Kind::Clock, words);
        raised.push(problems.raise(&delivery.id, problem, true));
    }
    assert_eq!(lines.with("it expired at"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_configured_away_is_logged_once_and_with_what_is_left_of_it() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1"), at("a", "ap2")]).await;
    service.revoke(of(None, Some("ap1"))).await;
    service.reload(Vec::new()).await;
    let revoked = "a/cms at ap1 is no longer delivered; it was revoked";
    assert_eq!(lines.with(revoked), 1);
    // To the end of the line, so that it can be copied.
    let command = "to revoke it now: token-bastion revoke --account a --service cms --schedd ap2\n";
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches(command).count(), 1, "{text}");
}

#[tokio::test(start_paused = true)]
async fn of_a_delivery_that_is_configured_away_no_more_is_said_to_live_than_is_known() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    let outside = Outside::new();
    outside.lock().vault_down = true;
    let wanted = vec![at("a", "ap1"), at("b", "ap2")];
    let service = Service::start(&outside, wanted);
    tokio::time::sleep(MINUTE).await;
    outside.lock().schedds_down.insert("ap2".to_owned());
    service.revoke(of(Some("b"), None)).await;
    service.reload(Vec::new()).await;
    assert_eq!(
        lines.with("no longer delivered; nothing of it is known to live"),
        1
    );
    let unfinished = "no longer delivered; its revocation is not finished, and goes on";
    assert_eq!(lines.with(unfinished), 1);
    let unwanted = &service.reports.now().unwrap().unwanted;
    let remedies: Vec<_> = unwanted.iter().map(RemovedDelivery::remedy).collect();
    assert_eq!(remedies, [Remedy::Wait]);
    let line = unwanted[0].problem_line().unwrap();
    assert!(
        line.contains("is not finished, and is tried again"),
        "{line}"
    );
}
