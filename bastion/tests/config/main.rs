//! Configurations, good and bad, through the public face of the library, with the exact messages.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod changes;
mod choosing;
mod faulty;
mod files;
mod levels;
mod schema;
mod values;
mod warnings;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bastion::config::{self, Config, Faults};
use bastion::model::delivery::Target;

const GOOD: &str = "\
vault: {address: \"https://vault.test:8200\"}
schedds: {here: {directory: /creds}}
accounts:
  cmsprod:
    principal: cmsprod@TEST
    keytab: /kt
    schedds: [here]
    credentials: {cms: {}}
";

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn load(text: &str) -> Result<Config, Faults> {
    let dir = tempfile::tempdir().unwrap();
    config::load(&write(dir.path(), "c.yaml", text))
}

/// The faults without the folder's name.
fn faults(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let faults = config::load(&write(dir.path(), "c.yaml", text)).unwrap_err();
    let folder = format!("{}/", dir.path().display());
    faults
        .iter()
        .map(|fault| fault.to_string().replace(&folder, ""))
        .collect()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../config-examples/token-bastion")
        .join(name)
}

#[test]
fn the_smallest_configuration_has_sensible_defaults() {
    let config = load(GOOD).unwrap();
    let [delivery] = config.deliveries.as_slice() else {
        panic!("one delivery");
    };
    assert_eq!(delivery.id.to_string(), "cmsprod/cms at here");
    assert_eq!(delivery.lifetime, Duration::from_hours(7 * 24));
    assert_eq!(delivery.renew_below, Duration::from_hours(3 * 24));
    assert_eq!(delivery.credential.role, "default");
    assert_eq!(delivery.credential.credkey, "cmsprod");
    assert_eq!(
        delivery.credential.url.to_string(),
        "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default"
    );
    assert_eq!(config.kerberos_service, "host");
    assert_eq!(config.check.to_string(), "*/10 * * * *");
    assert_eq!(config.vault.limit, None);
}

#[test]
fn the_examples_are_good_configurations() {
    assert_eq!(
        config::load(&example("smallest.yaml"))
            .unwrap()
            .deliveries
            .len(),
        1
    );
    let config = config::load(&example("full.yaml")).unwrap();
    let names: Vec<String> = config.deliveries.iter().map(|d| d.id.to_string()).collect();
    assert_eq!(names.len(), 2 * (1 + 3 + 1) + 2 * 3);
    assert_eq!(
        config.searches[0]
            .deliveries("new.campus.example.org")
            .len(),
        2
    );
    assert!(
        config.searches[0]
            .deliveries("old1.campus.example.org")
            .is_empty()
    );
    let find = |name: &str| {
        config
            .deliveries
            .iter()
            .find(|d| d.id.to_string() == name)
            .unwrap()
    };

    let stageout = find("crabtw/cms_stageout at crab2.example.org");
    assert_eq!(stageout.credential.role, "crab");
    assert_eq!(stageout.authorize.service, "cms_crab");
    assert_eq!(
        stageout.credential.url.path(),
        "/v1/secret/oauth/sts/cms/crabtw:crab",
        "reduced tokens are exchanged"
    );
    assert_eq!(
        stageout.credential.full_url.path(),
        "/v1/secret/oauth/creds/cms/crabtw:crab"
    );
    assert_eq!(
        stageout.credential.identity.keytab,
        Path::new("/etc/token-bastion/keytabs/crabtw.keytab")
    );
    let Target::Credd(credd) = &stageout.target else {
        panic!("a credd");
    };
    assert_eq!(
        (credd.host.as_str(), credd.collector.as_deref()),
        ("crab2.example.org", Some("cm.example.org:9618"))
    );

    let production = find("cmsprod/cms_production at tier0-ap.example.org");
    assert_eq!(production.authorize.service, "cms");
    assert_eq!(production.lifetime, Duration::from_hours(36));
    assert_eq!(
        production.credential.url.path(),
        "/v1/secret/oauth/creds/cms/cmsprod/bastion/host.example.org:production"
    );
}

#[test]
fn all_faults_are_told_in_one_go_with_place_reason_and_the_name_meant() {
    let text = "\
vault: {adress: \"https://vault.test:8200\", requests: {limit: none, per: 5m}}
tokens: {lifetime: 2d, renew_below: 3d}
schedule: {check: \"every day\", spread: 5 mon}
notify: [{after: 1}]
schedds:
  here: {directory: creds}
  found: {collector: cm.test, constraint: \"true\"}
  both: {directory: /x, credds: [ap.test]}
accounts:
  cmsprod:
    principal: cmsprod
    keytab: kt/{name}
    schedds: [her]
    credentials:
      cms_a_b: {}
      cms: {authorize_with: csm, scope: x}
  \"a/b\": {}
";
    assert_eq!(
        faults(text),
        [
            "c.yaml: vault.address: the Vault's address is missing, write for example https://htvault.example.org:8200",
            "c.yaml:1:9: vault.adress: unknown key, did you mean \"address\"?",
            "c.yaml:1:62: vault.requests.limit: expected a number of requests, at least 1",
            "c.yaml:2:37: tokens.renew_below: renew_below (3d) must be shorter than lifetime (2d)",
            "c.yaml:3:19: schedule.check: \"every day\" is not a cron expression: five fields are needed (minute, hour, day of month, month, day of week), as in \"*/10 * * * *\"",
            "c.yaml:3:40: schedule.spread: \"5 mon\" is not a duration: write whole numbers with units (w, d, h, m, s), larger ones first, as in 7d or 1h30m",
            "c.yaml:4:1: notify: unknown key, known are vault, tokens, grant, kerberos, schedule, defaults, schedds, accounts, listen, control, state",
            "c.yaml:6:21: schedds.here.directory: the path must begin with /",
            "c.yaml:8:34: schedds.both.credds[0]: a group has either `directory` or `credds`, make two groups of it",
            "c.yaml:11:16: accounts.cmsprod.principal: \"cmsprod\" is not a principal, write NAME@REALM",
            "c.yaml:12:13: accounts.cmsprod.keytab: only {account} can be filled in, remove other braces",
            "c.yaml:12:13: accounts.cmsprod.keytab: the path must begin with /",
            "c.yaml:13:15: accounts.cmsprod.schedds[0]: there is no group of schedds and no schedd \"her\", did you mean \"here\"?",
            "c.yaml:15:7: accounts.cmsprod.credentials.cms_a_b: a service name is ISSUER or ISSUER_ROLE; give `issuer` and `role` for another one",
            "c.yaml:16:29: accounts.cmsprod.credentials.cms.authorize_with: the account has no credential \"csm\", did you mean \"cms\"?",
            "c.yaml:16:34: accounts.cmsprod.credentials.cms.scope: unknown key, did you mean \"scopes\"?",
            "c.yaml:17:3: accounts.a/b: \"a/b\" is not an account name: letters, digits and `-_.` are allowed",
            "c.yaml:17:3: accounts.a/b: `credentials` is missing here and in `defaults`, write for example credentials: {cms: {}}",
            "c.yaml:17:3: accounts.a/b: `keytab` is missing here and in `defaults`, write for example keytab: /etc/token-bastion/keytabs/NAME.keytab",
            "c.yaml:17:3: accounts.a/b: `principal` is missing here and in `defaults`, write for example principal: NAME@REALM",
            "c.yaml:17:3: accounts.a/b: `schedds` is missing here and in `defaults`, write for example schedds: [GROUP]",
        ]
    );
}

#[test]
fn a_key_that_there_was_is_refused_everywhere_with_what_to_do_instead() {
    let text = "\
vault: {address: \"https://vault.test:8200\"}
defaults: {release_held: false}
schedds:
  here: {directory: /creds, release_held: true}
accounts:
  a:
    release_held: yes
    principal: a@TEST
    keytab: /kt
    schedds: [hear]
    credentials:
      cms:
        release_held:
        at: {here: {release_held: true}}
";
    let advice = "remove it: held jobs are released by HTCondor itself, with a line at the schedd \
                  that the manual gives (docs/schedds.md, Held jobs)";
    let former = |place: &str| format!("c.yaml:{place}.release_held: {advice}");
    assert_eq!(
        faults(text),
        [
            former("2:12: defaults"),
            former("4:29: schedds.here"),
            former("7:5: accounts.a"),
            "c.yaml:10:15: accounts.a.schedds[0]: there is no group of schedds and no schedd \"hear\", known are here".to_owned(),
            former("13:9: accounts.a.credentials.cms"),
            former("14:21: accounts.a.credentials.cms.at.here"),
        ]
    );
    let manual = include_str!("../../../docs/schedds.md");
    assert!(manual.contains("\n## Held jobs\n"));
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    let told = faults("vault: [\n");
    assert!(told[0].starts_with("c.yaml:"), "{told:?}");
    assert!(told[0].contains("invalid YAML: "), "{told:?}");
    assert!(!told[0].contains('\n'));
    let told = faults(&format!("{GOOD}accounts: {{}}\n"));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("c.yaml:9:1: invalid YAML: "),
        "{told:?}"
    );
}

#[test]
fn wrong_shapes_are_told() {
    for (text, fault) in [
        (
            "vault: 3\n",
            "c.yaml:1:8: vault: expected keys and values, as in `key: value`",
        ),
        (
            "[]\n",
            "c.yaml:1:1: expected keys and values, as in `key: value`",
        ),
        (
            "vault: {address: {}}\n",
            "c.yaml:1:18: vault.address: expected a single value, as text",
        ),
        (
            "vault: {address: \"http://vault.test\"}\n",
            "c.yaml:1:18: vault.address: \"http://vault.test\" is no address of a Vault: it must begin with https://",
        ),
        (
            "vault: {address: [\"https://a\", \"b\"]}\n",
            "c.yaml:1:32: vault.address[1]: \"b\" is no address of a Vault: relative URL without a base",
        ),
        (
            "vault: {requests: {limit: 5}}\n",
            "c.yaml:1:19: vault.requests: limit and per belong together, write for example {limit: 300, per: 5m}",
        ),
        (
            "",
            "c.yaml: accounts: no account is configured, add at least one under `accounts`",
        ),
    ] {
        let told = faults(text);
        assert!(told.contains(&fault.to_owned()), "{text}: {told:#?}");
    }
}

#[test]
fn numbers_are_taken_as_names_where_names_stand() {
    let config = load(
        &GOOD
            .replace("cmsprod:", "1234:")
            .replace("{cms: {}}", "{5: {}}"),
    )
    .unwrap();
    assert_eq!(config.deliveries[0].id.to_string(), "1234/5 at here");
    let config = load(&GOOD.replace("{cms: {}}", "{cms: {role: no}}")).unwrap();
    assert_eq!(config.deliveries[0].credential.role, "no");
}

#[test]
fn defaults_fill_in_the_accounts_name_and_give_way() {
    let text = "\
vault: {address: \"https://vault.test:8200\"}
tokens: {lifetime: 10d}
defaults:
  principal: \"{account}/robot@TEST\"
  keytab: /kt/{account}
  tokens: {renew_below: 1d}
  schedds: [aps]
  credentials: {cms: {}}
schedds: {aps: {credds: [ap1.test, ap2.test]}, more: {credds: [ap2.test]}}
accounts:
  a: {}
  b: {schedds: [aps, more], tokens: {lifetime: 5d}, credkey: \"x/{account}\"}
";
    let config = load(text).unwrap();
    let names: Vec<String> = config.deliveries.iter().map(|d| d.id.to_string()).collect();
    assert_eq!(
        names,
        [
            "a/cms at ap1.test",
            "a/cms at ap2.test",
            "b/cms at ap1.test",
            "b/cms at ap2.test"
        ],
        "a schedd in two groups is one"
    );
    let (a, b) = (&config.deliveries[0], &config.deliveries[2]);
    let day = Duration::from_hours(24);
    assert_eq!((a.lifetime, a.renew_below), (10 * day, day));
    assert_eq!((b.lifetime, b.renew_below), (5 * day, day));
    assert_eq!(a.credential.credkey, "a/robot");
    assert_eq!(b.credential.credkey, "x/b");
    assert_eq!(a.credential.identity.keytab, Path::new("/kt/a"));
}

#[test]
fn a_directory_and_a_credd_of_one_name_are_two_and_addresses_have_a_case() {
    let with = |schedds: &str| GOOD.replace("here: {directory: /creds}", schedds);
    let other = "is another one in group";
    for (directory, credd) in [("AP1", "AP1"), ("AP1", "ap1"), ("ap1", "AP1")] {
        let directory = format!("{directory}: {{directory: /c}}");
        let credds = format!("x: {{credds: [{credd}]}}");
        for both in [
            format!("{directory}, {credds}"),
            format!("{credds}, {directory}"),
        ] {
            let text = with(&format!("here: {{directory: /creds}}, {both}"));
            let faults = faults(&text);
            assert!(
                faults.len() == 1 && faults[0].contains(other),
                "{both}: {faults:?}"
            );
        }
    }
    let addresses = "x: {credds: [\"<10.0.0.1:9618?sock=A>\", \"<10.0.0.1:9618?sock=a>\"]}";
    load(&with(&format!("here: {{directory: /creds}}, {addresses}"))).unwrap();
}

#[test]
fn one_name_means_one_schedd() {
    let text = GOOD.replace(
        "{here: {directory: /creds}}",
        "{here: {directory: /creds}, there: {directory: /creds}, x: {credds: [ap]}, y: {credds: [ap], collector: cm}, z: {credds: [AP]}, Here: {directory: /c}}",
    );
    assert_eq!(
        faults(&text),
        [
            "c.yaml:2:57: schedds.there.directory: group \"here\" has the directory /creds already, use that group",
            "c.yaml:2:98: schedds.y.credds[0]: schedd \"ap\" is another one in group \"x\", use one name for one schedd",
            "c.yaml:2:132: schedds.z.credds[0]: schedd \"AP\" is another one in group \"x\", use one name for one schedd",
        ]
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever a slip of the hand makes of a good file: faults, or a good configuration.
    #[test]
    fn no_slip_breaks_the_reader(start in 0_usize..4000, length in 0_usize..40, typed in "[a-z{}\\[\\]:,#*!\"' \n-]{0,6}") {
        let text = fs::read_to_string(example("full.yaml")).unwrap();
        let mut chars: Vec<char> = text.chars().collect();
        let start = start.min(chars.len());
        let end = (start + length).min(chars.len());
        chars.splice(start..end, typed.chars());
        let text: String = chars.into_iter().collect();
        if let Err(faults) = load(&text) {
            assert!(!faults.is_empty());
        }
    }
}
