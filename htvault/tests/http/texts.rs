//! Texts and tokens of servers that are hostile, broken, or no Vault.

use htvault::{ErrorKind, FailureScope, Poll, TokenForm};

use crate::server::{Reply, SECRET, Stage, vault_token};
use crate::{read, refused};

async fn error_of(reply: Reply) -> htvault::Error {
    let stage = Stage::new();
    let server = stage.server(vec![reply]).await;
    refused(&stage.client(&[&server])).await
}

#[tokio::test]
async fn a_fronts_page_is_quoted_by_its_title() {
    for (status, scope) in [
        (400, FailureScope::Credential),
        (401, FailureScope::Credential),
        (403, FailureScope::Credential),
        (404, FailureScope::Credential),
        (431, FailureScope::Credential),
        (502, FailureScope::Host),
        (503, FailureScope::Host),
        (504, FailureScope::Host),
    ] {
        let page = format!(
            "<!doctype html><html><head><title>\nBlocked by\x1b[31m  policy {SECRET} {}</title>",
            "x".repeat(9000)
        );
        let error = error_of(Reply::new(status, "Content-Type: text/html\r\n", &page)).await;
        assert_eq!(error.kind(), ErrorKind::NotVault, "{error}");
        assert_eq!(error.scope(), scope, "{error}");
        let text = error.to_string();
        assert!(text.contains(&status.to_string()), "{text}");
        assert!(text.contains(r"Blocked by\u{1b}[31m policy"), "{text}");
        assert!(text.contains("something between"), "{text}");
        assert!(
            !text.contains("keytab") && !text.contains("onboarded"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_page_or_warning_of_a_success_shows_no_token() {
    for before in ["", &"x".repeat(90)] {
        let page = format!("<html><title>{before} Denied: {SECRET}</title>");
        let error = error_of(Reply::new(200, "Content-Type: text/html\r\n", &page)).await;
        assert_eq!(error.kind(), ErrorKind::NotVault, "{error}");
        let text = error.to_string();
        let begin: String = SECRET.chars().take(6).collect();
        assert!(!text.contains(&begin), "{text}");
    }
    let stage = Stage::new();
    let body = format!(
        r#"{{"data":{{"access_token":"e30.e30.x","type":"Bearer"}},"warnings":["of {SECRET}"]}}"#
    );
    let server = stage.server(vec![Reply::json(200, &body)]).await;
    let answer = read(&stage.client(&[&server])).await;
    assert_eq!(answer.unwrap().warnings, ["of (secret)"]);
}

#[tokio::test]
async fn hostile_errors_are_escaped_bounded_and_show_no_token() {
    let long = "y".repeat(200_000);
    let body = format!(r#"{{"errors":["\u001b[2J\u0000 {SECRET} \u202e","{long}"]}}"#);
    let error = error_of(Reply::json(403, &body)).await;
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let text = error.message();
    assert!(text.contains(r"\u{1b}[2J\u{0} (secret) \u{202e}"), "{text}");
    assert!(text.ends_with('…'), "{text}");
}

/// A device flow, and what the server says when it repeats what it was sent.
#[tokio::test]
async fn what_a_server_repeats_of_a_requests_body_shows_no_secret() {
    const STATE: &str = "st_0123456789";
    let stage = Stage::new();
    let begun = format!(r#"{{"data":{{"auth_url":"https://issuer.test/d","state":"{STATE}"}}}}"#);
    let approved = format!(
        r#"{{"auth":{{"client_token":"s.token","lease_duration":60,
            "metadata":{{"credkey":"cmsprod","oauth2_refresh_token":"{SECRET}"}}}}}}"#
    );
    let replies = vec![
        Reply::json(200, &begun),
        Reply::Repeat,
        Reply::json(200, &approved),
        Reply::Repeat,
    ];
    let server = stage.server(replies).await;
    let client = stage.client(&[&server]);
    let mut flow = client.start_device_flow("cms", "crab").await.unwrap();
    let error = client.poll(&mut flow).await.unwrap_err();
    crate::check(&error);
    let text = format!("{error} {error:?}");
    assert!(!text.contains(STATE), "{text}");
    for field in ["state", "client_nonce"] {
        assert!(text.contains(&format!("'{field}':'(secret)'")), "{text}");
    }
    let Poll::Done(login) = client.poll(&mut flow).await.unwrap() else {
        panic!("not approved");
    };
    let url = crate::server::url(&client);
    let stored = client.store_refresh_token(&url, "cms", &login).await;
    let error = stored.unwrap_err();
    crate::check(&error);
    assert!(
        error.to_string().contains("'refresh_token':'(secret)'"),
        "{error}"
    );
}

/// Accessors and names of persons are printed, stored and compared: odd ones are refused at receipt.
#[tokio::test]
async fn names_that_are_not_fit_to_be_printed_are_refused_at_receipt() {
    let stage = Stage::new();
    for odd in [
        r"\u001b[2Jx".to_owned(),
        r"a\nb".to_owned(),
        r"\u202ex".to_owned(),
        "x".repeat(100_000),
        format!("of {SECRET}"),
    ] {
        let created = format!(
            r#"{{"auth":{{"client_token":"s.token","accessor":"{odd}","lease_duration":60}}}}"#
        );
        let looked_up = format!(r#"{{"data":{{"accessor":"{odd}","ttl":60}}}}"#);
        let server = stage
            .server(vec![
                Reply::json(200, &created),
                Reply::json(200, &looked_up),
            ])
            .await;
        let client = stage.client(&[&server]);
        let created = client.create_token(&vault_token(), 60).await.map(|_| ());
        let looked_up = client.lookup_self(&vault_token()).await.map(|_| ());
        for error in [created.unwrap_err(), looked_up.unwrap_err()] {
            crate::check(&error);
            assert_eq!(error.kind(), ErrorKind::BadAnswer, "{error}");
            let words = if odd.contains(SECRET) {
                "accessor repeats a token"
            } else {
                "accessor is longer"
            };
            assert!(error.message().contains(words), "{error}");
        }
    }
}

/// A server gives a new secret where a name or a warning belongs.
#[tokio::test]
async fn no_name_or_warning_repeats_a_token_of_the_same_answer() {
    let stage = Stage::new();
    let begun = r#"{"data":{"auth_url":"https://issuer.test/d","state":"st_0123456789"}}"#;
    let auth = |accessor, warning, credkey| {
        let body = format!(
            r#"{{"auth":{{"client_token":"s.new","lease_duration":60,"accessor":"{accessor}",
                "metadata":{{"credkey":"{credkey}","oauth2_refresh_token":"{SECRET}"}}}},
                "warnings":["{warning}"]}}"#
        );
        Reply::json(200, &body)
    };
    let replies = vec![
        auth("a s.new", "", ""),
        auth("a", "cut: s.new", ""),
        Reply::json(200, begun),
        auth("a", "", SECRET),
        auth("a", "", "s.new"),
        auth(SECRET, "", "cmsprod"),
        auth("a", "", "cmsprod"),
        Reply::json(
            200,
            r#"{"data":{"access_token":"opaque"},"warnings":["cached: opaque"]}"#,
        ),
    ];
    let server = stage.server(replies).await;
    let client = stage.client(&[&server]);
    let parent = vault_token();
    let error = client.create_token(&parent, 60).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadAnswer, "{error}");
    let created = client.create_token(&parent, 60).await.unwrap();
    assert_eq!(created.warnings, ["cut: (secret)"]);
    let flow = client.start_device_flow("cms", "crab");
    let mut flow = flow.await.unwrap();
    for _ in 0..3 {
        let error = client.poll(&mut flow).await.unwrap_err();
        crate::check(&error);
        assert_eq!(error.kind(), ErrorKind::BadAnswer, "{error}");
        assert!(!error.to_string().contains("s.new"), "{error}");
    }
    let Poll::Done(login) = client.poll(&mut flow).await.unwrap() else {
        panic!("not approved");
    };
    assert_eq!(login.login.token.owner(), Some("cmsprod"));
    assert_eq!(read(&client).await.unwrap().warnings, ["cached: (secret)"]);
}

#[tokio::test]
async fn policies_and_warnings_are_bounded_and_repeat_no_token() {
    let stage = Stage::new();
    let policies = format!(
        r#"["s.new","{SECRET}","\u001b[2J"{}]"#,
        r#","p""#.repeat(9000)
    );
    let warnings = format!(r#"["{}"{}]"#, "x".repeat(9000), r#","w""#.repeat(9000));
    let created = format!(
        r#"{{"auth":{{"client_token":"s.new","lease_duration":60,"policies":{policies}}},
            "warnings":{warnings}}}"#
    );
    let looked_up = format!(r#"{{"data":{{"ttl":60,"policies":{policies}}}}}"#);
    let replies = vec![Reply::json(200, &created), Reply::json(200, &looked_up)];
    let server = stage.server(replies).await;
    let client = stage.client(&[&server]);
    let created = client.create_token(&vault_token(), 60).await.unwrap();
    let looked_up = client.lookup_self(&vault_token()).await.unwrap();
    assert_eq!(
        created.policies[..3],
        ["(secret)", "(secret)", r"\u{1b}[2J"]
    );
    assert_eq!(looked_up.policies[1], "(secret)");
    for policies in [created.policies, looked_up.policies] {
        assert!(policies.len() < 1000, "{}", policies.len());
    }
    assert!(created.warnings.join("; ").chars().count() < 6000);
}

#[tokio::test]
async fn a_link_of_a_device_flow_is_not_endless() {
    let stage = Stage::new();
    let link = format!("https://issuer.test/{}", "x".repeat(100_000));
    let begun = format!(r#"{{"data":{{"auth_url":"{link}","state":"st_0123456789"}}}}"#);
    let server = stage.server(vec![Reply::json(200, &begun)]).await;
    let client = stage.client(&[&server]);
    let error = client.start_device_flow("cms", "crab").await;
    let error = error.unwrap_err();
    crate::check(&error);
    assert_eq!(error.kind(), ErrorKind::BadAnswer, "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_never_quoted() {
    for body in [
        format!(r#"{{"data":"{SECRET}"}}"#),
        format!(r#"{{"data":{{"access_token":["{SECRET}"]}}}}"#),
        format!(r#"{{"data":{{"access_token":"{SECRET}"#),
        format!(r#"{{"{SECRET}"}}"#),
        format!(r#"{{"data":{{"access_token":"{SECRET} x"}}}}"#),
        format!(r#"{{"data":{{"access_token":"{SECRET}\u0000"}}}}"#),
        format!(r#"{{"data":{{"access_token":"\u001b{SECRET}"}}}}"#),
        r#"{"data":{"access_token":""}}"#.to_owned(),
        r#"{"data":{}}"#.to_owned(),
        r#"{"data":null}"#.to_owned(),
        r#"{"initialized":true,"sealed":false}"#.to_owned(),
    ] {
        let error = error_of(Reply::json(200, &body)).await;
        assert_eq!(error.kind(), ErrorKind::BadAnswer, "{body}: {error}");
        assert_eq!(error.scope(), FailureScope::Credential);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_came_all_the_same() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    for answer in [
        "* OK IMAP4rev1 ready\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        &long,
    ] {
        let error = error_of(Reply::Bytes(answer.as_bytes().to_vec())).await;
        assert_eq!(error.kind(), ErrorKind::BadAnswer, "{error}");
        assert_eq!(error.scope(), FailureScope::Credential);
        assert!(error.words().contains("is no HTTP ("), "{error}");
    }
}

#[tokio::test]
async fn a_401_that_is_no_login_says_nothing_of_a_keytab() {
    let body = r#"{"errors":["authentication required"]}"#;
    let error = error_of(Reply::json(401, body)).await;
    assert!(!error.to_string().contains("keytab"), "{error}");
    #[cfg(feature = "kerberos")]
    {
        let stage = Stage::new();
        let server = stage.server(vec![Reply::json(401, body)]).await;
        let negotiate = htvault::kerberos::NegotiateToken::from_base64("a@TEST", SECRET.to_owned());
        let client = stage.client(&[&server]);
        let login = client.login("cms", "crab", &negotiate).await;
        let error = login.unwrap_err();
        crate::check(&error);
        assert_eq!(error.kind(), ErrorKind::LoginRefused);
        assert!(error.advice().contains("keytab"), "{error}");
    }
}

#[tokio::test]
async fn warnings_are_escaped_and_an_opaque_token_is_a_token() {
    let stage = Stage::new();
    let body = r#"{"data":{"access_token":"a.b"},"warnings":["\u001b[31mred\n"]}"#;
    let server = stage.server(vec![Reply::json(200, body)]).await;
    let answer = read(&stage.client(&[&server])).await.unwrap();
    assert_eq!(answer.warnings, [r"\u{1b}[31mred"]);
    assert_eq!(answer.claims, None);
    assert_eq!(TokenForm::of(answer.token.expose()), TokenForm::Opaque);
}

#[tokio::test]
async fn a_vault_token_that_no_header_can_hold_speaks_of_the_credential() {
    let stage = Stage::new();
    let server = stage.server(vec![Reply::Cut]).await;
    let client = stage.client(&[&server]);
    let odd = htvault::VaultToken::from(format!("{SECRET}\r\nx: y"));
    let error = client.lookup_self(&odd).await.unwrap_err();
    crate::check(&error);
    assert_eq!(error.scope(), FailureScope::Credential);
    assert!(server.requests().is_empty());
    assert_ne!(vault_token().expose(), odd.expose());
}
