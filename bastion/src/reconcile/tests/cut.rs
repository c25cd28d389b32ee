//! Orders to cut off, against a Vault, credds and credmons that behave, on paused time.

use super::super::*;
use crate::delivery::{Delivery, Opening, Target};
use crate::fakes::Outside;
use crate::fixtures::{config, delivery};
use crate::plan::State;
use crate::revoke::Became;

const HOUR: Duration = Duration::from_hours(1);

fn at(account: &str, schedd: &str) -> Delivery {
    let target = Target::Credd {
        host: schedd.to_owned(),
        collector: None,
        opening: Opening::default(),
    };
    delivery(account, "cms", schedd, target)
}

/// Two accounts at two credds.
fn deliveries() -> Vec<Delivery> {
    vec![
        at("a", "ap1"),
        at("a", "ap2"),
        at("b", "ap1"),
        at("b", "ap2"),
    ]
}

fn of(account: Option<&str>, schedd: Option<&str>) -> Selection {
    Selection {
        account: account.map(str::to_owned),
        service: None,
        schedd: schedd.map(str::to_owned),
    }
}

/// A service that runs, and the hand that tells it things.
struct Service {
    reports: Reports,
    commands: mpsc::Sender<Command<Outside, Outside>>,
    outside: Outside,
}

impl Service {
    fn start(outside: &Outside, wanted: Vec<Delivery>) -> Self {
        Self::start_in(None, outside, wanted)
    }

    fn start_in(state: Option<&std::path::Path>, outside: &Outside, wanted: Vec<Delivery>) -> Self {
        let keeper = state.map_or_else(Keeper::forgetful, |state| Keeper::open(state.to_owned()));
        let config = config(wanted);
        let mut reconciler =
            Reconciler::with_ledger(&config, outside.parts(), TimeZone::UTC, keeper);
        if let Some(state) = state {
            reconciler.keep_in(state);
        }
        let (commands, receive) = mpsc::channel(1);
        let reports = reconciler.reports();
        tokio::spawn(async move { reconciler.run(receive).await });
        Self {
            reports,
            commands,
            outside: outside.clone(),
        }
    }

    async fn good(outside: &Outside, wanted: Vec<Delivery>) -> Self {
        let mut service = Self::start(outside, wanted);
        let good = async {
            while !service.reports.now().await.unwrap().is_good() {
                service.reports.turned().await.unwrap();
            }
        };
        tokio::time::timeout(HOUR, good).await.unwrap();
        service
    }

    async fn cut_off(&self, selection: Selection) -> Vec<Cut> {
        let (answer, answered) = oneshot::channel();
        let command = Command::CutOff(selection, false, answer);
        self.commands.send(command).await.ok().unwrap();
        tokio::time::timeout(HOUR, answered).await.unwrap().unwrap()
    }

    async fn reload(&self, wanted: Vec<Delivery>) {
        let (answer, answered) = oneshot::channel();
        let reload = Command::Reload(Arc::new(config(wanted)), self.outside.parts(), answer);
        self.commands.send(reload).await.ok().unwrap();
        answered.await.unwrap();
    }

    async fn stop(&self) {
        self.commands.send(Command::Stop).await.ok().unwrap();
        self.commands.closed().await;
    }

    async fn order(&self, order: Order) {
        let (answer, answered) = oneshot::channel();
        let command = Command::Order(order, answer);
        self.commands.send(command).await.ok().unwrap();
        answered.await.unwrap();
    }

    async fn state(&self, account: &str, schedd: &str) -> State {
        let report = self.reports.now().await.unwrap();
        let is = |line: &&crate::report::Line| {
            line.wanted.account == account && line.wanted.schedd == schedd
        };
        report.deliveries.iter().find(is).unwrap().state
    }

    fn has(&self, account: &str, schedd: &str) -> bool {
        let world = self.outside.lock();
        let token = world.token_at(&at(account, schedd).id);
        token.is_some_and(|token| world.is_alive(&token))
    }
}

#[tokio::test(start_paused = true)]
async fn one_delivery_is_cut_off_alone_and_is_not_pushed_again_until_asked_for() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    let cuts = service.cut_off(of(Some("a"), Some("ap1"))).await;
    assert_eq!(cuts.len(), 1);
    assert!(cuts[0].is_done(), "{cuts:?}");
    tokio::time::sleep(24 * HOUR).await;
    assert!(!service.has("a", "ap1"));
    assert!(
        outside
            .lock()
            .stored
            .keys()
            .all(|id| *id != at("a", "ap1").id)
    );
    assert_eq!(service.state("a", "ap1").await, State::CutOff);
    for (account, schedd) in [("a", "ap2"), ("b", "ap1"), ("b", "ap2")] {
        assert!(service.has(account, schedd), "{account} at {schedd}");
        assert_eq!(service.state(account, schedd).await, State::Good);
    }

    service.order(Order::Retry(of(Some("a"), None))).await;
    tokio::time::sleep(HOUR).await;
    assert!(
        !service.has("a", "ap1"),
        "a retry is no wish to have it again"
    );

    service.order(Order::Push(of(Some("a"), Some("ap1")))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1").await, State::Good);
    assert!(service.has("a", "ap1"));
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_is_stolen_and_silent_loses_every_token_at_once() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    outside.lock().schedds_down.insert("ap1".to_owned());
    let cuts = service.cut_off(of(None, Some("ap1"))).await;
    for cut in &cuts {
        let became: Vec<Became> = cut.steps.iter().map(|step| step.became).collect();
        // Token, stored credential, kept off.
        assert_eq!(became, [Became::Done, Became::NotDone, Became::Done]);
    }
    assert!(!service.has("a", "ap1") && !service.has("b", "ap1"));
    assert!(service.has("a", "ap2") && service.has("b", "ap2"));

    // A second run finishes what the first could not.
    outside.lock().schedds_down.clear();
    let cuts = service.cut_off(of(None, Some("ap1"))).await;
    assert!(cuts.iter().all(Cut::is_done), "{cuts:?}");
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
    let cuts = service.cut_off(of(Some("a"), None)).await;
    assert!(cuts[0].is_done(), "{cuts:?}");
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
        let cuts = service.cut_off(of(Some("a"), None)).await;
        assert!(cuts[0].is_done(), "after {moment} ms: {cuts:?}");
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
        service.cut_off(of(Some("a"), None)),
        service.cut_off(of(None, Some("ap1")))
    );
    assert_eq!((one.len(), two.len()), (2, 2));
    assert!(service.cut_off(of(Some("nobody"), None)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_configuration_of_the_delivery_is_delivered_and_the_same_is_not() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    service.cut_off(of(Some("a"), None)).await;
    service.reload(vec![at("a", "ap1")]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1").await, State::CutOff);

    let mut other = at("a", "ap1");
    other.lifetime = 48 * HOUR;
    service.reload(vec![other]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1").await, State::Good);
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_undo_an_order() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let outside = Outside::new();
    let service = Service::start_in(state, &outside, vec![at("a", "ap1"), at("b", "ap1")]);
    tokio::time::sleep(HOUR).await;
    service.cut_off(of(Some("a"), None)).await;
    service.stop().await;

    let service = Service::start_in(state, &outside, vec![at("a", "ap1"), at("b", "ap1")]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1").await, State::CutOff);
    assert_eq!(service.state("b", "ap1").await, State::Good);
    service.order(Order::Push(of(Some("a"), None))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1").await, State::Good);
    assert!(
        crate::revoke::kept_off::read(folder.path())
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_kept_is_done_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let outside = Outside::new();
    let service = Service::start_in(Some(&file), &outside, vec![at("a", "ap1")]);
    tokio::time::sleep(HOUR).await;
    let cuts = service.cut_off(of(Some("a"), None)).await;
    let step = cuts[0].steps.last().unwrap();
    assert_eq!(step.became, Became::NotDone);
    assert!(
        step.why
            .contains("a restart of the service would deliver it again"),
        "{step:?}"
    );
    assert_eq!(outside.lock().living_children(), 0);
}

fn became(cut: &Cut) -> Vec<Became> {
    cut.steps.iter().map(|step| step.became).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_configured_away_is_cut_off_whole_while_the_service_holds_its_token() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    service.reload(vec![at("b", "ap1"), at("b", "ap2")]).await;
    tokio::time::sleep(24 * HOUR).await;
    assert!(service.has("a", "ap1"), "what is there stays");
    let cuts = service.cut_off(of(Some("a"), Some("ap1"))).await;
    assert_eq!(cuts.len(), 1);
    assert_eq!(became(&cuts[0]), [Became::Done; 3], "{cuts:?}");
    assert!(
        cuts[0].steps[2]
            .why
            .starts_with("the configuration has it no longer"),
        "{cuts:?}"
    );
    assert!(!service.has("a", "ap1") && service.has("a", "ap2"));
    assert!(!outside.lock().stored.contains_key(&at("a", "ap1").id));

    // A stolen schedd: what was there before is meant too.
    let cuts = service.cut_off(of(None, Some("ap2"))).await;
    assert_eq!(cuts.len(), 2);
    assert!(cuts.iter().all(Cut::is_done), "{cuts:?}");
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
    let token = outside.lock().token_at(&second.id).unwrap();
    let only = Selection {
        service: Some("cms_second".to_owned()),
        ..of(Some("a"), Some("ap1"))
    };
    let cuts = service.cut_off(only.clone()).await;
    let steps = [Became::NotDone, Became::Done, Became::Done];
    assert_eq!(became(&cuts[0]), steps, "{cuts:?}");
    let command = format!("-accessor {}", token.replace("s.secret", "accessor"));
    assert!(cuts[0].steps[0].why.contains(&command), "{cuts:?}");
    assert!(!outside.lock().stored.contains_key(&second.id));
    // Named again as long as it lives.
    let cuts = service.cut_off(only).await;
    assert!(cuts[0].steps[0].why.contains(&command), "{cuts:?}");

    // No token of another account opens the credd, and the schedd itself is configured away.
    let cuts = service.cut_off(of(Some("b"), None)).await;
    let steps = [Became::NotDone, Became::NotDone, Became::Done];
    assert_eq!(became(&cuts[0]), steps, "{cuts:?}");
    tokio::time::sleep(8 * 24 * HOUR).await;
    assert!(service.cut_off(of(Some("b"), None)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_wanted_again_goes_on_with_the_token_it_had() {
    let outside = Outside::new();
    let service = Service::good(&outside, vec![at("a", "ap1"), at("a", "ap2")]).await;
    service.reload(vec![at("a", "ap2")]).await;
    tokio::time::sleep(HOUR).await;
    service.reload(vec![at("a", "ap1"), at("a", "ap2")]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1").await, State::Good);
    assert_eq!(outside.lock().stores, 2);
    service.cut_off(of(None, None)).await;
    assert_eq!(outside.lock().living_children(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_configured_away_in_the_midst_of_a_try_leaves_no_token_when_cut_off() {
    for moment in 0..40 {
        let outside = Outside::new();
        let service = Service::start(&outside, vec![at("a", "ap1")]);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        service.reload(Vec::new()).await;
        if moment % 2 == 0 {
            service.reload(vec![at("a", "ap1")]).await;
            service.reload(Vec::new()).await;
        }
        service.cut_off(of(Some("a"), None)).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(outside.lock().living_children(), 0, "after {moment} ms");
        assert!(outside.lock().stored.is_empty(), "after {moment} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn credds_that_no_access_token_opens_are_shown_none_when_something_is_cut_off() {
    use crate::delivery::Method;
    let to = |account: &str, schedd: &str, method, domain: Option<&str>| {
        let opening = Opening {
            method,
            domain: domain.map(str::to_owned),
        };
        let target = Target::Credd {
            host: schedd.to_owned(),
            collector: None,
            opening,
        };
        delivery(account, "cms", schedd, target)
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
    let cuts = service.cut_off(of(Some("a"), None)).await;
    assert_eq!(cuts.len(), 3);
    for cut in &cuts {
        assert_eq!(became(cut), [Became::Done; 3], "{cut:?}");
    }
    assert_eq!(outside.lock().logins, logins);
    assert!(service.has("b", "super"));

    // As `offboard` goes on: the refresh token is not needed by any of them.
    let (answer, answered) = oneshot::channel();
    let forget = Command::Forget("a".to_owned(), answer);
    service.commands.send(forget).await.ok().unwrap();
    let steps = answered.await.unwrap();
    assert!(
        steps.iter().all(|step| step.became < Became::NotDone),
        "{steps:?}"
    );
    assert_eq!(outside.lock().stored.len(), 1);

    // Configured away, a super-user still deletes it.
    service.reload(vec![wanted[0].clone()]).await;
    let cuts = service.cut_off(of(Some("b"), None)).await;
    assert_eq!(became(&cuts[0]), [Became::Done; 3], "{cuts:?}");
    assert!(outside.lock().stored.is_empty());
}
