use super::*;

fn read(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let mut values = Values::default();
    for (name, value) in pairs {
        values.set(name, value);
    }
    Settings::new(&values, "CREDMON_OAUTH", "ap.test")
}

#[test]
fn nothing_configured_gives_htcondors_defaults() {
    let (settings, complaints) = read(&[]);
    assert_eq!(settings.rules.limits, Limits::default());
    assert_eq!(settings.directory, None);
    assert_eq!(settings.log, None);
    assert_eq!(settings.rules.trusted_hosts, None);
    assert!(complaints.is_empty());
}

#[test]
fn what_is_configured_is_used() {
    let (settings, complaints) = read(&[
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
    assert_eq!(complaints, Vec::<String>::new());
    let per = Duration::from_mins(5);
    assert_eq!(settings.limit, Some(RequestLimit { limit: 300, per }));
    assert_eq!(settings.directory, Some("/creds".into()));
    assert_eq!(settings.rules.limits.minimum, 4800);
    assert_eq!(settings.rules.limits.refresh, 2400);
    assert_eq!(settings.log, Some("/var/log/condor/CredMonOAuthLog".into()));
    assert!(settings.rules.trusts("B.test"));
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
        ("AUTH_SSL_CLIENT_CAFILE", "/nowhere/ca.pem"),
        ("AUTH_SSL_CLIENT_CADIR", "/nowhere"),
        ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", "maybe"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "many"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "0/5m"),
        ("CREDMON_HTVAULT_REQUEST_LIMIT", "300/0s"),
        ("CREDMON_HTVAULT_DELETE_DEAD", "perhaps"),
        ("CREDMON_HTVAULT_CONFINE", "perhaps"),
        ("CREDMON_HTVAULT_COPIES", "u/cms nowhere"),
        ("CREDMON_HTVAULT_METRICS_ADDRESS", "0.0.0.0:9119"),
        ("CREDMON_HTVAULT_METRICS_ADDRESS", "9119"),
        ("CREDMON_HTVAULT_STATUS_MODE", "rw-r--r--"),
        ("CREDMON_HTVAULT_STATUS_MODE", "0755"),
    ] {
        let (settings, complaints) = read(&[(name, value)]);
        assert_eq!(settings.rules.limits, Limits::default(), "{name} = {value}");
        assert_eq!(complaints.len(), 1, "{name} = {value}");
        assert!(complaints[0].contains(name), "{complaints:?}");
    }
}

#[test]
fn the_setting_for_names_counts_where_htcondor_knows_it() {
    for (version, special, names) in [
        ("25.14.1", "false", Names::Parted),
        ("25.14.1", "true", Names::Exact),
        ("", "true", Names::Exact),
        ("25.0.13", "true", Names::Whole),
        ("25.0.13", "false", Names::Whole),
        ("23.9.6", "false", Names::Unrouted),
    ] {
        let (settings, complaints) = read(&[
            ("CONDOR_VERSION", version),
            ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", special),
        ]);
        assert_eq!(settings.rules.routing.names, names, "{version} {special}");
        assert_eq!(complaints, Vec::<String>::new());
    }
}

#[test]
fn another_daemon_name_has_its_own_log() {
    let mut values = Values::default();
    values.set("LOG", "/l");
    let (settings, _) = Settings::new(&values, "CREDMON_VAULT", "");
    assert_eq!(settings.log, Some("/l/CredmonVaultLog".into()));
}
