use super::*;

fn read(pairs: &[(&str, &str)]) -> Settings {
    let mut values = Values::default();
    for (name, value) in pairs {
        values.set(name, value);
    }
    Settings::new(&values, "CREDMON_OAUTH", "ap.test")
}

fn complaints(settings: &Settings) -> Vec<&String> {
    settings.problems.iter().chain(&settings.warnings).collect()
}

#[test]
fn nothing_configured_gives_htcondors_defaults() {
    let settings = read(&[]);
    assert_eq!(settings.rules.limits, Limits::default());
    assert_eq!(settings.directory, None);
    assert_eq!(settings.log, None);
    // Also where it is missing: it may come.
    assert_eq!(settings.tls.ca_dir, Some(GRID_AUTHORITIES.into()));
    assert_eq!(settings.rules.trusted_hosts, None);
    assert_eq!(complaints(&settings), Vec::<&String>::new());
}

#[test]
fn what_is_configured_is_used() {
    let settings = read(&[
        ("SEC_CREDENTIAL_DIRECTORY", "/old"),
        ("SEC_CREDENTIAL_DIRECTORY_OAUTH", "/creds"),
        ("CREDMON_OAUTH_TOKEN_MINIMUM", " 40 * 60 * 2"),
        ("LOG", "/var/log/condor"),
        ("TRUSTED_VAULT_HOSTS", "a.test, b.test c.test"),
        ("LOCAL_CREDMON_PROVIDER_NAMES", "x,y"),
        ("OAUTH2_CREDMON_PROVIDER_NAMES", "*"),
        ("box_CLIENT_ID", "1"),
        ("CREDMON_OAUTH_DEBUG", "D_FULLDEBUG D_SECURITY"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "300/5m"),
    ]);
    assert_eq!(complaints(&settings), Vec::<&String>::new());
    assert_eq!(settings.rules.request_limit, Some((300, 300)));
    assert_eq!(settings.directory, Some("/creds".into()));
    assert_eq!(settings.rules.limits.minimum, 4800);
    assert_eq!(settings.rules.limits.refresh, 2400);
    assert_eq!(settings.log, Some("/var/log/condor/CredMonOAuthLog".into()));
    assert!(settings.rules.trusts("B.test") && settings.rules.trusts("b.test."));
    assert!(!settings.rules.trusts("d.test"));
    assert_eq!(settings.rules.routing.others.len(), 2);
    assert!(settings.rules.routing.with_client_id.contains("BOX"));
    assert!(settings.full_debug);
}

#[test]
fn a_bad_value_is_named_and_the_default_used() {
    for (name, value) in [
        ("CREDMON_OAUTH_TOKEN_MINIMUM", "soon"),
        ("CREDMON_OAUTH_TOKEN_MINIMUM", "0"),
        ("CREDMON_OAUTH_TOKEN_MINIMUM", "-5"),
        ("CREDMON_OAUTH_TOKEN_MINIMUM", "99999999999"),
        ("CREDMON_OAUTH_TOKEN_REFRESH", "1 *"),
        ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", "maybe"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "many"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "0/5m"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "300/0s"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "300/5w"),
        ("CREDMON_HTVAULT_DELETE_DEAD", "perhaps"),
        ("CREDMON_HTVAULT_CONFINE", "perhaps"),
        ("CREDMON_HTVAULT_COPIES", "u/cms nowhere"),
        ("CREDMON_HTVAULT_METRICS_ADDRESS", "0.0.0.0:9119"),
        ("CREDMON_HTVAULT_METRICS_ADDRESS", "9119"),
        ("CREDMON_HTVAULT_STATUS_MODE", "rw-r--r--"),
        ("CREDMON_HTVAULT_STATUS_MODE", "0755"),
    ] {
        let settings = read(&[(name, value)]);
        assert_eq!(settings.rules.limits, Limits::default(), "{name} = {value}");
        let warnings = &settings.warnings;
        assert_eq!(warnings.len(), 1, "{name} = {value}");
        assert!(warnings[0].contains(name), "{warnings:?}");
        // It keeps no credential from being served.
        assert_eq!(settings.problems, Vec::<String>::new());
    }
}

#[test]
fn the_setting_for_names_counts_where_htcondor_knows_it() {
    for (version, special, names) in [
        ("25.14.1", "false", NameStyle::Parted),
        ("25.14.1", "true", NameStyle::Exact),
        ("", "true", NameStyle::Exact),
        ("25.0.13", "true", NameStyle::Whole),
        ("25.0.13", "false", NameStyle::Whole),
        ("23.9.6", "false", NameStyle::Unrouted),
    ] {
        let settings = read(&[
            ("CONDOR_VERSION", version),
            ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", special),
        ]);
        assert_eq!(settings.rules.routing.names, names, "{version} {special}");
        assert_eq!(complaints(&settings), Vec::<&String>::new());
    }
}

#[test]
fn another_daemon_name_has_its_own_log() {
    let mut values = Values::default();
    values.set("LOG", "/l");
    let settings = Settings::new(&values, "CREDMON_VAULT", "");
    assert_eq!(settings.log, Some("/l/CredmonVaultLog".into()));
}

#[test]
fn a_trusted_host_that_can_never_match_is_reported_and_trusts_nobody() {
    for (value, odd) in [
        ("vault.test:8200", "vault.test:8200"),
        ("a.test https://vault.test", "https://vault.test"),
        ("a.test;vault.test", "a.test;vault.test"),
    ] {
        let settings = read(&[("TRUSTED_VAULT_HOSTS", value)]);
        assert!(
            settings.problems[0].contains(odd),
            "{:?}",
            settings.problems
        );
        assert!(!settings.rules.trusts("vault.test"), "{value}");
    }
    let settings = read(&[("TRUSTED_VAULT_HOSTS", "[::1], a-b_c.test")]);
    assert_eq!(complaints(&settings), Vec::<&String>::new());
    assert!(settings.rules.trusts("[::1]"));
}

#[test]
fn spans_of_time_have_a_number_and_a_unit() {
    for (text, expected) in [
        ("90s", 90),
        ("20m", 1200),
        ("1h", 3600),
        ("7d", 604_800),
        ("5", 5),
    ] {
        assert_eq!(seconds(text), Ok(expected), "{text}");
    }
    for text in ["", "s", "1w", "-1s", "1.5h", "99999999999d", "1 h", "é"] {
        assert!(seconds(text).is_err(), "{text}");
    }
}
