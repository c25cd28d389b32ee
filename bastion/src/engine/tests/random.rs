//! Laws that hold whatever happens: outages, lies, orders, reloads, stops and restarts, drawn at random.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::health::is_true;
use super::service::{HOUR, Service, at, of};
use super::*;
use crate::model::delivery::Delivery;
use crate::model::records::TokenRecords;
use crate::store::Store;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Vault(bool),
    NoLeader(bool),
    Slow(bool),
    Issuer(bool),
    Grant(bool),
    Schedd(&'static str, bool),
    /// Schedds answer, and take nothing more.
    Stores(bool),
    /// Schedds store what they are given, and their answers are lost.
    Answers(bool),
    /// A token is known after 10 s to the standby that answers.
    Lag(bool),
    ScheddHangs(&'static str, bool),
    Credmons(bool),
    Keytab(&'static str, bool),
    /// Access tokens of an account take 40 s to read, and do not come then.
    ReadsHang(&'static str, bool),
    Revocation(bool),
    /// This program's own code panics for an account.
    Panics(&'static str, bool),
    Creation(bool),
    /// The token that is at a schedd dies.
    Dies(&'static str, &'static str),
    /// What is stored at a schedd is gone.
    Vanishes(&'static str, &'static str),
    /// The last of that is there again, whatever was stored meanwhile.
    Returns(&'static str, &'static str),
    Push(Option<&'static str>),
    Retry,
    Revoke(&'static str, &'static str),
    /// The configuration has so many of the deliveries, with these scopes or none.
    Reload(usize, Option<&'static str>),
    Restart,
    /// This host's clock is set back by so many hours.
    SetBack(u8),
}

const ACCOUNTS: [&str; 3] = ["a", "b", "c"];
const SCHEDDS: [&str; 2] = ["ap1", "ap2"];
const LATER_SCOPE: &str = "storage.modify:/";
const ALL: usize = ACCOUNTS.len() * SCHEDDS.len();

/// The first so many deliveries, with these scopes.
fn wanted(number: usize, scopes: Option<&str>) -> Vec<Delivery> {
    let all = ACCOUNTS.iter().flat_map(|account| {
        SCHEDDS.map(|schedd| {
            let mut delivery = at(account, schedd);
            if *account == "c" {
                delivery.target = Target::Directory("/creds".into());
            }
            delivery
        })
    });
    let with_scopes = |mut delivery: Delivery| {
        let mut credential = (*delivery.credential).clone();
        credential.scopes = scopes.iter().copied().map(str::to_owned).collect();
        delivery.credential = Arc::new(credential);
        delivery
    };
    all.take(number).map(with_scopes).collect()
}

fn events() -> impl Strategy<Value = Event> {
    let account = || prop::sample::select(&ACCOUNTS[..]);
    let schedd = || prop::sample::select(&SCHEDDS[..]);
    let on = any::<bool>;
    prop_oneof![
        3 => on().prop_map(Event::Vault),
        1 => on().prop_map(Event::NoLeader),
        1 => on().prop_map(Event::Slow),
        1 => on().prop_map(Event::Issuer),
        1 => on().prop_map(Event::Grant),
        2 => (schedd(), on()).prop_map(|(schedd, on)| Event::Schedd(schedd, on)),
        1 => (schedd(), on()).prop_map(|(schedd, on)| Event::ScheddHangs(schedd, on)),
        1 => on().prop_map(Event::Stores),
        1 => on().prop_map(Event::Answers),
        1 => on().prop_map(Event::Lag),
        1 => on().prop_map(Event::Credmons),
        1 => (account(), on()).prop_map(|(account, on)| Event::Keytab(account, on)),
        1 => (account(), on()).prop_map(|(account, on)| Event::ReadsHang(account, on)),
        1 => on().prop_map(Event::Revocation),
        1 => (account(), on()).prop_map(|(account, on)| Event::Panics(account, on)),
        1 => on().prop_map(Event::Creation),
        1 => (account(), schedd()).prop_map(|(account, schedd)| Event::Dies(account, schedd)),
        1 => (account(), schedd()).prop_map(|(account, schedd)| Event::Vanishes(account, schedd)),
        1 => (account(), schedd()).prop_map(|(account, schedd)| Event::Returns(account, schedd)),
        2 => prop::option::of(account()).prop_map(Event::Push),
        1 => Just(Event::Retry),
        2 => (account(), schedd()).prop_map(|(account, schedd)| Event::Revoke(account, schedd)),
        2 => (0..=ALL, prop::option::of(Just("storage.read:/"))).prop_map(|(n, scopes)| Event::Reload(n, scopes)),
        2 => Just(Event::Restart),
        1 => (1_u8..200).prop_map(Event::SetBack),
    ]
}

/// Switches a fault on or off.
fn set(names: &mut BTreeSet<String>, name: &str, is_wrong: bool) {
    if is_wrong {
        names.insert(name.to_owned());
    } else {
        names.remove(name);
    }
}

/// What becomes of the world outside.
fn change(event: &Event, outside: &Outside) {
    let mut world = outside.lock();
    let id = |account: &str, schedd: &str| at(account, schedd).id;
    match *event {
        Event::Vault(down) => world.vault_down = down,
        Event::NoLeader(down) => world.no_leader = down,
        Event::Slow(slow) => {
            world.vault_takes = Duration::from_millis(if slow { 15_000 } else { 5 });
        }
        Event::Issuer(down) => world.issuer_down = down,
        Event::Grant(refused) => world.no_grant = refused,
        Event::Schedd(schedd, down) => set(&mut world.schedds_down, schedd, down),
        Event::ScheddHangs(schedd, hangs) => set(&mut world.schedds_hang, schedd, hangs),
        Event::Stores(refused) => world.stores_refused = refused,
        Event::Answers(lost) => world.stores_unanswered = lost,
        Event::Lag(lags) => world.lag = Duration::from_secs(if lags { 10 } else { 0 }),
        Event::Credmons(run) => world.credmons = run,
        Event::Keytab(account, missing) => set(&mut world.no_keytab, account, missing),
        Event::ReadsHang(account, on) => set(&mut world.reads_hang, account, on),
        Event::Panics(account, on) => set(&mut world.panics, account, on),
        Event::Revocation(refused) => world.revoke_refused = refused,
        Event::Creation(repeats) => world.create_repeats = repeats,
        Event::Dies(account, schedd) => {
            if let Some(token) = world.token_at(&id(account, schedd)) {
                world.kill(&token);
            }
        }
        Event::Vanishes(account, schedd) => {
            let id = id(account, schedd);
            if let Some(stored) = world.stored.remove(&id) {
                world.away.insert(id, stored);
            }
        }
        Event::Returns(account, schedd) => {
            let id = id(account, schedd);
            if let Some(stored) = world.away.remove(&id) {
                world.stored.insert(id, stored);
            }
        }
        Event::SetBack(hours) => world.clock_wrong_by -= i64::from(hours) * 3600,
        _ => {}
    }
}

async fn happen(event: &Event, service: &mut Service, state: &Path) {
    let outside = service.outside.clone();
    change(event, &outside);
    match *event {
        Event::Push(account) => service.order(Order::Push(of(account, None))).await,
        Event::Retry => service.order(Order::Retry(of(None, None))).await,
        Event::Revoke(account, schedd) => {
            service
                .revoke_in_background(of(Some(account), Some(schedd)))
                .await;
        }
        Event::Reload(number, scopes) => service.reload(wanted(number, scopes)).await,
        Event::Restart => {
            service.stop().await;
            *service = Service::start_in(Some(state), &outside, wanted(ALL, None));
        }
        _ => {}
    }
}

fn mend(outside: &Outside) {
    let mut world = outside.lock();
    world.vault_down = false;
    world.no_leader = false;
    world.vault_takes = Duration::from_millis(5);
    world.issuer_down = false;
    world.no_grant = false;
    world.schedds_down.clear();
    world.schedds_hang.clear();
    world.stores_refused = false;
    world.stores_unanswered = false;
    world.lag = Duration::ZERO;
    world.credmons = true;
    world.no_keytab.clear();
    world.reads_hang.clear();
    world.revoke_refused = false;
    world.panics.clear();
    world.create_repeats = false;
}

/// Accessors of the living tokens that the state on disk does not name.
fn unknown(outside: &Outside, state: &Path) -> Vec<String> {
    let store = Store::read_only(state);
    let known: BTreeSet<String> = store.read(|content| {
        let tokens = content.deliveries.values().flat_map(TokenRecords::iter);
        let tokens = tokens.map(|token| token.accessor.clone());
        tokens.chain(content.logins.keys().cloned()).collect()
    });
    let mut living = outside.lock().all_living();
    living.retain(|accessor| !known.contains(accessor));
    living
}

async fn story(events: Vec<(Event, u64)>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let outside = Outside::new();
    outside.lock().scopes.push(LATER_SCOPE.to_owned());
    let mut service = Service::start_in(Some(state), &outside, wanted(ALL, None));
    tokio::time::sleep(MINUTE).await;
    let mut vanished = BTreeSet::new();
    let mut was_set_back = false;
    for (event, seconds) in events {
        was_set_back |= matches!(event, Event::SetBack(_));
        if let Event::Vanishes(account, schedd) | Event::Returns(account, schedd) = event {
            // Nobody can know of that while the schedd is silent.
            vanished.insert(at(account, schedd).id);
        }
        happen(&event, &mut service, state).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        for line in &service.reports.now().unwrap().deliveries {
            // What is said of jobs is by this host's clock.
            if !was_set_back && !vanished.contains(&line.wanted.id()) {
                is_true(&outside, line);
            }
        }
    }
    mend(&outside);
    let scopes = Some(LATER_SCOPE);
    let wanted = wanted(ALL, scopes);
    service.reload(wanted.clone()).await;
    tokio::time::sleep(HOUR).await;
    for line in &service.reports.now().unwrap().deliveries {
        prop_assert!(matches!(line.state, Good | State::Revoked), "{line:?}");
        let stored = outside.lock().scopes_at(&line.wanted.id());
        prop_assert!(
            line.state != Good || stored.as_deref() == scopes,
            "{line:?}"
        );
    }
    // What a person revoked is delivered again when a person asks.
    for delivery in &wanted {
        let meant = of(None, Some(&delivery.id.schedd));
        service.order(Order::Push(meant)).await;
    }
    tokio::time::sleep(HOUR).await;
    let report = service.reports.now().unwrap();
    prop_assert!(report.is_good(), "{:?}", report.problem_lines());
    for delivery in &wanted {
        prop_assert!(service.has(&delivery.id.account, &delivery.id.schedd));
    }
    service.stop().await;
    let unknown = unknown(&outside, state);
    prop_assert!(unknown.is_empty(), "nobody knows of {unknown:?}");
    Ok(())
}

/// Those of an account with a keytab and schedds of its own.
fn bystander() -> [Delivery; 2] {
    ["ap8", "ap9"].map(|schedd| at("y", schedd))
}

/// `true` for what concerns certain accounts or schedds, and not all.
fn is_of_some(event: &Event) -> bool {
    !matches!(
        event,
        Event::Vault(_)
            | Event::NoLeader(_)
            | Event::Slow(_)
            | Event::Issuer(_)
            | Event::Grant(_)
            | Event::Stores(_)
            | Event::Answers(_)
            | Event::Lag(_)
            | Event::Credmons(_)
            | Event::Revocation(_)
            | Event::Creation(_)
            | Event::SetBack(_)
            | Event::Restart
    )
}

async fn story_of_a_bystander(events: Vec<(Event, u64)>) -> Result<(), TestCaseError> {
    let outside = Outside::new();
    let with_others = |number: usize, scopes| -> Vec<Delivery> {
        let others = wanted(number, scopes).into_iter();
        others.chain(bystander()).collect()
    };
    let mut service = Service::start(&outside, with_others(ALL, None));
    tokio::time::sleep(MINUTE).await;
    for (event, seconds) in events {
        match event {
            Event::Reload(number, scopes) => service.reload(with_others(number, scopes)).await,
            event if is_of_some(&event) => happen(&event, &mut service, Path::new("")).await,
            _ => {
                // Of its own troubles the account is free within a tenth of its access token's life.
                let [own, _] = bystander();
                let token = outside.lock().token_at(&own.id).unwrap();
                outside.lock().kill(&token);
                tokio::time::sleep(3 * MINUTE).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        for delivery in bystander() {
            let schedd = &delivery.id.schedd;
            prop_assert_eq!(service.state("y", schedd), Good, "{}", schedd);
            prop_assert!(service.has("y", schedd));
        }
    }
    Ok(())
}

fn on_paused_time<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build();
    runtime.unwrap().block_on(story)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn all_becomes_good_again_and_no_token_is_forgotten(
        events in prop::collection::vec((events(), 0_u64..900), 1..16),
    ) {
        on_paused_time(story(events))?;
    }

    #[test]
    fn an_account_is_never_touched_by_what_befalls_others(
        events in prop::collection::vec((events(), 0_u64..900), 1..16),
    ) {
        on_paused_time(story_of_a_bystander(events))?;
    }
}
