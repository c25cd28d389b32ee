//! Answers that make no sense, and answers that do not come: refused at receipt, charged to what they speak of, never
//! shown, and over with the next honest answer.

use bastion::engine::report::Report;
use bastion::model::problem::{Cause, Kind};
use bastion::policy::plan::State;
use integration::hostile::Handling;
use integration::wait;
use serde_json::{Value, json};

use crate::{FAR, Site, states};

const ADDRESS: &str = "https://vault.test:8200";
/// Part of each token that the front makes up.
const SECRET: &str = "hvs.MADE-UP-SECRET";

/// Change of an answer, and words of the refusal.
type Lie = (fn(&mut Value), &'static str);

const LIES: [Lie; 6] = [
    (
        |answer| answer["auth"]["client_token"] = json!(format!("{SECRET}\r\nx: y")),
        "holds characters that no token has",
    ),
    (
        |answer| answer["auth"]["client_token"] = json!(format!("{SECRET}\u{1b}[31m")),
        "holds characters that no token has",
    ),
    (
        |answer| answer["auth"]["lease_duration"] = json!(0),
        "no lifetime",
    ),
    (
        |answer| answer["auth"]["lease_duration"] = json!(SECRET),
        "is not understood: a field is missing or of another type",
    ),
    (
        |answer| answer["auth"] = json!(SECRET),
        "is not understood: a field is missing",
    ),
    (
        |answer| answer["auth"] = Value::Null,
        "the answer has no token",
    ),
];

#[tokio::test]
async fn a_created_token_that_makes_no_sense_is_refused_and_poisons_nothing() {
    let site = Site::start().await;
    let front = site.front(|_| Handling::Pass).await;
    let config = site.configure(ADDRESS);
    let mut service = site.here.chain.service(&config).unwrap();
    wait::until("all to be good", FAR, async || {
        (site.run(&["status"]).await.status.code() == Some(0)).then_some(())
    })
    .await
    .unwrap();
    let push = ["push", "--account", "crabtw", "--json"];
    for (lie, words) in LIES {
        front.rule(move |path| match path {
            "auth/token/create" => Handling::Edit(lie),
            _ => Handling::Pass,
        });
        let output = site.run(&push).await;
        let report: Report = serde_json::from_slice(&output.stdout).unwrap();
        let group = crate::only(&report);
        assert_eq!(group.cause, Cause::Credential("crabtw/cms_crab".to_owned()));
        assert_eq!(group.kind, Kind::VaultDown, "{}", group.message);
        assert!(group.message.contains(words), "{words}: {}", group.message);
        // Jobs have what they had.
        assert!(
            report.deliveries[0].jobs_have_token,
            "{:?}",
            report.deliveries[0]
        );
        front.rule(|_| Handling::Pass);
        let output = site.run(&push).await;
        assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
    }
    let status = String::from_utf8(site.run(&["status", "--json"]).await.stdout).unwrap();
    let all = status + &service.tail(10_000);
    assert!(!all.contains("MADE-UP"), "{all}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_hangs_is_charged_to_its_own_credential_and_the_issuer_only_by_a_read() {
    let site = Site::start().await;
    // At once, since each takes as long as the client waits.
    let front = site.front(|path| match path {
        "auth/kerberos-cms_crab/login" | "secret/oauth/creds/cms/cmsprod:default" => Handling::Hang,
        _ => Handling::Pass,
    });
    let front = front.await;
    site.configure(ADDRESS);
    let (report, said) = site.once().await;
    let kinds: Vec<(&Cause, Kind)> = report.problems.iter().map(|g| (&g.cause, g.kind)).collect();
    let read = Cause::Credential("cmsprod/cms".to_owned());
    let login = Cause::Login("crabtw at kerberos-cms_crab".to_owned());
    assert_eq!(
        kinds,
        [(&read, Kind::IssuerDown), (&login, Kind::VaultDown)],
        "{said}"
    );
    // Another credential of the same account is not held up.
    assert_eq!(states(&report)[1], State::Good, "{said}");

    site.forget();
    front.rule(|path| match path {
        "auth/token/create" => Handling::Hang,
        _ => Handling::Pass,
    });
    let (report, said) = site.once().await;
    assert_eq!(report.problems.len(), 3, "{said}");
    assert!(
        report
            .problems
            .iter()
            .all(|group| group.kind == Kind::VaultDown),
        "{said}"
    );
}
