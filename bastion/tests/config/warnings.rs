//! What is allowed and probably not meant.

use super::*;

/// The warnings, without the folder's name.
fn warnings(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let config = config::load(&write(dir.path(), "c.yaml", text)).unwrap();
    let folder = format!("{}/", dir.path().display());
    let warnings = config.warnings.iter();
    warnings
        .map(|w| w.to_string().replace(&folder, ""))
        .collect()
}

#[test]
fn a_good_configuration_has_none() {
    assert_eq!(warnings(GOOD), Vec::<String>::new());
    for name in ["smallest.yaml", "full.yaml"] {
        let config = config::load(&example(name)).unwrap();
        assert_eq!(config.warnings, [], "{name}");
    }
}

#[test]
fn a_group_that_nothing_is_delivered_to() {
    let text = GOOD.replace(
        "{here: {directory: /creds}}",
        "{here: {directory: /creds}, aps: {credds: [ap1.test]}, far: {collector: cm}}",
    );
    let what = "nothing is delivered to this group, name it in an account's `schedds` or remove it";
    assert_eq!(
        warnings(&text),
        [
            format!("c.yaml:2:38: schedds.aps: {what}"),
            format!("c.yaml:2:65: schedds.far: {what}"),
        ]
    );
    assert_eq!(
        warnings(&text.replace("schedds: [here]", "schedds: [\"*\"]")),
        Vec::<String>::new()
    );
}

#[test]
fn checks_between_which_a_token_could_end() {
    let text = format!("{GOOD}schedule: {{check: \"0 6 * * mon-fri\"}}\n");
    assert_eq!(
        warnings(&text),
        [
            "c.yaml:9:19: schedule.check: up to 3d5m pass between two checks (spread included), and a vault token may have 3d left at the first: it could expire before the second one; check more often, or raise renew_below"
        ]
    );
    let text = format!("{GOOD}schedule: {{check: \"0 6 * * *\"}}\n");
    assert_eq!(warnings(&text), Vec::<String>::new());
    let text = format!("{GOOD}tokens: {{lifetime: 1h, renew_below: 10m}}\n");
    assert!(warnings(&text)[0].starts_with("c.yaml: schedule: up to 15m pass"));
    let text = format!("{GOOD}schedule: {{spread: 4d}}\n");
    assert!(warnings(&text)[0].starts_with("c.yaml:9:20: schedule.spread: up to 4d10m pass"));
}

#[test]
fn a_credential_that_can_hardly_open_a_credd() {
    let text = |scopes: &str| {
        GOOD.replace(
            "{cms: {}}",
            &format!("{{cms: {{scopes: {scopes}}}, cms_x: {{authorize_with: cms}}}}"),
        )
    };
    assert_eq!(
        warnings(&text("[storage.read:/]")),
        [
            "c.yaml:8:76: accounts.cmsprod.credentials.cms_x.authorize_with: the scopes of \"cms\" do not let it write at a credd; it works only if its role has condor:/WRITE, or compute.create with compute.modify, compute.cancel and compute.read"
        ]
    );
    assert_eq!(
        warnings(&text("[\"condor:/WRITE\", storage.read:/]")),
        Vec::<String>::new()
    );
    assert_eq!(warnings(&text("[]")), Vec::<String>::new());
}

#[test]
fn a_credential_that_goes_nowhere() {
    let text = GOOD.replace(
        "cms: {}",
        "cms: {}, cms_x: {schedds: []}, cms_y: {schedds: [here, \"!h*\"]}",
    );
    let what = "it is delivered nowhere: its `schedds` match none, or exclude all that they match";
    let told = warnings(&text);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with(&format!("cms_x: {what}")), "{told:?}");
    assert!(told[1].ends_with(&format!("cms_y: {what}")), "{told:?}");
}
