//! Accounts examined against a Vault, credds and credmons that behave, on paused time.

use std::time::Duration;

use secrecy::SecretString;

use super::*;
use crate::config::Search;
use crate::fakes::{Outside, Stored};
use crate::fixtures::{self, credd, delivery};
use crate::model::delivery::Target;

fn deliveries() -> Vec<Arc<Delivery>> {
    vec![
        Arc::new(delivery("cmsprod", "cms", "ap1", credd("ap1"))),
        Arc::new(delivery("cmsprod", "cms_production", "ap1", credd("ap1"))),
        Arc::new(delivery(
            "crabtw",
            "cms_crab",
            "here",
            Target::Directory("/creds".into()),
        )),
    ]
}

/// What was said of each step but for those on the host's own files.
async fn verdicts(outside: &Outside) -> Vec<(String, Verdict)> {
    let parts = outside.parts();
    let mut sections = Vec::new();
    for section in accounts(&parts, &deliveries(), &CancellationToken::new()) {
        sections.push(section.await);
    }
    parts.sessions.close_all().await;
    let steps = sections.into_iter().flat_map(|section| section.steps);
    steps
        .filter(|step| step.what != "keytab")
        .map(|step| (step.what, step.verdict))
        .collect()
}

/// Everything is stored, `ago` before now, and served a second later where credmons run.
fn store(outside: &Outside, served: bool) {
    let mut world = outside.lock();
    let now = world.now();
    for delivery in deliveries() {
        let stored = Stored {
            ends: None,
            top: SecretString::from("{}"),
            at: now,
            served: served.then_some(now),
            is_new: false,
        };
        world.stored.insert(delivery.id.clone(), stored);
    }
    world.credmons = served;
}

#[tokio::test(start_paused = true)]
async fn all_is_well_and_nothing_of_it_stays() {
    let outside = Outside::new();
    store(&outside, true);
    let verdicts = verdicts(&outside).await;
    let words: Vec<&str> = verdicts.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(
        words,
        [
            "ticket",
            "login cms",
            "access token cms",
            "login cms_production",
            "access token cms_production",
            "credd cms at ap1",
            "credmon cms at ap1",
            "credd cms_production at ap1",
            "credmon cms_production at ap1",
            "ticket",
            "login cms_crab",
            "access token cms_crab",
            "directory cms_crab at here",
            "credmon cms_crab at here",
        ]
    );
    assert!(
        verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Ok),
        "{verdicts:?}"
    );
    let world = outside.lock();
    assert_eq!(world.stores, 0, "nothing is stored");
    assert!(world.logins > 0);
    assert_eq!(world.living(), 0, "every login is revoked");
}

#[tokio::test(start_paused = true)]
async fn logins_that_live_less_than_vault_tokens_should_are_a_warning() {
    let outside = Outside::new();
    store(&outside, true);
    outside.lock().login_life = Duration::from_mins(3);
    let verdicts = verdicts(&outside).await;
    for (what, verdict) in &verdicts {
        let expected = if what.starts_with("login") {
            Verdict::Warning
        } else {
            Verdict::Ok
        };
        assert_eq!(*verdict, expected, "{what}");
    }
    assert_eq!(outside.lock().living(), 0, "every login is revoked");
}

#[tokio::test(start_paused = true)]
async fn a_cached_access_token_is_no_proof_that_the_refresh_token_works() {
    for (issuer_down, what) in [(true, "access token cms"), (false, "refresh token cms")] {
        let outside = Outside::new();
        store(&outside, true);
        verdicts(&outside).await;
        tokio::time::advance(Duration::from_mins(1)).await;
        {
            let mut world = outside.lock();
            (world.issuer_down, world.no_grant) = (issuer_down, !issuer_down);
        }
        let verdicts = verdicts(&outside).await;
        assert!(
            verdicts.contains(&(what.to_owned(), Verdict::Wrong)),
            "{verdicts:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn collectors_that_do_not_answer_are_waited_for_together() {
    let outside = Outside::new();
    let mut config = fixtures::config(Vec::new());
    let named = |n| Search {
        group: format!("group{n:02}"),
        ..fixtures::search(Vec::new())
    };
    config.searches = (0..64).map(named).collect();
    let begun = tokio::time::Instant::now();
    let (section, _) = schedds::section(&config, &outside.parts()).await;
    let groups: Vec<&str> = section
        .steps
        .iter()
        .map(|step| step.what.as_str())
        .collect();
    assert!(groups.len() == 64 && groups.is_sorted(), "{groups:?}");
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn schedds_that_do_not_answer_are_waited_for_together() {
    let outside = Outside::new();
    let name = |n| format!("ap{n}");
    let at = |n| Arc::new(delivery("cmsprod", "cms", &name(n), credd(&name(n))));
    let deliveries: Vec<_> = (0..10).map(at).collect();
    outside.lock().schedds_hang.extend((0..10).map(name));
    let begun = tokio::time::Instant::now();
    let parts = outside.parts();
    for section in accounts(&parts, &deliveries, &CancellationToken::new()) {
        let section = section.await;
        let wrong = |step: &&Check| step.verdict == Verdict::Wrong && step.what.contains("credd");
        assert_eq!(section.steps.iter().filter(wrong).count(), 10);
    }
    assert!(
        begun.elapsed() < Duration::from_mins(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_examination_that_is_stopped_leaves_no_login() {
    let outside = Outside::new();
    store(&outside, true);
    outside.lock().reads_hang.insert("cmsprod".to_owned());
    let parts = outside.parts();
    let stop = CancellationToken::new();
    let examined = async {
        let mut sections = Vec::new();
        for section in accounts(&parts, &deliveries(), &stop) {
            sections.push(section.await);
        }
        parts.sessions.close_all().await;
        sections
    };
    let stopped = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(outside.lock().living() > 0);
        stop.cancel();
    };
    let (sections, ()) = tokio::join!(examined, stopped);
    assert_eq!(outside.lock().living(), 0);
    assert_eq!(sections.len(), 2);
    let steps = sections[0].steps.iter();
    let left_out = steps.filter(|step| step.verdict == Verdict::NotTried);
    let left_out: Vec<(&str, &str)> = left_out
        .map(|step| (step.what.as_str(), step.words.as_str()))
        .collect();
    assert_eq!(left_out[0], ("access token cms", STOPPED));
    assert_eq!(left_out[1], ("login cms_production", STOPPED));
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_an_account_is_examined_is_reported_and_hides_no_other_account() {
    let outside = Outside::new();
    store(&outside, true);
    outside.lock().panics.insert("cmsprod".to_owned());
    let parts = outside.parts();
    let mut sections = Vec::new();
    for section in accounts(&parts, &deliveries(), &CancellationToken::new()) {
        sections.push(section.await);
    }
    let [broken, whole] = &sections[..] else {
        panic!("{sections:?}");
    };
    assert_eq!(
        broken.text(None),
        "account cmsprod\n  WRONG  examination  it was interrupted by a fault of token-bastion, please report it\n\n"
    );
    assert!(!broken.is_good(), "so the exit code is 1");
    let steps = whole.steps.iter().filter(|step| step.what != "keytab");
    let verdicts: Vec<Verdict> = steps.map(|step| step.verdict).collect();
    assert_eq!(verdicts, [Verdict::Ok; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_keytab_stops_what_hangs_on_it_and_no_other_account() {
    let outside = Outside::new();
    store(&outside, true);
    outside.lock().no_keytab.insert("cmsprod".to_owned());
    let verdicts = verdicts(&outside).await;
    let of = |what: &str| {
        let found = verdicts.iter().find(|(step, _)| step == what);
        found.map(|(_, verdict)| *verdict)
    };
    assert_eq!(of("ticket"), Some(Verdict::Wrong));
    assert_eq!(of("login cms"), Some(Verdict::NotTried));
    assert_eq!(of("login cms_production"), Some(Verdict::NotTried));
    assert_eq!(of("access token cms"), None);
    assert_eq!(of("credd cms at ap1"), Some(Verdict::NotTried));
    assert_eq!(of("login cms_crab"), Some(Verdict::Ok));
    let tickets = verdicts.iter().filter(|(what, _)| what == "ticket");
    assert_eq!(tickets.count(), 2, "once for each account");
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_read_is_called_a_directory() {
    let outside = Outside::new();
    store(&outside, true);
    outside.lock().schedds_down.insert("here".to_owned());
    let verdicts = verdicts(&outside).await;
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Wrong)
        .collect();
    let directory = "directory cms_crab at here".to_owned();
    assert_eq!(wrong, [&(directory, Verdict::Wrong)]);
}

#[tokio::test(start_paused = true)]
async fn a_credmon_that_does_not_serve_is_found() {
    let outside = Outside::new();
    store(&outside, false);
    tokio::time::advance(Duration::from_mins(10)).await;
    let verdicts = verdicts(&outside).await;
    let credmons: Vec<_> = verdicts
        .iter()
        .filter(|(what, _)| what.starts_with("credmon"))
        .collect();
    assert_eq!(credmons.len(), 3);
    assert!(
        credmons
            .iter()
            .all(|(_, verdict)| *verdict == Verdict::Wrong),
        "{credmons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn claims_of_an_access_token_move_no_cursor_and_fill_no_screen() {
    let outside = Outside::new();
    store(&outside, true);
    outside.lock().subject = Some("\x1b[2J".to_owned() + &"x".repeat(10_000));
    let parts = outside.parts();
    for section in accounts(&parts, &deliveries(), &CancellationToken::new()) {
        let text = section.await.text(None);
        assert!(text.len() < 5000 && !text.contains('\x1b'), "{text}");
    }
    parts.sessions.close_all().await;
}

#[test]
fn an_examination_reads_like_a_list() {
    let mut section = Section::new("Account cmsprod (cmsprod@TEST)");
    section.add("ticket", Verdict::Ok, "the KDC gives one for this key");
    section.add("login cms", Verdict::Wrong, "no such mount");
    section.add("credd cms at ap1", Verdict::NotTried, "no access token");
    assert_eq!(
        section.text(None),
        "Account cmsprod (cmsprod@TEST)\n\
         \x20 ok         ticket            the KDC gives one for this key\n\
         \x20 WRONG      login cms         no such mount\n\
         \x20 not tried  credd cms at ap1  no access token\n\n"
    );
    let sections = [section];
    assert_eq!(sum(&sections), "3 steps: 1 ok, 1 wrong, 1 not tried\n");
    assert!(!sections[0].is_good());
}
