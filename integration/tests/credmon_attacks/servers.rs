//! Servers that fail in ways that public reports tell of.

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use integration::hostile::{AccessToken, Answer, Request, Server, Site, server};
use integration::wait;
use serde_json::json;

use super::{FAR, HOUR, MINUTES, Test};

/// How long a second try may take where a first one was refused for a moment.
const SECONDS: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_standby_that_redirects_is_left_for_one_that_works() -> Test {
    let site = Site::new()?;
    let cluster = server::unique("cluster");
    let mut servers = Vec::new();
    for number in 0..3 {
        let rule = move |request: &Request| match number {
            2 => Answer::good(request, 30),
            _ => Answer::of(307, "text/plain", "").header(
                "Location",
                &format!("https://127.83.0.250:8200{}", request.path),
            ),
        };
        servers.push(Server::named(&site.ca, &[&cluster], rule).await?);
    }
    for user in ["ann", "bob", "cleo"] {
        site.directory
            .store(user, "cms", "s.t", &servers[0].creds(user))?;
    }
    let credmon = site.credmon().for_life(30).start()?;
    for user in ["ann", "bob", "cleo"] {
        let first = site.directory.served(user, "cms", FAR).await;
        let first = first.with_context(|| credmon.tail())?;
        site.directory.renewed(user, "cms", &first, FAR).await?;
    }
    ensure!(servers[2].asked() > 3, "the healthy one is used");
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() -> Test {
    let site = Site::new()?;
    let stranger = site.server("stranger", |r| Answer::good(r, HOUR)).await?;
    let to = stranger.creds("cmsprod");
    let rule = move |_: &Request| Answer::of(307, "text/plain", "").header("Location", &to);
    let vault = site.server("vault", rule).await?;
    site.directory
        .store("cmsprod", "cms", "s.only-for-one", &vault.creds("cmsprod"))?;
    let credmon = site.credmon().start()?;
    credmon.state("cmsprod", "cms", &["degraded"], FAR).await?;
    assert!(stranger.requests().is_empty());
    // It is an outage of that node, and over with it.
    vault.answer(|r| Answer::good(r, HOUR));
    site.directory.served("cmsprod", "cms", MINUTES).await?;
    Ok(())
}

#[tokio::test]
async fn a_young_token_that_is_refused_once_is_tried_again_in_seconds() -> Test {
    let site = Site::new()?;
    let since = Arc::new(OnceLock::new());
    // A lagging standby: it knows neither the token nor its look-up for a moment.
    let rule = move |request: &Request| {
        if since.get_or_init(Instant::now).elapsed() < Duration::from_secs(1) {
            Answer::denied()
        } else {
            Answer::good(request, HOUR)
        }
    };
    let vault = site.server("vault", rule).await?;
    site.directory
        .store("cmsprod", "cms", "s.young", &vault.creds("cmsprod"))?;
    let credmon = site.credmon().start()?;
    let served = site.directory.served("cmsprod", "cms", SECONDS).await;
    served.with_context(|| credmon.tail())?;
    credmon.state("cmsprod", "cms", &["fresh"], FAR).await?;

    // One that stays dead is dead.
    let dead = site.server("dead", |_| Answer::denied()).await?;
    site.directory
        .store("cmsprod", "dead", "s.dead", &dead.creds("cmsprod"))?;
    credmon.state("cmsprod", "dead", &["dead"], FAR).await?;
    wait::pass(Duration::from_secs(10)).await;
    ensure!(
        dead.requests().len() < 10,
        "{} requests",
        dead.requests().len()
    );
    Ok(())
}

#[tokio::test]
async fn a_rotated_log_is_opened_again_within_seconds() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let credmon = site.credmon().start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    for number in 0..3 {
        let old = site.path(&format!("log/rotated.{number}"));
        fs::rename(site.path("log/CredMonOAuthLog"), &old)?;
        let before = fs::metadata(&old)?.len();
        wait::pass(Duration::from_secs(6)).await;
        let service = format!("after{number}");
        site.directory
            .store("cmsprod", &service, "s.t", &vault.creds("cmsprod"))?;
        site.directory.served("cmsprod", &service, FAR).await?;
        let line = wait::until("its line in the new log", SECONDS, async || -> Test {
            ensure!(
                credmon.log().contains(&service),
                "{}",
                fs::read_to_string(&old)?
            );
            Ok(())
        });
        line.await?;
        ensure!(
            fs::metadata(&old)?.len() == before,
            "the old one was written"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_tells_no_end_is_served() -> Test {
    let site = Site::new()?;
    let endless = AccessToken::living(Duration::from_secs(HOUR))
        .with("exp", json!(null))
        .text();
    let text = endless.clone();
    let rule = move |request: &Request| Answer::giving(request, &text);
    let vault = site.server("vault", rule).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let credmon = site.credmon().start()?;
    wait::until("it to be served", FAR, async || -> Test {
        let is = site.directory.read("cmsprod", "cms").context("none")?;
        ensure!(is.trim_end() == endless, "another one");
        Ok(())
    })
    .await?;
    credmon.state("cmsprod", "cms", &["fresh"], FAR).await?;
    ensure!(vault.asked() < 5, "asked {} times", vault.asked());
    Ok(())
}

#[tokio::test]
async fn claims_of_odd_types_do_not_hide_the_others() -> Test {
    let site = Site::new()?;
    let odd = [
        ("jti", json!(7)),
        ("sub", json!(7)),
        ("wlcg.ver", json!(1.0)),
        ("aud", json!([1, "x"])),
    ];
    let mut servers = Vec::new();
    for (number, (claim, value)) in odd.into_iter().enumerate() {
        let token = AccessToken::living(Duration::from_secs(HOUR)).with(claim, value);
        let text = token.text();
        let rule = move |request: &Request| Answer::giving(request, &text);
        let vault = site.server("vault", rule).await?;
        let url = vault.creds("cmsprod");
        site.directory
            .store("cmsprod", &format!("s{number}"), "s.t", &url)?;
        servers.push(vault);
    }
    let credmon = site.credmon().start()?;
    for number in 0..servers.len() {
        let service = format!("s{number}");
        site.directory.served("cmsprod", &service, FAR).await?;
        let options = [
            "--user",
            "cmsprod",
            "--service",
            &service,
            "--min-life",
            "20m",
        ];
        let known = wait::until("its end to be known", FAR, async || -> Test {
            let status = credmon.status(&options).await?;
            ensure!(status.code == Some(0), "{}", status.text);
            Ok(())
        });
        known.await.with_context(|| service.clone())?;
    }
    Ok(())
}

#[tokio::test]
async fn certificates_that_rustls_refuses_are_explained_in_words() -> Test {
    let site = Site::new()?;
    // Another authority's, and a name that it does not have.
    let stranger = integration::ca::Ca::create(&site.path("other-ca"), "Another CA")?;
    let unknown = Server::start(&stranger, "unknown", |r| Answer::good(r, HOUR)).await?;
    let named = site.server("named", |r| Answer::good(r, HOUR)).await?;
    let alias = server::unique("alias");
    let address = named.address().ip().to_string().parse()?;
    integration::hostile::names::add([(alias.as_str(), address)])?;
    let wrong = format!("https://{alias}:8200/v1/secret/oauth/creds/cms/x:default");
    site.directory
        .store("cmsprod", "unknown", "s.secret", &unknown.creds("x"))?;
    site.directory
        .store("cmsprod", "alias", "s.secret", &wrong)?;
    let credmon = site.credmon().start()?;
    for service in ["unknown", "alias"] {
        let one = credmon
            .state("cmsprod", service, &["degraded"], FAR)
            .await?;
        let text = format!("{} {}", one["why"], one["last_error"]);
        ensure!(text.contains("certificate"), "{text}");
        for library in [
            "Other(",
            "OtherError",
            "InvalidCertificate",
            "NotValidForName",
            "[48",
        ] {
            ensure!(!text.contains(library), "library words: {text}");
        }
    }
    assert!(!unknown.has_seen("s.secret") && !named.has_seen("s.secret"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_asks_once_for_each() -> Test {
    const MANY: usize = 200;
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    for number in 0..MANY {
        let user = format!("u{number}");
        site.directory
            .store(&user, "cms", "s.t", &vault.creds(&user))?;
    }
    let credmon = site.credmon().start()?;
    for number in 0..MANY {
        let served = site
            .directory
            .served(&format!("u{number}"), "cms", FAR)
            .await;
        served.with_context(|| credmon.tail())?;
    }
    let all = vault.requests().len();
    println!("{all} requests for {MANY} credentials");
    // A few look-ups may come between the last answer and the last `.use`.
    ensure!(vault.asked() == MANY, "asked {} times", vault.asked());
    ensure!(
        all < MANY + MANY / 10,
        "{all} requests for {MANY} credentials"
    );
    Ok(())
}
