//! What the loop tells others, and copies for them.

use super::*;
use crate::old::service_name::CredentialId;
use crate::old::state::State;

#[tokio::test(start_paused = true)]
async fn the_status_tells_each_credential_without_a_secret() {
    let run = Run::start_telling(|c, v| {
        c.store("good", "cms", "a", "s.good");
        c.store("dead", "cms", "a", "s.dead");
        c.store("other", "scitokens", "a", "s.other");
        c.store("slow", "cms", "slow", "s.slow");
        c.put("odd", "cms.top", "{");
        v.with(|v| {
            v.dead.push("s.dead".to_owned());
            v.slow.insert("slow".to_owned(), 100);
        });
    });
    run.pass(5).await;
    let (daemon, credentials) = run.status();
    assert!(daemon.running && daemon.problem.is_none());
    let states: Vec<_> = credentials
        .iter()
        .map(|c| (c.user.as_str(), c.state))
        .collect();
    assert_eq!(
        states,
        [
            ("dead", State::Dead),
            ("good", State::Fresh),
            ("odd", State::Dead),
            ("other", State::Ignored),
            ("slow", State::Renewing),
        ]
    );
    let good = &credentials[1];
    let token = good.access_token.as_ref().unwrap();
    assert_eq!(token.id, run.credentials.used("good", "cms").unwrap().id);
    let vault_life = good.vault_token.as_ref().unwrap().expires.unwrap();
    assert!(vault_life > token.expires.unwrap());
    assert!(good.next_renewal.unwrap() < token.expires.unwrap());
    assert!(credentials[0].why.contains("lookup-self"));
    assert!(credentials[0].advice.contains("store the credential again"));
    let text = std::fs::read_to_string(run.credentials.path().join(".status")).unwrap();
    let token = std::fs::read_to_string(run.credentials.file("good", "cms.use")).unwrap();
    assert!(!text.contains(token.trim()) && !text.contains("s.good"));
    assert_eq!(
        run.vault.with(|v| v.looked_up),
        2,
        "one for each living token, one for the dead"
    );
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_every_credential_that_is_late_is_degraded_and_well_again_after() {
    let run = Run::start_telling(|c, _| {
        for n in 0..20 {
            c.store(&format!("u{n}"), "cms", "a", "s.1");
        }
    });
    let states = |run: &Run| -> Vec<State> { run.status().1.iter().map(|c| c.state).collect() };
    run.pass(60).await;
    assert_eq!(states(&run), [State::Fresh; 20]);
    run.vault
        .with(|v| v.down.insert("a".to_owned(), ErrorKind::Unreachable));
    run.pass(3600).await;
    let (daemon, credentials) = run.status();
    assert_eq!(daemon.troubled_vaults[0].host, "a");
    assert!(
        credentials
            .iter()
            .all(|c| c.state == State::Degraded && !c.advice.is_empty())
    );
    run.vault.with(|v| v.down.clear());
    run.pass(120).await;
    assert_eq!(states(&run), [State::Fresh; 20]);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn metrics_are_told_in_a_file_and_when_asked() {
    let run = Run::start_with(
        |c, _| {
            c.store("u", "cms", "a", "s.1");
            c.store("v", "cms", "down", "s.1");
        },
        |c| {
            let directory = c.directory.clone().unwrap();
            c.views.metrics_file = Some(directory.join(".prom"));
        },
    );
    run.vault
        .with(|v| v.down.insert("down".to_owned(), ErrorKind::Sealed));
    run.pass(5).await;
    let (answer, asked) = oneshot::channel();
    run.commands.send(Command::Metrics(answer)).await.unwrap();
    let told = asked.await.unwrap();
    let file = std::fs::read_to_string(run.credentials.path().join(".prom")).unwrap();
    let ends = run.credentials.used("u", "cms").unwrap().expires.unwrap();
    for text in [told, file] {
        for line in [
            "credmon_directory_ok 1".to_owned(),
            "credmon_troubled_vaults 1".to_owned(),
            "credmon_credentials{state=\"fresh\"} 1".to_owned(),
            "credmon_renewals_total{result=\"renewed\"} 1".to_owned(),
            format!(
                "credmon_access_token_expiry_timestamp_seconds{{user=\"u\",service=\"cms\"}} {}",
                ends.as_second()
            ),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_follows_each_renewal() {
    let run = Run::start_with(
        |c, _| c.store("u", "cms", "a", "s.1"),
        |c| {
            c.copies.push(TokenCopy {
                id: CredentialId::new("u", "cms").unwrap(),
                path: c.directory.clone().unwrap().join(".copy"),
                owner: None,
                mode: nix::sys::stat::Mode::S_IRUSR,
            });
        },
    );
    let read = |path| std::fs::read_to_string(path).unwrap();
    let same =
        || read(run.credentials.path().join(".copy")) == read(run.credentials.file("u", "cms.use"));
    run.pass(1).await;
    assert!(same());
    std::fs::remove_file(run.credentials.path().join(".copy")).unwrap();
    run.credentials.store("u", "cms", "a", "s.2");
    run.pass(1).await;
    assert!(same());
    std::fs::remove_file(run.credentials.path().join(".copy")).unwrap();
    run.pass(60).await;
    assert!(same());
    run.stop().await;
}
