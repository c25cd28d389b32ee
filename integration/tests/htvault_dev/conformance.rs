//! Each recorded exchange again: the same request in the same circumstances gives the same
//! status, headers (names, case, order, values), fields in the same order, and error texts.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::conformance::compare::{Measure, difference};
use integration::conformance::recorded::{Exchange, RECORDINGS, exchange};

use crate::cases::{Arranged, NOT_YET, arrange};
use crate::wire::{Answer, Request};
use crate::world::World;

/// The recorded request with what was cut out of it put in again.
fn filled(recorded: &Request, arranged: &Arranged) -> Request {
    let ticket = STANDARD.encode(format!("ticket {}", arranged.principal));
    let fill = |text: &str| {
        text.replace("s.<token>", &arranged.token)
            .replace("<base64>", &ticket)
            .replace("<refresh token>", &arranged.refresh_token)
            .replace("st_yG1XMrPHGr6SOcxP3l0S", &arranged.state)
            .replace("st_X4guF1fRRrx8Jpp45bb0", &arranged.state)
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

/// The recording as it would have been with this world's issuer.
fn localised(mut recorded: Answer, world: &World) -> Answer {
    let address = world.server.issuer_address();
    let port = address.port();
    recorded.body = (recorded.body)
        .replace(
            "https://localhost:8443/token",
            &format!("https://issuer.test:{port}/cms/token"),
        )
        .replace(
            "https://localhost:8443/device",
            "https://issuer.test:8443/device",
        )
        .replace("127.0.0.1:8443", &address.to_string());
    recorded
}

async fn replay(name: &str, exchange: Exchange) -> Option<String> {
    let arranged = arrange(name).await?;
    let request = filled(&exchange.request, &arranged);
    let mut given = arranged.world.send(&request).await;
    if let Some((_, rest)) = given.body.split_once("?user_code=") {
        let code: String = rest.chars().take(8).collect();
        assert!(
            code.chars().all(|c| matches!(c, '0'..='9' | 'A'..='F')),
            "{code}"
        );
        given.body = given.body.replace(&code, "D499B6CA");
    }
    let recorded = localised(exchange.answer, &arranged.world);
    arranged.world.server.stop().await;
    difference(&recorded, &given, Measure::Exact).map(|words| format!("{name}: {words}"))
}

#[tokio::test]
async fn every_recorded_exchange_is_answered_alike() {
    let not_yet: BTreeSet<&str> = NOT_YET.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (name, _) in RECORDINGS {
        if not_yet.contains(name) {
            continue;
        }
        checked += 1;
        wrong.extend(replay(name, exchange(name).unwrap()).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(checked + NOT_YET.len(), 64, "recordings");
}

#[tokio::test]
async fn the_list_of_what_is_missing_is_true() {
    for (name, _) in RECORDINGS {
        let exchange = exchange(name).unwrap();
        let missing = NOT_YET.iter().any(|(known, _)| known == name);
        let arranged = arrange(name).await;
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
            let difference = difference(&exchange.answer, &given, Measure::Exact);
            assert!(
                difference.is_some(),
                "{name} is answered: take it off NOT_YET"
            );
        }
    }
}
