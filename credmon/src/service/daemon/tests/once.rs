//! One pass, and a restart.

use super::*;
use crate::fakes::LogLines;

/// Does one pass; whether all is good then.
async fn once(setup: Setup) -> (bool, Setup) {
    once_with(setup, None).await
}

/// The same with a problem of the certificate authorities.
async fn once_with(setup: Setup, trust: Option<&str>) -> (bool, Setup) {
    let (to_scanner, _wakes) = wakes().unwrap();
    let (observations, observed) = unbounded_channel();
    let path = setup.settings.directory.clone();
    let clock = Arc::new(setup.clock.clone());
    let mut scanner = Scanner::new(path, true, observations, clock);
    scanner.scan_all(|_| true);
    let publisher = Publisher::default();
    let parts = setup.parts(to_scanner, observed, publisher.clone());
    let good = Daemon::new(parts, setup.settings.clone(), trust.map(str::to_owned))
        .run_once()
        .await;
    assert!(!setup.credentials.path().join("pid").exists());
    (good, setup)
}

async fn outcome_of(prepare: fn(&Credentials, &mut Server)) -> (bool, usize) {
    let (good, setup) = once(Setup::new(prepare)).await;
    (good, setup.vault.with(|v| v.asked.len()))
}

#[tokio::test(start_paused = true)]
async fn one_pass_says_whether_all_is_good() {
    assert_eq!(outcome_of(|_, _| ()).await, (true, 0));
    let many = outcome_of(|c, _| (0..100).for_each(|n| c.store(&n.to_string(), "cms", "a", "s")));
    assert_eq!(many.await, (true, 100));
    let sealed = outcome_of(|c, v| {
        c.store("u", "cms", "a", "s.1");
        v.down.insert("a".to_owned(), ErrorKind::Sealed);
    });
    assert!(!sealed.await.0);
    let broken = outcome_of(|c, _| c.put("u", "cms.top", "x"));
    assert_eq!(broken.await, (false, 0));
    let others = outcome_of(|c, _| c.store("u", "scitokens", "a", "s"));
    assert_eq!(others.await, (true, 0));
}

#[tokio::test(start_paused = true)]
async fn one_pass_with_a_limit_on_requests_ends_though_not_all_are_served() {
    let mut setup = Setup::new(|c, _| (0..20).for_each(|n| c.store(&n.to_string(), "x", "a", "s")));
    setup.settings.rules.request_limit = Some((5, 3600));
    let (good, setup) = once(setup).await;
    assert!(!good);
    assert!(setup.vault.with(|v| v.asked.len()) <= 5);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_has_no_room_for_all_renewals_says_so_and_is_not_good() {
    let (lines, _logging) = LogLines::of_this_thread();
    let store = |c: &Credentials| (0..20).for_each(|n| c.store(&n.to_string(), "x", "a", "s"));
    let (good, mut setup) = once(Setup::new(|c, _| store(c))).await;
    assert!(good);
    // All are due, and their tokens live still.
    tokio::time::advance(Duration::from_secs(1300)).await;
    setup.vault.with(|v| v.asked.clear());
    setup.settings.rules.request_limit = Some((5, 3600));
    let (good, setup) = once(setup).await;
    let left = 20 - setup.vault.with(|v| v.asked.len());
    assert!(!good && left >= 15);
    let line = format!("ERROR {left} credentials are due and were not renewed");
    assert_eq!(lines.with(&line).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pass_with_a_problem_of_the_configuration_or_directory_is_not_good() {
    let mut setup = Setup::new(|c, _| c.store("u", "cms", "a", "s.1"));
    setup.settings.problems.push("X = 1 is wrong".to_owned());
    let (good, setup) = once(setup).await;
    assert!(!good, "though the credential is served");
    assert!(setup.credentials.claims("u", "cms").is_some());
    let mut setup = Setup::new(|_, _| ());
    setup.settings.directory = None;
    assert!(!once(setup).await.0);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_is_not_good_says_why() {
    let (lines, _logging) = LogLines::of_this_thread();
    let with_credential = || Setup::new(|c, _| c.store("u", "cms", "a", "s.1"));
    let (good, _) = once_with(with_credential(), Some("ca.pem cannot be read")).await;
    assert!(!good, "though the credential is served");
    assert_eq!(lines.with("ERROR ca.pem cannot be read").len(), 1);
    let mut setup = with_credential();
    setup.settings.directory = None;
    assert!(!once(setup).await.0);
    assert_eq!(lines.with("ERROR no credential directory").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pass_whose_scanner_breaks_off_is_not_good() {
    let setup = Setup::new(|_, _| ());
    let (to_scanner, _wakes) = wakes().unwrap();
    let (_, observed) = unbounded_channel();
    let parts = setup.parts(to_scanner, observed, Publisher::default());
    let daemon = Daemon::new(parts, setup.settings.clone(), None);
    assert!(!daemon.run_once().await);
}

#[tokio::test(start_paused = true)]
async fn a_pass_ends_with_its_copies_and_is_not_good_when_one_cannot_be_written() {
    let target = tempfile::tempdir().unwrap();
    let folder = target.path().canonicalize().unwrap();
    let copy = |name: &str| TokenCopy {
        id: CredentialId::new(&"u".into(), "cms").unwrap(),
        path: folder.join(name),
        owner: None,
        mode: 0o400,
    };
    let mut setup = Setup::new(|c, _| c.store("u", "cms", "a", "s.1"));
    setup.settings.copies = (0..20).map(|n| copy(&n.to_string())).collect();
    let (good, mut setup) = once(setup).await;
    assert_eq!(folder.read_dir().unwrap().count(), 20);
    assert!(good);
    setup.settings.copies.push(copy("missing/token"));
    assert!(!once(setup).await.0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_what_is_in_place_and_serves_what_came_meanwhile() {
    let (good, setup) = once(Setup::new(|c, _| {
        c.store("u", "kept", "a", "s.1");
        c.store("u", "replaced", "a", "s.1");
        c.store("u", "garbage", "a", "s.1");
    }))
    .await;
    assert!(good);
    let credentials = &setup.credentials;
    credentials.put("u", "garbage.use", "<html>\0</html>");
    // The kernel's clock for files ticks every few milliseconds; a second file shows that it did.
    let changed = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(credentials.file("u", name)).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    while changed("replaced.top") <= changed("replaced.use") {
        credentials.store("u", "replaced", "a", "s.2");
    }
    setup.vault.with(|v| v.asked.clear());
    let (good, setup) = once(setup).await;
    assert!(good);
    let mut asked: Vec<_> = setup
        .vault
        .with(|v| std::mem::take(&mut v.asked))
        .into_iter()
        .map(|asked| {
            (
                asked.path.rsplit('/').next().unwrap().to_owned(),
                asked.token,
            )
        })
        .collect();
    asked.sort();
    let expected = [("u:garbage", "s.1"), ("u:replaced", "s.2")];
    assert_eq!(
        asked,
        expected.map(|(path, token)| (path.to_owned(), token.to_owned()))
    );
    assert!(setup.credentials.claims("u", "garbage").is_some());
}
