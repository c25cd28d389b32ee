//! Values that no service could work with, and values that must not be shown.

use super::*;

#[test]
fn names_have_the_length_that_files_and_hosts_can_have() {
    let with = |account: usize, service: usize, host: usize, group: usize| {
        let [account, service] = [account, service].map(|length| "a".repeat(length));
        let [host, group] = [host, group].map(|length| "h".repeat(length));
        let schedds = format!("{{here: {{directory: /creds}}, {group}: {{credds: [{host}]}}}}");
        let text = GOOD
            .replace("cmsprod:", &format!("{account}:"))
            .replace("{cms: {}}", &format!("{{{service}: {{}}}}"))
            .replace("[here]", "[\"*\"]")
            .replace("{here: {directory: /creds}}", &schedds);
        load(&text).map(|_| ())
    };
    assert_eq!(with(250, 247, 253, 255), Ok(()));
    for (faults, words) in [
        (
            with(251, 1, 1, 2),
            "it has 251 characters, and 250 are allowed; shorten it",
        ),
        (
            with(1, 248, 1, 2),
            "it has 248 characters, and 247 are allowed; shorten it",
        ),
        (
            with(1, 1, 254, 2),
            "it has 254 characters, and 253 are allowed; shorten it",
        ),
        (
            with(1, 1, 1, 256),
            "it has 256 characters, and 255 are allowed; shorten it",
        ),
    ] {
        let faults = faults.unwrap_err();
        assert_eq!(faults.iter().count(), 1, "{faults}");
        assert!(faults.to_string().ends_with(words), "{faults}");
    }
}

#[test]
fn port_0_is_a_fault() {
    let text = GOOD.replace(":8200", ":0") + "listen: {address: \"127.0.0.1:0\"}\n";
    assert_eq!(
        faults(&text),
        [
            "c.yaml:1:18: vault.address: port 0 is not a port to connect to, correct the address",
            "c.yaml:9:19: listen.address: port 0 is not a port to connect to, write for example 127.0.0.1:9118",
        ]
    );
}

#[test]
fn a_host_that_no_name_can_be_is_a_fault() {
    let text = GOOD.replace("vault.test", "*.test");
    assert_eq!(
        faults(&text),
        [
            "c.yaml:1:18: vault.address: \"https://*.test:8200\" is no address of a Vault: the host has characters that no host's name has"
        ]
    );
}

#[test]
fn a_password_in_the_vaults_address_is_not_shown() {
    for address in [
        "https://user:geheim@vault.test:8200",
        "https:user:geheim@vault.test",
        "user:geheim@vault",
    ] {
        let told = faults(&GOOD.replace("https://vault.test:8200", address));
        assert_eq!(
            told,
            [
                "c.yaml:1:18: vault.address: it must not contain a user or a password, write for example https://htvault.example.org:8200"
            ]
        );
    }
}

#[test]
fn so_few_requests_that_no_delivery_gets_its_tokens_are_a_fault() {
    let with = |limit: &str, per: &str| {
        let bound = format!("8200\", requests: {{limit: {limit}, per: {per}}}}}");
        GOOD.replace("8200\"}", &bound)
    };
    assert_eq!(
        faults(&with("1", "365d")),
        [
            "c.yaml:1:63: vault.requests.limit: at least 3 requests are needed in 7d, the lifetime of vault tokens, and 1 in 365d are fewer; allow more"
        ]
    );
    assert!(load(&with("3", "7d")).is_ok());
    assert!(load(&with("2", "7d")).is_err());
    let two = |limit| with(limit, "7d").replace("{cms: {}}", "{cms: {}, dune: {}}");
    assert!(load(&two("5")).is_err());
    assert!(load(&two("6")).is_ok());
    let found = |limit| with(limit, "7d").replace("{directory: /creds}", "{collector: cm}");
    assert!(load(&found("2")).is_err());
    assert!(load(&found("3")).is_ok());
}

#[test]
fn control_characters_are_faults_and_shown_escaped() {
    for (typed, shown) in [
        ("\\e[31mred", r"\u{1b}[31mred"),
        ("two\\nlines", r"two\nlines"),
        ("\u{202e}", r"\u{202e}"),
    ] {
        for place in [
            "cmsprod:",
            "{cms: {}}",
            "[here]",
            "{here:",
            "cmsprod@TEST",
            "/kt",
            "https://vault.test:8200\"",
        ] {
            let quoted = format!("\"{typed}\"");
            let text = match place {
                "cmsprod:" => GOOD.replace(place, &format!("{quoted}:")),
                "{cms: {}}" => GOOD.replace(place, &format!("{{{quoted}: {{}}}}")),
                "[here]" => GOOD.replace(place, &format!("[{quoted}]")),
                "{here:" => GOOD.replace(place, &format!("{{{quoted}:")),
                "/kt" => GOOD.replace(place, &format!("\"/{typed}\"")),
                "cmsprod@TEST" => GOOD.replace(place, &format!("\"{typed}@TEST\"")),
                _ => GOOD.replace("vault.test", typed),
            };
            let told = load(&text).unwrap_err();
            let lines = told.to_string();
            assert_eq!(lines.lines().count(), told.iter().count(), "{lines}");
            assert!(!lines.contains(['\u{1b}', '\u{202e}']), "{lines}");
            assert!(
                lines.contains(shown)
                    || lines.contains("it has control characters or invisible ones"),
                "{place}: {lines}"
            );
        }
    }
}

#[test]
fn a_constraint_may_have_several_lines() {
    let group = "{here: {collector: cm, constraint: \"A &&\\n\\tB\\n\"}}";
    let config = load(&GOOD.replace("{here: {directory: /creds}}", group)).unwrap();
    assert_eq!(config.searches[0].constraint.as_deref(), Some("A &&  B"));
}
