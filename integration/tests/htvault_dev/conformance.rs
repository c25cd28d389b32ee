//! Each recorded exchange again: the same request in the same circumstances gives the same
//! status, headers (names, case, order, values), fields in the same order, and error texts.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cases::{Arranged, NOT_YET, arrange};
use crate::recorded::{self, Exchange};
use crate::shape::Shape;
use crate::wire::{Answer, Request};
use crate::world::World;

/// The recorded request with what was cut out of it put in again.
fn filled(recorded: &Request, arranged: &Arranged) -> Request {
    let ticket = STANDARD.encode(format!("ticket {}", arranged.principal));
    let fill = |text: &str| {
        text.replace("s.<token>", &arranged.token)
            .replace("<base64>", &ticket)
            .replace("<refresh token>", &arranged.refresh_token)
    };
    Request {
        method: recorded.method.clone(),
        path: recorded.path.clone(),
        headers: (recorded.headers.iter())
            .map(|(name, value)| (name.clone(), fill(value)))
            .collect(),
        body: fill(&recorded.body),
    }
}

/// The headers in their order, without the values that are another each time. The date is put
/// last: the one header whose place the HTTP library decides.
fn headers(answer: &Answer, with_length: bool) -> Vec<(&str, &str)> {
    let mut headers: Vec<(&str, &str)> = (answer.headers.iter())
        .map(|(name, value)| match name.as_str() {
            "Date" => (name.as_str(), "a date"),
            "Content-Length" if !with_length => (name.as_str(), "a length"),
            _ => (name.as_str(), value.as_str()),
        })
        .collect();
    headers.sort_by_key(|(name, _)| *name == "Date");
    headers
}

/// Whether the length of the body is always the same.
fn has_fixed_length(body: &str) -> bool {
    let varies = ["access_token", "expire_time", "dial tcp"];
    !varies.iter().any(|word| body.contains(word))
}

/// What differs, if anything does.
fn difference(recorded: &Answer, given: &Answer) -> Option<String> {
    if (recorded.status, &recorded.reason) != (given.status, &given.reason) {
        return Some(format!(
            "status {} {}, recorded {}",
            given.status, given.body, recorded.status
        ));
    }
    let with_length = has_fixed_length(&recorded.body);
    let (ours, theirs) = (headers(given, with_length), headers(recorded, with_length));
    if ours != theirs {
        return Some(format!("headers {ours:?}, recorded {theirs:?}"));
    }
    if recorded.body.is_empty() || given.body.is_empty() {
        let same = recorded.body == given.body;
        return (!same).then(|| format!("body {}, recorded {}", given.body, recorded.body));
    }
    let (ours, theirs) = (Shape::of(&given.body), Shape::of(&recorded.body));
    (ours != theirs).then(|| format!("body {ours:#?}, recorded {theirs:#?}"))
}

/// The recording as it would have been with this world's issuer.
fn localised(mut recorded: Answer, world: &World) -> Answer {
    let address = world.server.issuer_address();
    let port = address.port();
    recorded.body = (recorded.body)
        .replace(
            "https://localhost:8443/token",
            &format!("https://issuer.test:{port}/cms/token"),
        )
        .replace("127.0.0.1:8443", &address.to_string());
    recorded
}

async fn replay(name: &str, exchange: Exchange) -> Option<String> {
    let arranged = arrange(name).await?;
    let request = filled(&exchange.request, &arranged);
    let given = arranged.world.send(&request).await;
    let recorded = localised(exchange.answer, &arranged.world);
    arranged.world.server.stop().await;
    difference(&recorded, &given).map(|words| format!("{name}: {words}"))
}

#[tokio::test]
async fn every_recorded_exchange_is_answered_alike() {
    let not_yet: BTreeSet<&str> = NOT_YET.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (name, exchange) in recorded::all() {
        if not_yet.contains(name.as_str()) {
            continue;
        }
        checked += 1;
        wrong.extend(replay(&name, exchange).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(checked + NOT_YET.len(), 64, "recordings");
}

#[tokio::test]
async fn the_list_of_what_is_missing_is_true() {
    let recordings = recorded::all();
    for (name, exchange) in recordings {
        let missing = NOT_YET.iter().any(|(known, _)| *known == name);
        let arranged = arrange(&name).await;
        assert_ne!(
            missing,
            arranged.is_some(),
            "{name}: one of a case or NOT_YET"
        );
        if missing {
            let arranged = arrange("creds-read").await.unwrap();
            let given = arranged
                .world
                .send(&filled(&exchange.request, &arranged))
                .await;
            let difference = difference(&exchange.answer, &given);
            assert!(
                difference.is_some(),
                "{name} is answered: take it off NOT_YET"
            );
        }
    }
}
