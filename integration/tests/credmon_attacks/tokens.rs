//! What counts as an access token, in `.use` files and in Vault's answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use integration::hostile::{AccessToken, Answer, Request, Site, token};
use integration::wait;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{FAR, HOUR, MINUTES, Test};

/// Far more than an event of the folder takes, and less than the scan of each minute.
const AT_ONCE: Duration = Duration::from_secs(30);

/// What is no token at all.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let half = AccessToken::living(Duration::from_secs(HOUR)).text();
    let half = half.rsplit_once('.').map(|(half, _)| half.to_owned());
    vec![
        ("nul", vec![0; 300]),
        ("html", b"<html><title>503</title></html>\n".to_vec()),
        ("half", half.unwrap_or_default().into_bytes()),
        ("empty", Vec::new()),
        ("blank", b"\n".to_vec()),
    ]
}

#[tokio::test]
async fn garbage_in_place_is_replaced_at_the_start_and_later() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    // An account for each: one whose folder changes all the time may be looked at less often.
    for (user, content) in garbage() {
        site.directory
            .store(user, "cms", "s.t", &vault.creds(user))?;
        site.directory.put_used(user, "cms", content)?;
    }
    let credmon = site.credmon().arg("-d").start()?;
    for (user, _) in garbage() {
        let served = site.directory.served(user, "cms", FAR).await;
        served.with_context(|| credmon.tail())?;
    }
    for (user, content) in garbage() {
        site.directory.put_used(user, "cms", content)?;
    }
    for (user, _) in garbage() {
        let served = site.directory.served(user, "cms", AT_ONCE).await;
        served.with_context(|| credmon.tail())?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_token_has_no_life_left() -> Test {
    let site = Site::new()?;
    // Vault gives nothing, so it stays.
    let vault = site
        .server("vault", |_| Answer::error(503, "Vault is sealed"))
        .await?;
    for (service, content) in garbage() {
        site.directory
            .store("cmsprod", service, "s.t", &vault.creds("cmsprod"))?;
        site.directory.put_used("cmsprod", service, content)?;
    }
    let credmon = site.credmon().start()?;
    for (service, _) in garbage() {
        credmon
            .state("cmsprod", service, &["degraded", "renewing"], FAR)
            .await?;
        for options in [&["--min-life", "20m"][..], &[]] {
            let options = [&["--user", "cmsprod", "--service", service], options].concat();
            let status = credmon.status(&options).await?;
            assert_eq!(status.code, Some(1), "{service} {options:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_opaque_token_is_served_and_promises_no_life() -> Test {
    let site = Site::new()?;
    let opaque = "opaque-0123456789abcdef";
    let rule = move |request: &Request| Answer::giving(request, opaque);
    let vault = site.server("vault", rule).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let endless = AccessToken::living(Duration::ZERO)
        .with("exp", json!(null))
        .text();
    let text = endless.clone();
    let rule = move |request: &Request| Answer::giving(request, &text);
    let other = site.server("other", rule).await?;
    site.directory
        .store("cmsprod", "endless", "s.t", &other.creds("cmsprod"))?;
    let credmon = site.credmon().start()?;
    for (service, content) in [("cms", opaque), ("endless", endless.as_str())] {
        wait::until("the token", FAR, async || -> Test {
            let is = site.directory.read("cmsprod", service).context("none")?;
            ensure!(is.trim_end() == content, "another one");
            Ok(())
        })
        .await?;
        credmon.state("cmsprod", service, &["fresh"], FAR).await?;
        let asked = |life| {
            [
                "--user",
                "cmsprod",
                "--service",
                service,
                "--min-life",
                life,
            ]
        };
        assert_eq!(
            credmon.status(&asked("20m")).await?.code,
            Some(1),
            "{service}"
        );
        assert_eq!(
            credmon.status(&asked("1s")).await?.code,
            Some(1),
            "{service}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_foreign_token_that_never_ends_is_replaced() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    let years = AccessToken::living(Duration::from_hours(10 * 365 * 24));
    let foreign = [
        (
            "issuer",
            years.clone().with("iss", json!("https://evil.example/")),
        ),
        ("subject", years.with("sub", json!("mallory"))),
    ];
    for (service, token) in &foreign {
        site.directory
            .store("cmsprod", service, "s.t", &vault.creds("cmsprod"))?;
        site.directory.put_used("cmsprod", service, token.text())?;
    }
    let credmon = site.credmon().start()?;
    let replaced = async |service: &str| {
        let what = format!("the foreign {service} to be replaced");
        wait::until(&what, MINUTES, async || -> Test {
            let token = site.directory.token("cmsprod", service).context("none")?;
            let is_ours = token.claim("iss") == Some(token::ISSUER)
                && token.claim("sub") == Some(token::SUBJECT);
            ensure!(is_ours, "{token:?}");
            Ok(())
        })
        .await
        .with_context(|| credmon.tail())
    };
    for (service, _) in &foreign {
        replaced(service).await?;
    }
    // While it runs, too.
    for (service, token) in &foreign {
        site.directory.put_used("cmsprod", service, token.text())?;
    }
    for (service, _) in &foreign {
        replaced(service).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_vault_gives_is_installed_only_when_it_is_a_token() -> Test {
    let site = Site::new()?;
    let bad = [
        "with\0nul",
        "with\u{1b}[31mescape",
        "two\nlines",
        "two words",
        "",
        "e\u{301}",
    ];
    let mut servers = Vec::new();
    for (number, text) in bad.into_iter().enumerate() {
        let rule = move |request: &Request| Answer::giving(request, text);
        let vault = site.server("vault", rule).await?;
        let service = format!("s{number}");
        site.directory
            .store("cmsprod", &service, "s.t", &vault.creds("cmsprod"))?;
        servers.push(vault);
    }
    let credmon = site.credmon().start()?;
    for number in 0..bad.len() {
        let service = format!("s{number}");
        credmon
            .state("cmsprod", &service, &["degraded"], FAR)
            .await?;
        assert_eq!(site.directory.read("cmsprod", &service), None, "{service}");
    }
    Ok(())
}

#[tokio::test]
async fn odd_times_of_issue_cause_no_storm_of_requests() -> Test {
    let site = Site::new()?;
    // Shorter than what is asked for.
    let life = Duration::from_mins(10);
    let odd = [json!(0), json!(-1), json!("soon"), json!(4_102_444_800_i64)];
    let mut servers = Vec::new();
    for (number, issued) in odd.into_iter().enumerate() {
        let asked = AtomicUsize::new(0);
        let rule = move |request: &Request| {
            if request.is_lookup() {
                return Answer::alive();
            }
            asked.fetch_add(1, Ordering::Relaxed);
            let token = AccessToken::living(life).with("iat", issued.clone());
            Answer::access_token(&token.text())
        };
        let vault = site.server("vault", rule).await?;
        let url = vault.creds("cmsprod");
        site.directory
            .store("cmsprod", &format!("s{number}"), "s.t", &url)?;
        servers.push(vault);
    }
    let credmon = site.credmon().start()?;
    for number in 0..servers.len() {
        site.directory
            .served("cmsprod", &format!("s{number}"), FAR)
            .await?;
    }
    wait::pass(Duration::from_secs(20)).await;
    for (number, server) in servers.iter().enumerate() {
        let asked = server.asked();
        ensure!(
            asked <= 3,
            "s{number} was asked for {asked} times; {}",
            credmon.tail()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_on_file_sizes_does_not_kill_it() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, 30)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut credmon = site.credmon().for_life(30).start()?;
    let first = site.directory.served("cmsprod", "cms", FAR).await?;
    credmon.prlimit("--fsize=0:").await?;
    site.directory
        .store("cmsprod", "late", "s.t", &vault.creds("cmsprod"))?;
    wait::pass(Duration::from_secs(15)).await;
    ensure!(credmon.daemon.try_ended()?.is_none(), "it was killed");
    assert_eq!(site.directory.token("cmsprod", "cms"), Some(first.clone()));
    credmon.prlimit("--fsize=unlimited:").await?;
    site.directory
        .renewed("cmsprod", "cms", &first, MINUTES)
        .await?;
    site.directory.served("cmsprod", "late", MINUTES).await?;
    credmon.daemon.signal(Signal::SIGTERM)?;
    assert!(credmon.daemon.wait(FAR).await?.success());
    Ok(())
}
