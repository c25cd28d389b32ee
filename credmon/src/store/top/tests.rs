//! Reading `.top` files: what is refused, what is borrowed, and what messages repeat.

use super::*;
use crate::fakes::Credentials;
use proptest::prelude::*;

const URL: &str = "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab";

fn id(service: &str) -> CredentialId {
    CredentialId::new(&"u".into(), service).unwrap()
}

/// What is said of a `.top` that is of no use.
fn refusal(json: &str) -> String {
    match parse(json.as_bytes()) {
        Err(TopProblem::Unusable(text)) => text.to_string(),
        Err(problem) => panic!("{problem:?}"),
        Ok(_) => panic!("it was taken: {json}"),
    }
}

fn of_folder(credentials: &Credentials, service: &str) -> Result<CompleteTop, TopProblem> {
    let folder = Folder::open(&credentials.path().join("u")).unwrap();
    read(&folder, &id(service)).unwrap().1
}

fn refusal_of(credentials: &Credentials, service: &str) -> String {
    of_folder(credentials, service).unwrap_err().to_string()
}

#[test]
fn what_a_storer_writes_is_read() {
    let json = format!(
        r#"{{"vault_token":"s.x","vault_url":"{URL}","scopes":"a b","audience":"https://x"}}"#
    );
    let top = parse(json.as_bytes()).unwrap();
    assert_eq!(top.vault_token.unwrap().expose(), "s.x");
    assert_eq!(top.url.unwrap().to_string(), URL);
    assert_eq!(top.scopes.as_deref(), Some("a b"));
    assert_eq!(top.audience.as_deref(), Some("https://x"));
    let child = format!(r#"{{"vault_url":"{URL}","scopes":null,"audience":"","other":1}}"#);
    let child = parse(child.as_bytes()).unwrap();
    assert!(child.vault_token.is_none() && child.audience.is_none());
}

#[test]
fn other_addresses_are_refused() {
    for url in [
        "http://vault.test:8200/v1/x",
        "https://vault.test/v1/x",
        "https://vault.test:443/v1/x",
        "https://vault.test:8200/v2/x",
        "https://vault.test:8200/v1",
        "https://vault.test:8200/v1/../v2/x",
        "https://u:p@vault.test:8200/v1/x",
        "https://vault.test:8200/v1/x?y=1",
        "https://vault.test:8200/v1/x\\r\\nX-Vault-Token: y",
        "https://va\\tult.test:8200/v1/x",
        " https://vault.test:8200/v1/x",
        "https://v\u{e4}ult.test:8200/v1/x",
        "file:///etc/passwd",
        "",
    ] {
        let said = refusal(&format!(r#"{{"vault_token":"s.x","vault_url":"{url}"}}"#));
        assert!(said.contains("vault_url"), "{url}: {said}");
    }
}

#[test]
fn messages_repeat_nothing_of_the_content() {
    for json in [
        r#"{"vault_token":"s.secret", oops"#,
        r#"{"vault_token":["s.secret"]}"#,
        r#"{"vault_token":"s.secret\u0000"}"#,
        r#"{"vault_token":"s.secret","vault_token":"s.secret"}"#,
        r#"{"vault_token":"x","vault_url":"https://s.secret"}"#,
        r#"{"vault_token":"x","vault_url":"https://a:8200/v1/s.secret?s.secret"}"#,
        r#""s.secret""#,
        "s.secret",
    ] {
        let text = refusal(json);
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_route_has_account_host_and_issuer() {
    let issuer_at = |host: &str, path: &str| {
        let url = format!("https://{host}:8200/v1/{path}").parse().unwrap();
        let top = CompleteTop {
            vault_token: VaultToken::from("s.x".to_owned()),
            url,
            scopes: None,
            audience: None,
        };
        let route = top.route(&id("cms"));
        assert_eq!((&*route.account, &*route.host), ("u", "vault.test"));
        route.issuer
    };
    let issuer = |path: &str| issuer_at("vault.test", path);
    // The same host by other letters, and by its name from the root.
    for host in ["vault.test", "Vault.Test", "vault.test."] {
        assert_eq!(&*issuer_at(host, "secret/oauth/creds/cms/x"), "cms");
    }
    assert_eq!(&*issuer("secret/oauth/creds/cms/cmsprod:crab"), "cms");
    assert_eq!(&*issuer("secret/oauth/sts/cms/a/b/c:default"), "cms");
    assert_eq!(&*issuer("secret/oauth/sts/cms/creds/c:default"), "cms");
    let older = issuer("secret/oauth-dune/creds/a:b");
    assert_eq!(&*older, "/v1/secret/oauth-dune");
    // What stands elsewhere may be anybody's: a token's own cubbyhole answers what was written there.
    assert_eq!(&*issuer("cubbyhole/creds/cms/x"), "/v1/cubbyhole/creds/cms");
    assert_eq!(issuer("oidc/creds/cms/u:x"), issuer("oidc/creds/cms/v:y"));
    // A path of another kind is an issuer of its own: it rests nobody else's.
    assert_ne!(issuer("sys/health"), issuer("sys/other"));
}

#[test]
fn a_handle_borrows_its_parents_token_for_the_same_server_only() {
    let credentials = Credentials::new();
    let put = |service: &str, token: Option<&str>, host: &str| {
        let url = format!("https://{host}:8200/v1/secret/oauth/creds/cms/u:x");
        let top = serde_json::json!({"vault_token": token, "vault_url": url});
        credentials.put("u", &format!("{service}.top"), &top.to_string());
    };
    put("cms_read", None, "vault.test");
    let said = refusal_of(&credentials, "cms_read");
    assert!(
        said.contains("cms.top") && said.contains("does not exist"),
        "{said}"
    );

    put("cms", Some("s.parent"), "vault.test");
    let top = of_folder(&credentials, "cms_read").unwrap();
    assert_eq!(top.vault_token.expose(), "s.parent");

    for other in [
        "evil.test",
        "vault.test.evil.test",
        "sub.vault.test",
        "127.0.0.1",
    ] {
        put("cms_read", None, other);
        let said = refusal_of(&credentials, "cms_read");
        assert!(said.contains("its own server only"), "{other}: {said}");
        // With a token of its own it may name whom it likes.
        put("cms_read", Some("s.own"), other);
        let top = of_folder(&credentials, "cms_read").unwrap();
        assert_eq!(top.vault_token.expose(), "s.own");
    }
    put("cms_read", None, "VAULT.TEST");
    assert!(of_folder(&credentials, "cms_read").is_ok(), "the same host");
}

#[test]
fn a_parent_that_cannot_lend_is_named_with_the_reason() {
    let credentials = Credentials::new();
    let child = serde_json::json!({ "vault_url": URL }).to_string();
    credentials.put("u", "cms_read.top", &child);
    credentials.put("u", "cms_read_x.top", &child);
    credentials.put("u", "alone.top", &child);
    assert!(refusal_of(&credentials, "alone").contains("it has no vault_token"));
    // A parent that borrows itself lends nothing.
    credentials.store("u", "cms", "vault.test", "s.1");
    let said = refusal_of(&credentials, "cms_read_x");
    assert!(said.contains("cms_read.top cannot lend"), "{said}");
    for (parent, why) in [
        ("{", "JSON"),
        (r#"{"vault_token":"s.1"}"#, "names no server"),
        (
            r#"{"vault_token":"","vault_url":"x"}"#,
            "characters that no token has",
        ),
    ] {
        credentials.put("u", "cms.top", parent);
        let said = refusal_of(&credentials, "cms_read");
        assert!(
            said.contains("cms.top cannot lend one") && said.contains(why),
            "{said}"
        );
    }
}

#[test]
fn a_stamp_tells_the_versions_of_both_files_apart() {
    let credentials = Credentials::new();
    let stamp = || {
        let folder = Folder::open(&credentials.path().join("u")).unwrap();
        read(&folder, &id("cms_read")).map(|(stamp, _)| stamp)
    };
    credentials.put(
        "u",
        "cms_read.top",
        &serde_json::json!({ "vault_url": URL }).to_string(),
    );
    let alone = stamp().unwrap();
    assert_eq!(alone.parent, Some(Box::default()), "it is missing");
    credentials.store("u", "cms", "vault.test", "s.1");
    let first = stamp().unwrap();
    assert_eq!(first.own, alone.own);
    assert_ne!(first.parent, alone.parent);
    assert_eq!(stamp().as_ref(), Some(&first));
    credentials.store("u", "cms", "vault.test", "s.22");
    assert_ne!(stamp(), Some(first));
    credentials.remove("u", "cms_read.top");
    assert_eq!(stamp(), None);
}

/// JSON values such as a person, a program or an attacker writes.
fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let text = prop_oneof![
        "\\PC{0,40}",
        Just(URL.to_owned()),
        "https://[a-z.:\\[\\]@?#/%0-9]{0,40}",
        Just("s.token".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let nested = leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{0,5}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let field = prop_oneof![
        Just("vault_token".to_owned()),
        Just("vault_url".to_owned()),
        Just("scopes".to_owned()),
        Just("audience".to_owned()),
        "[a-z_]{0,8}",
    ];
    proptest::collection::btree_map(field, nested, 0..6)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

proptest! {
    #[test]
    fn no_bytes_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&content);
    }

    #[test]
    fn no_json_panics_and_what_is_taken_is_as_promised(json in json()) {
        if let Ok(top) = parse(json.to_string().as_bytes()) {
            if let Some(url) = &top.url {
                prop_assert_eq!(url.server().port(), VAULT_PORT);
                prop_assert!(url.path().starts_with("/v1/"));
            }
            if let Some(token) = &top.vault_token {
                prop_assert!(token.expose().bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn a_json_that_is_cut_short_is_refused(json in json(), cut in 0usize..100) {
        let text = json.to_string();
        let half = text.get(..cut % text.len().max(1)).unwrap_or_default();
        prop_assert!(parse(half.as_bytes()).is_err());
    }
}
