//! Which schedds an account's names and globs mean, listed ones and ones to be found.

use bastion::model::delivery::{Delivery, Method, Way};

use super::*;

const GROUPS: &str = "\
vault: {address: \"https://vault.test:8200\"}
schedds:
  crab: {collector: \"cm.test:9618\", constraint: 'Crab == true', authenticate: IDTOKENS, superuser_for: test}
  aps: {credds: [ap1.test, ap2.test, other.test]}
  tier0: {credds: [t0.test, ap1.test]}
";

/// A configuration in which account `a` has these schedds.
fn chosen_text(schedds: &str) -> String {
    format!(
        "{GROUPS}accounts: {{a: {{principal: a@T, keytab: /kt, schedds: {schedds}, credentials: {{cms: {{}}}}}}}}\n"
    )
}

/// The schedds that are known, and `GROUP: NAMES` of those that are to be found.
fn chosen(schedds: &str) -> Vec<String> {
    let config = load(&chosen_text(schedds)).unwrap_or_else(|faults| panic!("{faults}"));
    let known = config.deliveries.iter().map(|d| d.id.schedd.clone());
    let found = config.searches.iter().flat_map(|s| {
        s.templates
            .iter()
            .map(move |p| format!("{}: {}", s.group, p.schedds))
    });
    known.chain(found).collect()
}

#[test]
fn names_and_globs_mean_groups_and_schedds() {
    for (schedds, expected) in [
        ("aps", ["ap1.test", "ap2.test", "other.test"].as_slice()),
        (
            "[aps, tier0]",
            &["ap1.test", "ap2.test", "other.test", "t0.test"],
        ),
        ("ap2.test", &["ap2.test", "crab: ap2.test"]),
        ("\"ap?.test\"", &["ap1.test", "ap2.test", "crab: ap?.test"]),
        ("\"AP[2-9].Test\"", &["ap2.test", "crab: AP[2-9].Test"]),
        ("\"tier*\"", &["ap1.test", "t0.test", "crab: tier*"]),
        ("[aps, \"!other.test\"]", &["ap1.test", "ap2.test"]),
        ("[crab]", &["crab: *"]),
        ("[crab, \"!crab3.*\"]", &["crab: * !crab3.*"]),
        ("crab3.test", &["crab: crab3.test"]),
        (
            "[\"*\", \"!tier0\", \"!crab\"]",
            &["ap1.test", "ap2.test", "other.test"],
        ),
        ("[\"*\", \"!aps\", \"!crab\"]", &["ap1.test", "t0.test"]),
    ] {
        assert_eq!(chosen(schedds), expected, "{schedds}");
    }
}

#[test]
fn what_means_nothing_is_a_fault() {
    for (schedds, fault) in [
        (
            "crap",
            "there is no group of schedds and no schedd \"crap\", did you mean \"crab\"?",
        ),
        (
            "nothing",
            "there is no group of schedds and no schedd \"nothing\", known are crab, aps, tier0",
        ),
        (
            "\"!aps\"",
            "there is nothing to exclude it from, write for example [\"*\", \"!NAME\"]",
        ),
        ("\"ap[\"", "\"ap[\" is not a glob: invalid range pattern"),
    ] {
        let told = faults(&chosen_text(schedds));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with(fault), "{told:?}");
    }
    // Where nothing is searched for, all schedds are known.
    let text = chosen_text("[aps, \"x*\", ap7.test]").replace(
        "  crab: {collector: \"cm.test:9618\", constraint: 'Crab == true', authenticate: IDTOKENS, superuser_for: test}\n",
        "",
    );
    let told = faults(&text);
    assert!(
        told[0].contains("no schedd \"x*\", groups are aps, tier0"),
        "{told:?}"
    );
    assert!(
        told[1].contains("no schedd \"ap7.test\", did you mean \"ap1.test\"?"),
        "{told:?}"
    );
}

#[test]
fn a_schedd_that_is_found_gets_what_fits_its_name() {
    let text = chosen_text("[crab, \"!*.drained.test\"]").replace(
        "{cms: {}}",
        "{cms: {at: {\"big*\": {tokens: {lifetime: 2d, renew_below: 1d}}, \"*1.test\": {scopes: [\"a:/\"]}}}, cms_crab: {schedds: \"x*\"}}",
    );
    let config = load(&text).unwrap();
    let [search] = config.searches.as_slice() else {
        panic!("one search");
    };
    assert_eq!(search.collector.as_deref(), Some("cm.test:9618"));
    assert_eq!(search.constraint.as_deref(), Some("Crab == true"));
    assert_eq!(search.authentication.method, Method::Idtokens);
    assert_eq!(search.authentication.domain.as_deref(), Some("test"));

    let found = |schedd: &str| -> Vec<String> {
        let deliveries = search.deliveries(schedd);
        let told = deliveries.iter().map(|d| {
            let Target::Credd(credd) = &d.target else {
                panic!("a credd");
            };
            assert_eq!(
                (credd.host.as_str(), d.id.schedd.as_str()),
                (schedd, schedd)
            );
            assert_eq!(
                (&credd.collector, &credd.authentication),
                (&search.collector, &search.authentication)
            );
            let days = d.lifetime.as_secs() / 86_400;
            let scopes = d.credential.scopes.join(" ");
            assert!(
                d.authorize.scopes.is_empty(),
                "opened by the credential itself"
            );
            format!("{} {days}d [{scopes}]", d.id.service)
        });
        told.collect()
    };
    assert_eq!(found("crab2.test"), ["cms 7d []"]);
    assert_eq!(
        found("big1.test"),
        ["cms 2d []"],
        "the first that fits counts"
    );
    assert_eq!(found("crab1.test"), ["cms 7d [a:/]"]);
    assert_eq!(found("x2.test"), ["cms 7d []", "cms_crab 7d []"]);
    assert!(found("crab1.drained.test").is_empty());
}

#[test]
fn what_differs_for_a_whole_group_leaves_nothing_to_what_stands_behind() {
    let text = chosen_text("[crab, tier0]").replace(
        "{cms: {}}",
        "{cms: {at: {crab: {tokens: {lifetime: 5d}}, \"*\": {tokens: {lifetime: 6d}}, tier0: {tokens: {lifetime: 5d}}}}}",
    );
    let config = load(&text).unwrap();
    assert_eq!(config.searches[0].templates.len(), 1);
    let days = |delivery: &Delivery| delivery.lifetime.as_secs() / 86_400;
    assert_eq!(days(&config.searches[0].deliveries("any.test")[0]), 5);
    assert!(config.deliveries.iter().all(|delivery| days(delivery) == 6));
}

/// The way to the credds of a group.
fn way(group: &str) -> Way {
    let text = GOOD.replace("{directory: /creds}", group);
    let config = load(&text).unwrap();
    match config.deliveries.first().map(|delivery| &delivery.target) {
        Some(Target::Credd(credd)) => credd.way.clone(),
        Some(other) => panic!("{other:?}"),
        None => config.searches[0].way.clone(),
    }
}

#[test]
fn credds_are_reached_natively_where_that_can_be() {
    for group in [
        "{credds: [x], collector: cm.test}",
        "{credds: [x], collector: \"cm.test:9618, cm2.test\"}",
        "{credds: [x], collector: \"<10.0.0.1:9618?sock=collector>\"}",
        "{collector: cm.test}",
        "{credds: [x], collector: cm.test, transport: cedar}",
        "{credds: [\"<10.0.0.1:9618?alias=x&sock=a>\"], transport: cedar}",
    ] {
        let Way::Cedar { authorities } = way(group) else {
            panic!("{group}");
        };
        assert_eq!(authorities, htvault::TlsSettings::default(), "{group}");
    }
    for group in [
        "{credds: [x]}",
        "{constraint: Crab}",
        "{credds: [x], collector: cm.test, transport: condor}",
        "{collector: cm.test, transport: condor}",
        "{credds: [x], collector: cm.test, authenticate: idtokens}",
    ] {
        assert_eq!(way(group), Way::Condor, "{group}");
    }
}

#[test]
fn credds_have_authorities_of_their_own_or_those_of_vault() {
    let with_vault = |group: &str| {
        let text = GOOD.replace("{directory: /creds}", group).replace(
            "https://vault.test:8200\"",
            "https://vault.test:8200\", ca_dir: /vaults",
        );
        let config = load(&text).unwrap();
        let Some(Way::Cedar { authorities }) = config.deliveries[0].target.way() else {
            panic!("{group}");
        };
        let path = |path: &Option<PathBuf>| path.as_deref().map(|path| path.display().to_string());
        (path(&authorities.ca_file), path(&authorities.ca_dir))
    };
    let some = |path: &str| Some(path.to_owned());
    assert_eq!(
        with_vault("{credds: [x], collector: cm}"),
        (None, some("/vaults"))
    );
    assert_eq!(
        with_vault("{credds: [x], collector: cm, ca_file: /own}"),
        (some("/own"), None)
    );
    assert_eq!(
        with_vault("{credds: [x], collector: cm, ca_dir: /own}"),
        (None, some("/own"))
    );
}

#[test]
fn how_credds_are_opened_is_checked() {
    for (group, fault) in [
        (
            "{credds: [x], authenticate: idtoken}",
            "authenticate: unknown value \"idtoken\", did you mean \"idtokens\"?",
        ),
        (
            "{directory: /x, superuser_for: test}",
            "superuser_for: not used with `directory`, remove it",
        ),
        (
            "{credds: [x], constraint: a}",
            "it is for schedds found through a collector, remove it or `credds`",
        ),
        (
            "{}",
            "a group needs `directory: PATH`, `credds: [HOST, ..]`, or `collector` and `constraint` to be found by",
        ),
    ] {
        let text = GOOD.replace(
            "{here: {directory: /creds}}",
            &format!("{{here: {{directory: /creds}}, g: {group}}}"),
        );
        let told = faults(&text);
        assert!(told[0].contains(fault), "{told:?}");
    }
    let text = GOOD.replace("{directory: /creds}", "{credds: [x], authenticate: ssl}");
    let Target::Credd(credd) = &load(&text).unwrap().deliveries[0].target else {
        panic!("a credd");
    };
    assert_eq!(credd.authentication.method, Method::Ssl);
    let told = faults(&GOOD.replace("{here:", "{\"h*\":"));
    assert!(
        told[0].contains("a group's name must not contain `*?[` or begin with `!`"),
        "{told:?}"
    );
}
