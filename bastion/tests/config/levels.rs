//! What is said at several levels: the nearest one counts.

use bastion::model::delivery::{Delivery, Grant};

use super::*;

const DAY: Duration = Duration::from_hours(24);

const TEXT: &str = "\
vault: {address: \"https://vault.test:8200\"}
tokens: {lifetime: 20d, renew_below: 2d}
grant: {lifetime: 100d}
defaults:
  principal: \"{account}@T\"
  keytab: /kt/{account}
  tokens: {lifetime: 15d}
  schedds: [aps, dir]
  credkey: \"{account}/{service}\"
  grant: {warn: 20d}
schedds:
  aps: {credds: [ap1.test, ap2.test]}
  dir: {directory: /creds}
accounts:
  a:
    tokens: {renew_below: 3d}
    credentials:
      cms: {}
      cms_x:
        tokens: {lifetime: 5d}
        schedds: aps
        grant: {lifetime: 30d}
        scopes: [\"storage.create:/store/user/{account}\"]
        audience: https://a.test
        at:
          ap2.test: {tokens: {lifetime: 4d, renew_below: 1d}, audience: https://b.test}
  b:
    grant: {lifetime: 12d, warn: 2d}
    credentials: {cms: {}}
";

fn find<'a>(config: &'a Config, name: &str) -> &'a Delivery {
    let found = config.deliveries.iter().find(|d| d.id.to_string() == name);
    found.unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn the_nearest_level_counts_key_by_key() {
    let config = load(TEXT).unwrap_or_else(|faults| panic!("{faults}"));
    let names: Vec<String> = config.deliveries.iter().map(|d| d.id.to_string()).collect();
    let wanted = "a/cms at ap1.test, a/cms at ap2.test, a/cms at dir, a/cms_x at ap1.test, \
                  a/cms_x at ap2.test, b/cms at ap1.test, b/cms at ap2.test, b/cms at dir";
    assert_eq!(names.join(", "), wanted);
    for (name, lifetime, renew_below) in [
        ("a/cms at ap1.test", 15, 3),
        ("a/cms at dir", 15, 3),
        ("a/cms_x at ap1.test", 5, 3),
        ("a/cms_x at ap2.test", 4, 1),
        ("b/cms at dir", 15, 2),
    ] {
        let delivery = find(&config, name);
        assert_eq!(
            (delivery.lifetime, delivery.renew_below),
            (lifetime * DAY, renew_below * DAY),
            "{name}"
        );
    }
}

#[test]
fn tokens_differ_at_some_schedds_and_the_credential_that_opens_them_does_not() {
    let config = load(TEXT).unwrap();
    let (here, there) = (
        find(&config, "a/cms_x at ap1.test"),
        find(&config, "a/cms_x at ap2.test"),
    );
    assert_eq!(here.credential.audience.as_deref(), Some("https://a.test"));
    assert_eq!(there.credential.audience.as_deref(), Some("https://b.test"));
    assert_eq!(there.credential.scopes, ["storage.create:/store/user/a"]);
    assert_eq!(
        here.credential.scopes, there.credential.scopes,
        "scopes stay as they are"
    );
    assert_eq!(here.authorize, there.authorize, "one login opens both");
    assert_eq!(here.credential.credkey, "a/cms_x");
}

#[test]
fn the_age_of_a_grant_is_known_by_level_and_unknown_without() {
    let config = load(TEXT).unwrap();
    for (name, lifetime, warn) in [
        ("a/cms at dir", 100, 20),
        ("a/cms_x at ap1.test", 30, 20),
        ("b/cms at dir", 12, 2),
    ] {
        let expected = Grant {
            lifetime: Some(lifetime * DAY),
            warn: warn * DAY,
        };
        assert_eq!(find(&config, name).credential.grant, expected, "{name}");
    }
    let config = load(GOOD).unwrap();
    let expected = Grant {
        lifetime: None,
        warn: 14 * DAY,
    };
    assert_eq!(config.deliveries[0].credential.grant, expected);
    let config = load(&format!("{GOOD}grant: {{lifetime: 10d}}\n")).unwrap();
    let grant = config.deliveries[0].credential.grant;
    assert_eq!(
        grant.warn,
        5 * DAY,
        "nobody is warned from the first day on"
    );
}

#[test]
fn faults_stand_where_they_were_made() {
    let told = faults(
        &TEXT
            .replace("lifetime: 4d, renew_below: 1d", "lifetime: 3d")
            .replace("warn: 2d", "warn: 12d")
            .replace(
                "scopes: [\"storage.create:/store/user/{account}\"]",
                "scopes: [\"a:/{user}\"]",
            )
            .replace("ap2.test: {tokens", "ap9.test: {tokens"),
    );
    let expected = [
        "c.yaml:23:18: accounts.a.credentials.cms_x.scopes[0]: only {account} and {service} can be filled in, remove other braces",
        "c.yaml:26:11: accounts.a.credentials.cms_x.at.ap9.test: there is no group of schedds and no schedd \"ap9.test\", did you mean \"ap1.test\"?",
        "c.yaml:26:41: accounts.a.credentials.cms_x.at.ap9.test.tokens.lifetime: renew_below (3d) must be shorter than lifetime (3d)",
        "c.yaml:28:34: accounts.b.grant.warn: warn (12d) must be shorter than lifetime (12d)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_same_tokens_under_two_names_are_a_fault() {
    let told = faults(&GOOD.replace("{cms: {}}", "{cms: {}, cms_default: {}, cms_a: {issuer: cms, role: a, scopes: [x]}, cms_b: {issuer: cms, role: a}}"));
    assert_eq!(
        told,
        [
            "c.yaml:8:28: accounts.cmsprod.credentials.cms_default: it is the same as \"cms\": issuer cms, role default, scopes and audience are equal, keep one of them"
        ]
    );
    let told = faults(&GOOD.replace("{cms: {}}", "{cms: {}, cms: {}}"));
    assert!(told[0].contains("\"cms\" is defined twice"), "{told:?}");
}

#[test]
fn a_service_name_that_htcondor_would_not_take_is_a_fault() {
    for name in ["cms_", "_cms", "cms/x", "cms crab", "-cms", "cms*"] {
        let told = faults(&GOOD.replace("{cms: {}}", &format!("{{\"{name}\": {{issuer: cms}}}}")));
        assert!(told[0].contains("is not a service name"), "{told:?}");
    }
}

#[test]
fn what_is_served_and_kept_where() {
    let text = format!(
        "{GOOD}listen: {{address: \"[::1]:9118\"}}\ncontrol: {{socket: /run/x}}\nstate: /var/x\n"
    );
    let config = load(&text).unwrap();
    assert_eq!(config.listen, Some("[::1]:9118".parse().unwrap()));
    assert_eq!(config.control, Path::new("/run/x"));
    assert_eq!(config.state, Path::new("/var/x"));
    let config = load(GOOD).unwrap();
    assert_eq!(config.listen, None);
    assert_eq!(config.control, Path::new(config::DEFAULT_CONTROL));
    assert_eq!(config.state, Path::new(config::DEFAULT_STATE));

    for (text, fault) in [
        (
            "listen: {address: \"0.0.0.0:9118\"}",
            "c.yaml:9:19: listen.address: only loopback addresses are allowed, since nothing is encrypted and clients are not authenticated: write 127.0.0.1:9118, and put a web server with TLS in front of it for others",
        ),
        (
            "listen: {address: 9118}",
            "c.yaml:9:19: listen.address: expected an address with a port, for example 127.0.0.1:9118",
        ),
        (
            "listen: {}",
            "c.yaml:9:9: listen: `address` is missing, write for example {address: \"127.0.0.1:9118\"}",
        ),
        (
            "control: {socket: x}",
            "c.yaml:9:19: control.socket: the path must begin with /",
        ),
        ("state: x", "c.yaml:9:8: state: the path must begin with /"),
    ] {
        assert_eq!(faults(&format!("{GOOD}{text}\n")), [fault]);
    }
}
