//! Access tokens whose claims have odd types: what can be read counts, and what is odd is said.

use bastion::model::problem::{Cause, Kind, Remedy};
use integration::hostile::{AccessToken, Handling};
use serde_json::{Value, json};

use crate::{Site, only};

/// Expiry as a text.
fn as_text(token: AccessToken) -> AccessToken {
    let expires = token.expires().unwrap().to_string();
    token.with("exp", json!(expires))
}

/// Expiry in milliseconds, a number as version.
fn in_milliseconds(token: AccessToken) -> AccessToken {
    let expires = token.expires().unwrap() * 1000;
    token
        .with("exp", json!(expires))
        .with("wlcg.ver", json!(1.0))
}

/// Numbers as identifier and subject.
fn numbers(token: AccessToken) -> AccessToken {
    token.with("jti", json!(71)).with("sub", json!(1234))
}

#[tokio::test]
async fn tokens_with_claims_of_odd_types_are_delivered_and_what_is_odd_is_said() {
    let site = Site::start().await;
    let front = site.front(|path| match path {
        "secret/oauth/creds/cms/cmsprod:default" => Handling::Change(as_text),
        "secret/oauth/creds/cms/cmsprod:production" => Handling::Change(in_milliseconds),
        "secret/oauth/creds/cms/crabtw:crab" => Handling::Change(numbers),
        _ => Handling::Pass,
    });
    let _front = front.await;
    site.configure("https://vault.test:8200");
    let (report, said) = site.once().await;
    assert!(report.is_good(), "{:#?}\n{said}", report.problems);
    for line in &report.deliveries {
        let left = line.jobs_safe_until.unwrap().duration_since(report.at);
        assert!((60..=600).contains(&left.as_secs()), "{line:?}");
    }
    let doctor = site.run(&["doctor"]).await;
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(0), "{text}");
    for (service, odd) in [
        ("cms ", "exp: a string"),
        ("cms_production ", "exp: milliseconds; wlcg.ver: a number"),
        ("cms_crab ", "sub: a number; jti: a number"),
    ] {
        let line = text
            .lines()
            .find(|l| l.contains(&format!("access token {service}")));
        let line = line.unwrap();
        assert!(line.contains("warning") && line.contains(odd), "{text}");
        // At the push, and once.
        let told = said.lines().filter(|line| line.contains(odd)).count();
        assert_eq!(told, 1, "{said}");
    }
    assert!(text.contains("subject 1234"), "{text}");
}

/// An access token of which nobody says when it expires.
fn endless(answer: &mut Value) {
    let data = &mut answer["data"];
    let token = AccessToken::read(data["access_token"].as_str().unwrap()).unwrap();
    data["access_token"] = token.with("exp", Value::Null).text().into();
    data.as_object_mut().unwrap().remove("expire_time").unwrap();
}

#[tokio::test]
async fn a_token_without_an_expiry_is_delivered_nowhere() {
    let site = Site::start().await;
    let front = site.front(|path| match path {
        "secret/oauth/creds/cms/crabtw:crab" => Handling::Edit(endless),
        _ => Handling::Pass,
    });
    let _front = front.await;
    site.configure("https://vault.test:8200");
    let (report, said) = site.once().await;
    let group = only(&report);
    assert_eq!(group.cause, Cause::Credential("crabtw/cms_crab".to_owned()));
    assert_eq!(
        (group.kind, group.remedy),
        (Kind::WrongToken, Remedy::FixVault)
    );
    assert!(group.message.contains("it has no expiry"), "{said}");
    let folder = site.here.directory.join("crabtw");
    assert!(!folder.join("cms_crab.top").exists(), "{said}");
}
