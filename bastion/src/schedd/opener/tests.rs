//! Openers against a Vault that behaves.

use super::*;
use crate::fakes::Outside;
use crate::fixtures::{credd, credential, delivery};
use crate::store::Store;
use crate::vault::AccessKind::{Full, Reduced};

const WRITE: &str = "condor:/WRITE";

fn outside(scopes: &[&str]) -> Outside {
    let outside = Outside::new();
    outside.lock().scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    outside
}

fn openers(outside: &Outside) -> Openers<Outside> {
    Openers::new(outside.sessions(Store::default()))
}

/// Delivery of `cmsprod`'s `cms`, which opens the credd itself.
fn to(host: &str) -> Delivery {
    delivery("cmsprod", "cms", host, credd(host))
}

/// Delivery of another credential at a credd that `cms` opens.
fn opened_for_another(host: &str) -> Delivery {
    Delivery {
        authorize: Arc::new(credential("cmsprod", "cms")),
        ..delivery("cmsprod", "cms_crab", host, credd(host))
    }
}

async fn get(openers: &Openers<Outside>) -> String {
    get_for(openers, &to("ap1.test")).await
}

async fn get_for(openers: &Openers<Outside>, delivery: &Delivery) -> String {
    let token = openers.get(delivery).await.unwrap();
    let (scopes, _) = token.expose().rsplit_once('.').unwrap();
    scopes.to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_least_scope_is_asked_for_and_only_that_from_then_on() {
    let outside = outside(&["storage.read:/", WRITE, "compute.read"]);
    let openers = openers(&outside);
    assert_eq!(get(&openers).await, "ey.secret condor:/WRITE");
    tokio::time::sleep(Duration::from_hours(1)).await;
    get(&openers).await;
    assert_eq!(outside.lock().reads, [Full, Reduced(WRITE), Reduced(WRITE)]);
    assert_eq!(outside.lock().logins, 1);
}

#[tokio::test(start_paused = true)]
async fn wlcgs_scopes_do_as_well_and_a_token_without_more_is_taken_as_it_is() {
    let all = SUFFICIENT[1].split(',');
    let mut scopes: Vec<&str> = all.collect();
    let small = outside(&scopes);
    get(&openers(&small)).await;
    assert_eq!(small.lock().reads, [Full]);
    scopes.push("storage.read:/");
    let large = outside(&scopes);
    get(&openers(&large)).await;
    assert_eq!(large.lock().reads, [Full, Reduced(SUFFICIENT[1])]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_exchange_is_remembered_for_an_hour() {
    let outside = outside(&[WRITE, "storage.read:/"]);
    outside.lock().exchange_fails = Some(Kind::Forbidden);
    let openers = openers(&outside);
    for _ in 0..3 {
        assert!(get(&openers).await.contains("storage.read:/"));
        tokio::time::sleep(Duration::from_mins(20)).await;
    }
    let reads = outside.lock().reads.clone();
    assert_eq!(reads, [Full, Reduced(WRITE), Full, Full]);
    outside.lock().exchange_fails = None;
    tokio::time::sleep(Duration::from_mins(20)).await;
    assert_eq!(get(&openers).await, "ey.secret condor:/WRITE");
}

#[tokio::test(start_paused = true)]
async fn a_refused_exchange_is_remembered_for_no_longer_though_the_clock_was_set_back_by_a_year() {
    let outside = outside(&[WRITE, "storage.read:/"]);
    outside.lock().exchange_fails = Some(Kind::Forbidden);
    outside.lock().clock_wrong_by = 365 * 86_400;
    let openers = openers(&outside);
    get(&openers).await;
    outside.lock().clock_wrong_by = 0;
    outside.lock().exchange_fails = None;
    tokio::time::sleep(AFTER_REFUSAL).await;
    openers.forget(&to("ap1.test")).await;
    assert_eq!(get(&openers).await, "ey.secret condor:/WRITE");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_failed_by_an_outage_is_tried_again_long_before_the_unreduced_token_ends()
{
    let outside = outside(&[WRITE, "storage.read:/"]);
    outside.lock().exchange_fails = Some(Kind::IssuerDown);
    let openers = openers(&outside);
    assert!(get(&openers).await.contains("storage.read:/"));
    outside.lock().exchange_fails = None;
    tokio::time::sleep(AFTER_OUTAGE).await;
    assert_eq!(get(&openers).await, "ey.secret condor:/WRITE");
}

#[tokio::test(start_paused = true)]
async fn what_a_credd_refuses_is_followed_by_the_unreduced_one_there_and_nowhere_else() {
    let outside = outside(&[WRITE, "storage.read:/"]);
    let openers = openers(&outside);
    let (one, two) = (to("ap1.test"), to("ap2.test"));
    get_for(&openers, &one).await;
    openers.forget(&one).await;
    assert!(get_for(&openers, &one).await.contains("storage.read:/"));
    assert_eq!(get_for(&openers, &two).await, "ey.secret condor:/WRITE");
    assert!(get_for(&openers, &one).await.contains("storage.read:/"));
    let reads = outside.lock().reads.clone();
    assert_eq!(reads, [Full, Reduced(WRITE), Full, Reduced(WRITE)]);
    // An unreduced one that is refused makes that no longer.
    tokio::time::sleep(AFTER_REFUSAL / 2).await;
    openers.forget(&one).await;
    tokio::time::sleep(AFTER_REFUSAL / 2).await;
    assert_eq!(get_for(&openers, &one).await, "ey.secret condor:/WRITE");
    openers.forget(&two).await;
    assert_eq!(
        openers.widened.lock().unwrap().len(),
        1,
        "the first is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_gets_no_unreduced_token_of_a_credential_that_is_not_delivered_there() {
    let outside = outside(&[WRITE, "storage.read:/"]);
    let openers = openers(&outside);
    let stolen = opened_for_another("ap1.test");
    for _ in 0..3 {
        assert_eq!(get_for(&openers, &stolen).await, "ey.secret condor:/WRITE");
        openers.forget(&stolen).await;
    }
    let reads = outside.lock().reads.clone();
    let reduced = Reduced(WRITE);
    assert_eq!(reads, [Full, reduced, reduced, reduced]);
    // Nor when a changed configuration has another credential open the credd from now on.
    let own = delivery("cmsprod", "cms_crab", "ap1.test", credd("ap1.test"));
    get_for(&openers, &own).await;
    openers.forget(&own).await;
    assert!(get_for(&openers, &own).await.contains("storage.read:/"));
    assert_eq!(get_for(&openers, &stolen).await, "ey.secret condor:/WRITE");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closed_or_dead_gives_way_to_another_one() {
    let outside = outside(&["storage.read:/"]);
    let openers = openers(&outside);
    get(&openers).await;
    openers.sessions.close(&credential("cmsprod", "cms")).await;
    assert_eq!(outside.lock().living(), 0, "its login is revoked");
    get(&openers).await;
    assert_eq!(outside.lock().logins, 2, "no token of before is used");
    tokio::time::sleep(Duration::from_hours(1)).await;
    let login = outside.lock().all_living()[0].replace("accessor", "s.secret");
    outside.lock().kill(&login);
    get(&openers).await;
    assert_eq!(outside.lock().logins, 3);
    let recorded = openers
        .sessions
        .logins
        .store
        .read(|content| content.logins.len());
    assert_eq!(recorded, 1, "logins that ended are forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_failure_answers_those_alone_who_waited_for_the_same_token() {
    let outside = outside(&[WRITE, "storage.read:/"]);
    let openers = openers(&outside);
    let (one, two) = (to("ap1.test"), to("ap2.test"));
    get_for(&openers, &one).await;
    openers.forget(&one).await;
    let mut other = to("ap3.test");
    let mut role = Credential::clone(&other.authorize);
    role.role = "other".to_owned();
    other.authorize = Arc::new(role);
    tokio::time::sleep(Duration::from_mins(1)).await;
    outside.lock().vault_down = true;
    let before = outside.lock().calls;
    let get = |delivery| openers.get(delivery);
    let answers = tokio::join!(get(&two), get(&two), get(&one), get(&one), get(&other));
    assert!(answers.0.is_err() && answers.4.is_err());
    // A reduced one and the unreduced one in its place, an unreduced one, and a login.
    assert_eq!(outside.lock().calls - before, 4);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_configured_otherwise_is_not_opened_with_the_token_of_before() {
    let outside = outside(&[WRITE, "storage.read:/"]);
    let openers = openers(&outside);
    let mut other = to("ap1.test");
    let authorize = Credential {
        role: "other".to_owned(),
        ..Credential::clone(&other.authorize)
    };
    other.authorize = Arc::new(authorize);
    get(&openers).await;
    get_for(&openers, &other).await;
    assert_eq!(outside.lock().logins, 2);
    let once = [Full, Reduced(WRITE)];
    assert_eq!(outside.lock().reads, [once, once].concat());
}
