//! Texts of servers, users and files: bounded, escaped, and never a secret.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use integration::hostile::{AccessToken, Answer, Credmon, Request, Site};
use integration::wait;
use serde_json::{Value, json};

use super::{FAR, HOUR, Test};

/// Longest text of a stranger, and the fixed words around it.
const LONGEST: usize = 1500;

/// Clears the screen, changes the title, moves backwards in the text.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\u{8}evil";

/// All that an admin may look at.
async fn all_texts(credmon: &Credmon) -> anyhow::Result<Vec<(&'static str, String)>> {
    let table = credmon.setup.status(&[]).await?;
    let status = credmon.status(&[]).await?;
    let file = fs::read(credmon.setup.status_file())?;
    Ok(vec![
        ("log", credmon.log()),
        ("output", credmon.daemon.tail(1000)),
        ("table", table.text + &table.errors),
        ("JSON", status.text),
        ("status file", String::from_utf8_lossy(&file).into_owned()),
    ])
}

fn assert_plain(place: &str, text: &str) {
    let is_bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let bad = text.chars().find(|c| is_bad(*c));
    assert_eq!(bad, None, "in the {place}: {}", text.escape_debug());
}

/// Every text of the JSON is short.
fn assert_short(value: &Value) {
    match value {
        Value::String(text) => {
            assert!(
                text.chars().count() < LONGEST,
                "{} characters",
                text.chars().count()
            );
            // JSON hides what a program shows as it is.
            assert_plain("JSON's texts", text);
        }
        Value::Array(all) => all.iter().for_each(assert_short),
        Value::Object(all) => all.values().for_each(assert_short),
        _ => {}
    }
}

#[tokio::test]
async fn escapes_and_floods_of_text_are_shown_harmlessly() -> Test {
    let site = Site::new()?;
    let kinds: [fn() -> Answer; 6] = [
        || Answer::error(400, ESCAPES),
        || Answer::error(500, &format!("{ESCAPES}{}", "A".repeat(200_000))),
        || {
            Answer::of(
                502,
                "text/html",
                format!("<title>{ESCAPES}</title>{}", "x".repeat(100_000)),
            )
        },
        || Answer::of(400, "text/plain", ESCAPES),
        || Answer::json(403, &json!({"errors": vec!["denied\u{1b}[1m"; 3000]})),
        || {
            let token = AccessToken::living(Duration::from_secs(HOUR));
            let odd = token
                .with("jti", json!(format!("{ESCAPES}{}", "j".repeat(5000))))
                .with("scope", json!(format!("a{ESCAPES}b {}", "s".repeat(5000))))
                .with(
                    "iss",
                    json!(format!("https://{ESCAPES}/{}", "i".repeat(5000))),
                );
            Answer::access_token(&odd.text())
        },
    ];
    let mut servers = Vec::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        let rule = move |request: &Request| {
            if request.is_lookup() {
                Answer::alive()
            } else {
                kind()
            }
        };
        let server = site.server("odd", rule).await?;
        let url = server.creds("cmsprod");
        site.directory
            .store("cmsprod", &format!("s{number}"), "s.t", &url)?;
        servers.push(server);
    }
    // The user's own texts.
    let tops = [
        (
            "own_0",
            json!({"vault_token": ESCAPES, "vault_url": servers[0].creds("x")}),
        ),
        (
            "own_1",
            json!({"vault_token": "s.t", "vault_url": format!("https://h{ESCAPES}:8200/v1/x")}),
        ),
        (
            "own_2",
            json!({"vault_token": "s.t", "vault_url": format!("https://{}:8200/v1/x", "h".repeat(9000))}),
        ),
        (
            "own_3",
            json!({"vault_token": "s.t", "vault_url": servers[0].creds("x"), "scopes": ESCAPES}),
        ),
        (
            "own_4",
            json!({"vault_token": {"evil\u{1b}[2J": 1}, "vault_url": 3}),
        ),
    ];
    for (service, top) in &tops {
        site.directory
            .store_text("cmsprod", service, top.to_string())?;
    }
    // Names that HTCondor would never give.
    site.directory.store(
        "cmsprod",
        &format!("evil{ESCAPES}"),
        "s.t",
        &servers[0].creds("x"),
    )?;
    fs::create_dir(site.directory.path().join(format!("user{ESCAPES}")))?;
    let credmon = site.credmon().arg("-d").start()?;
    for number in 0..5 {
        credmon
            .state("cmsprod", &format!("s{number}"), &["degraded", "dead"], FAR)
            .await?;
    }
    for (service, _) in &tops {
        credmon
            .state("cmsprod", service, &["degraded", "dead"], FAR)
            .await?;
    }
    for (place, text) in all_texts(&credmon).await? {
        assert_plain(place, &text);
        for line in text.lines().filter(|_| place == "log") {
            assert!(line.len() < 2 * LONGEST, "a line of {} bytes", line.len());
        }
    }
    let status = credmon.status(&[]).await?;
    assert!(status.json().is_object(), "{status:?}");
    assert_short(&status.json());
    Ok(())
}

#[tokio::test]
async fn a_token_in_the_wrong_place_is_never_shown() -> Test {
    let site = Site::new()?;
    let token = AccessToken::living(Duration::from_secs(HOUR)).text();
    let bodies = [
        json!({"data": token}),
        json!({"data": {"access_token": [token]}}),
        json!({"data": {"access_token": {"token": token}}}),
        json!({"errors": token, "data": null}),
        json!(token),
        json!({"data": {"access_token": 7, "expire_time": token}}),
    ];
    let mut servers = Vec::new();
    for (number, body) in bodies.into_iter().enumerate() {
        let server = site
            .server("odd", move |_| Answer::json(200, &body))
            .await?;
        let url = server.creds("cmsprod");
        site.directory
            .store("cmsprod", &format!("s{number}"), "s.secret-of-a-top", &url)?;
        servers.push(server);
    }
    // A secret in a field of another type, and in JSON that is broken.
    let url = servers[0].creds("x");
    for (service, top) in [
        (
            "own_0",
            format!(r#"{{"vault_token": ["s.secret-of-a-top"], "vault_url": "{url}"}}"#),
        ),
        ("own_1", r#""s.secret-of-a-top""#.to_owned()),
        (
            "own_2",
            format!(r#"{{"vault_token": "s.secret-of-a-top" "vault_url": "{url}"}}"#),
        ),
        (
            "own_3",
            r#"{"vault_token": "s.t", "vault_url": "https://s.secret-of-a-top@h:8200/v1/x"}"#
                .to_owned(),
        ),
    ] {
        site.directory.store_text("cmsprod", service, top)?;
    }
    let credmon = site.credmon().arg("-d").arg("-v").start()?;
    for number in 0..servers.len() {
        credmon
            .state("cmsprod", &format!("s{number}"), &["degraded", "dead"], FAR)
            .await?;
    }
    for number in 0..4 {
        credmon
            .state("cmsprod", &format!("own_{number}"), &["dead"], FAR)
            .await?;
    }
    let payload = token.split('.').nth(1).context("it has parts")?;
    let payload: String = payload.chars().take(24).collect();
    for (place, text) in all_texts(&credmon).await? {
        for secret in ["s.secret-of-a-top", &payload] {
            assert!(!text.contains(secret), "a secret in the {place}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_front_that_answers_in_vaults_place_is_quoted_by_its_title() -> Test {
    let site = Site::new()?;
    let page = "<html><head><title>413 Request Blocked by WAF</title></head><body>x</body></html>";
    let mut servers = Vec::new();
    for status in [400, 403, 404, 431] {
        let rule = move |_: &Request| Answer::of(status, "text/html", page);
        let server = site.server("front", rule).await?;
        let url = server.creds("cmsprod");
        site.directory
            .store("cmsprod", &format!("s{status}"), "s.t", &url)?;
        servers.push(server);
    }
    let credmon = site.credmon().start()?;
    for status in [400, 403, 404, 431] {
        let service = format!("s{status}");
        let one = credmon
            .state("cmsprod", &service, &["degraded"], FAR)
            .await?;
        let text = format!("{} {} {}", one["why"], one["advice"], one["last_error"]);
        ensure!(text.contains("413 Request Blocked by WAF"), "{text}");
        ensure!(
            text.contains("between"),
            "something between answered: {text}"
        );
        ensure!(
            !text.contains("keytab") && !text.contains("onboard"),
            "{text}"
        );
    }
    let quiet = wait::until("a status of the table's form", FAR, async || -> Test {
        let table = credmon.setup.status(&[]).await?;
        ensure!(table.text.contains("413 Request Blocked"), "{}", table.text);
        Ok(())
    });
    quiet.await
}
