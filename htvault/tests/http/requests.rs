//! What is sent, to whom, and how often.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use htvault::{
    AccessTokenRequest, After429, Client, CredentialUrl, ErrorKind, FailureScope, RequestLimit,
};

use crate::server::{Fixed, Reply, SECRET, Stage, url, vault_token};
use crate::{check, count, read, refused};

#[tokio::test]
async fn a_request_has_token_namespace_and_path_as_the_settings_say() {
    let stage = Stage::new();
    let server = stage.server(vec![Reply::token("good")]).await;
    let mut settings = stage.settings(&[&server]);
    settings.namespace = Some("grid/cms".to_owned());
    settings.paths.secret = "kv/oauth-%issuer/creds/%credkey:%role".to_owned();
    let client = Client::new(&settings).unwrap();
    let request = AccessTokenRequest {
        minimum_seconds: Some(60),
        scopes: Some("a b".to_owned()),
        audience: None,
    };
    let answer = client
        .access_token(&url(&client), &vault_token(), &request)
        .await;
    answer.unwrap();
    let seen = server.requests().remove(0);
    let first = "get /v1/kv/oauth-cms/creds/cmsprod:crab?minimum_seconds=60&scopes=a+b http/1.1";
    assert_eq!(seen.lines().next(), Some(first));
    for header in [
        &format!("x-vault-token: {SECRET}"),
        "x-vault-namespace: grid/cms",
    ] {
        assert!(seen.lines().any(|line| line == header), "{seen}");
    }
    // A reduced token is at the same place below sts.
    let url = settings.sts_url("cms", "cmsprod", "crab").unwrap();
    assert_eq!(url.path(), "/v1/kv/oauth-cms/sts/cmsprod:crab");
}

#[tokio::test]
async fn a_login_by_oidc_is_at_the_path_that_its_role_has() {
    let stage = Stage::new();
    let begun = r#"{"data":{"auth_url":"https://issuer.test/d","state":"st_0123456789"}}"#;
    let pending = r#"{"errors":["authorization_pending"]}"#;
    let replies = vec![Reply::json(200, begun), Reply::json(400, pending)];
    let server = stage.server(replies).await;
    let mut settings = stage.settings(&[&server]);
    settings.paths.oidc = "auth/oidc-%issuer-%role".to_owned();
    let client = Client::new(&settings).unwrap();
    let flow = client.start_device_flow("cms", "crab");
    client.poll(&mut flow.await.unwrap()).await.unwrap();
    let [begun, polled] = &server.requests()[..] else {
        panic!("two requests");
    };
    let path = "/v1/auth/oidc-cms-crab/oidc";
    assert!(
        begun.starts_with(&format!("post {path}/auth_url ")),
        "{begun}"
    );
    assert!(begun.contains(&format!("{path}/callback")), "{begun}");
    assert!(
        polled.starts_with(&format!("post {path}/poll ")),
        "{polled}"
    );
}

#[tokio::test]
async fn a_vault_token_is_sent_to_no_other_server_than_the_url_names() {
    let stage = Stage::new();
    let server = stage.server(vec![Reply::token("good")]).await;
    let client = stage.client(&[&server]);
    let port = server.address.port();
    let request = AccessTokenRequest::default();
    for other in [
        "https://vault.test".to_owned(),
        format!("https://127.0.0.1:{port}"),
        format!("https://evil.test:{port}"),
    ] {
        let other: CredentialUrl = format!("{other}/v1/secret/oauth/creds/cms/a:b")
            .parse()
            .unwrap();
        let error = client.access_token(&other, &vault_token(), &request).await;
        let error = error.unwrap_err();
        check(&error);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert_eq!(error.scope(), FailureScope::Credential);
        assert!(
            error.message().contains(&other.server().to_string()),
            "{error}"
        );
        let error = client.forget_refresh_token(&other, &vault_token()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration);
    }
    assert_eq!(count(&server), 0);
    let shouted = format!("https://VAULT.test:{port}/v1/secret/oauth/creds/cms/a:b");
    let shouted = shouted.parse().unwrap();
    let answer = client
        .access_token(&shouted, &vault_token(), &request)
        .await;
    answer.unwrap();
}

#[tokio::test]
async fn names_that_would_change_a_path_are_never_sent() {
    let stage = Stage::new();
    let server = stage.server(vec![Reply::Cut]).await;
    let client = stage.client(&[&server]);
    for bad in ["", "..", "a/b", "a?b", "a\r\nb"] {
        for (issuer, role) in [(bad, "crab"), ("cms", bad)] {
            let error = client.start_device_flow(issuer, role).await;
            assert_eq!(
                error.unwrap_err().kind(),
                ErrorKind::Configuration,
                "{bad:?}"
            );
        }
    }
    assert_eq!(count(&server), 0);
}

#[tokio::test]
async fn a_429_blocks_the_client_or_is_left_to_the_caller() {
    let body = r#"{"errors":["rate limit quota exceeded"]}"#;
    let limited = || Reply::new(429, "Retry-After: 99999\r\n", body);
    for (after, sent) in [(After429::BlockClient, 1), (After429::LeaveToCaller, 3)] {
        let stage = Stage::new();
        let server = stage.server(vec![limited()]).await;
        let mut settings = stage.settings(&[&server]);
        settings.after_429 = after;
        let client = Client::new(&settings).unwrap();
        let first = refused(&client).await;
        let wait = match after {
            // As long as nothing is sent.
            After429::BlockClient => Duration::from_mins(5),
            _ => Duration::from_hours(24),
        };
        assert_eq!(first.retry_after(), Some(wait));
        let later = [refused(&client).await, refused(&client).await];
        assert_eq!(count(&server), sent, "{after:?}");
        for error in later {
            assert_eq!(error.kind(), ErrorKind::RateLimited);
            assert_eq!(error.scope(), FailureScope::Quota);
            if after == After429::BlockClient {
                let wait = error.retry_after().unwrap();
                assert!(wait <= Duration::from_mins(5), "{wait:?}");
            }
        }
    }
}

#[tokio::test]
async fn any_answer_but_a_429_ends_a_block() {
    let limited = r#"{"errors":["rate limit quota exceeded"]}"#;
    for answer in [Reply::json(500, r#"{"errors":["broken"]}"#), Reply::Endless] {
        let stage = Stage::new();
        let limited = Reply::new(429, "Retry-After: 0\r\n", limited);
        let server = stage.server(vec![limited, answer, Reply::Hang]).await;
        let mut settings = stage.settings(&[&server]);
        // Far above what an answer takes on a busy machine.
        settings.request_timeout = Duration::from_secs(4);
        let client = Client::new(&settings).unwrap();
        assert_eq!(refused(&client).await.kind(), ErrorKind::RateLimited);
        assert_ne!(refused(&client).await.kind(), ErrorKind::RateLimited);
        let (hangs, beside) = tokio::join!(refused(&client), refused(&client));
        assert_eq!(hangs.kind(), ErrorKind::TimedOut, "{hangs}");
        assert_eq!(beside.kind(), ErrorKind::TimedOut, "{beside}");
    }
}

#[tokio::test]
async fn our_own_limit_is_kept_and_speaks_of_this_host() {
    let stage = Stage::new();
    let server = stage.server(vec![Reply::token("good")]).await;
    let mut settings = stage.settings(&[&server]);
    settings.limit = Some(RequestLimit {
        limit: 2,
        per: Duration::from_hours(1),
    });
    settings.limit_wait = Duration::ZERO;
    settings.after_429 = After429::LeaveToCaller;
    let client = Client::new(&settings).unwrap();
    read(&client).await.unwrap();
    read(&client).await.unwrap();
    let error = refused(&client).await;
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(error.scope(), FailureScope::Local);
    assert_eq!(count(&server), 2);
}

#[tokio::test]
async fn a_resolver_of_ones_own_is_asked() {
    let stage = Stage::new();
    let server = stage.server(vec![Reply::token("good")]).await;
    let mut settings = stage.settings(&[&server]);
    read(&Client::new(&settings).unwrap()).await.unwrap();
    settings.resolver = Arc::new(Fixed(Vec::new()));
    let error = refused(&Client::new(&settings).unwrap()).await;
    assert_eq!(error.scope(), FailureScope::Host);
    assert!(error.message().contains("no address"), "{error}");
}

#[tokio::test]
async fn a_device_flow_is_bounded_and_its_debug_output_hides_what_would_finish_it() {
    let stage = Stage::new();
    let mut nonces = HashSet::new();
    for (interval, seconds) in [("\"18446744073709551615\"", 300), ("0", 1), ("7", 7)] {
        let body = format!(
            r#"{{"data":{{"auth_url":"https://issuer.test/device?user_code=AB&state=hidden",
                "user_code":"AB\u001bCD","state":"hidden","poll_interval":{interval}}}}}"#
        );
        let slow = r#"{"errors":["slow_down"]}"#;
        let server = stage
            .server(vec![Reply::json(200, &body), Reply::json(400, slow)])
            .await;
        let client = stage.client(&[&server]);
        let mut flow = client.start_device_flow("cms", "crab").await.unwrap();
        assert_eq!(flow.interval, Duration::from_secs(seconds), "{interval}");
        let begun = server.requests().remove(0);
        let nonce = begun.split_once(r#""client_nonce":""#).unwrap().1;
        let nonce = nonce.split('"').next().unwrap();
        assert!(
            nonce.len() >= 22 && nonces.insert(nonce.to_owned()),
            "{nonce}"
        );
        let shown = format!("{flow:?}");
        assert!(
            !shown.contains("hidden") && !shown.contains(nonce),
            "{shown}"
        );
        assert_eq!(flow.user_code.as_deref(), Some(r"AB\u{1b}CD"));
        for _ in 0..100 {
            client.poll(&mut flow).await.unwrap();
        }
        assert_eq!(flow.interval, Duration::from_mins(5));
        assert!(server.requests()[1].contains(nonce));
    }
}

/// Peak of this process's memory in kilobytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line.unwrap().split_whitespace().next();
    peak.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_flood_of_interim_answers_ends_at_the_deadline_and_holds_up_no_other_request() {
    let stage = Stage::new();
    let flood = stage.server(vec![Reply::Interim]).await;
    let honest = stage.server(vec![Reply::token("good")]).await;
    let mut settings = stage.settings(&[&flood]);
    settings.request_timeout = Duration::from_secs(3);
    let flooded = Client::new(&settings).unwrap();
    let client = stage.client(&[&honest]);
    let before = peak();
    // On the one thread that the flood is read on, too.
    let others = async {
        for _ in 0..20 {
            read(&client).await.unwrap();
        }
    };
    let (error, ()) = tokio::join!(refused(&flooded), others);
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(error.scope(), FailureScope::Credential);
    let grown = peak() - before;
    assert!(grown < 32 * 1024, "{grown} kB");
}
