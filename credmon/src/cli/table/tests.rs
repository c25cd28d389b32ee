use super::*;
use crate::model::Query;
use crate::model::fixtures::{at, credential, daemon};

#[test]
fn times_are_shown_in_two_units() {
    let shown: Vec<_> = [0, 59, 61, 3660, 90_000].map(span).into();
    assert_eq!(shown, ["0s", "59s", "1m01s", "1h01m", "1d01h"]);
}

#[test]
fn the_table_says_all_in_columns_and_what_to_do_below() {
    let mut bad = credential("crabtw", State::Dead, 900);
    bad.why = "lookup-self says that it is dead".into();
    bad.advice = "store it again".into();
    bad.next_renewal = None;
    bad.vault_token = None;
    let all = vec![credential("a", State::Fresh, 3600), bad];
    let report = Query::default().answer(daemon(), all, at(1000));
    assert_eq!(
        render(&report, at(1000), None),
        "\
USER    SERVICE  STATE  ACCESS  VAULT  NEXT   JTI   SCOPES
a       cms      fresh  43m20s  1d00h  3m20s  id-1  storage.read:/ openid
crabtw  cms      dead   ended   -      -      id-1  storage.read:/ openid

crabtw/cms: dead for 16m40s: lookup-self says that it is dead
  to do: store it again
"
    );
}

#[test]
fn on_a_terminal_a_credential_has_one_line_and_words_are_wrapped() {
    let mut bad = credential("crabtw", State::Dead, 900);
    bad.why = "vault.test refuses the vault token, and lookup-self says that it is dead".into();
    bad.advice = "store it again (the bastion does)".into();
    let report = Query::default().answer(daemon(), vec![bad], at(1000));
    assert_eq!(
        render(&report, at(1000), Some(40)),
        "\
USER    SERVICE  STATE  ACCESS  VAULT  …
crabtw  cms      dead   ended   1d00h  …

crabtw/cms: dead for 16m40s: vault.test
    refuses the vault token, and
    lookup-self says that it is dead
  to do: store it again (the bastion
    does)
"
    );
    let narrow = render(&report, at(1000), Some(0));
    assert!(narrow.contains("lookup-self"), "{narrow}");
}

#[test]
fn the_trouble_of_a_vault_is_told_once() {
    let why = "Vault vault.test does not answer: no connection";
    let waiting = |user: &str| {
        let mut credential = credential(user, State::Degraded, 3600);
        credential.why =
            format!("{WAITS}Vault vault.test, which has not worked since 08:00").into();
        credential
    };
    let mut daemon = daemon();
    daemon.troubled_vaults.push(VaultStatus {
        host: "vault.test".to_owned(),
        rests_until: None,
        why: why.to_owned(),
    });
    let mut other = credential("c", State::Degraded, 3600);
    other.why = "nothing is stored".into();
    let report = Query::default().answer(daemon, vec![waiting("a"), waiting("b"), other], at(1000));
    let text = render(&report, at(1000), None);
    assert_eq!(text.matches(why).count(), 1, "{text}");
    let line = "\nVault vault.test (2 credentials above wait for it): Vault vault.test does not";
    assert!(text.contains(line), "{text}");
    assert!(
        !text.contains("a/cms: degraded") && text.contains("c/cms: degraded"),
        "{text}"
    );
}

#[test]
fn each_credential_is_counted_for_what_it_waits_for_and_no_other_trouble_of_that_vault() {
    let waiting = |user: &str, issuer: &str| {
        let mut credential = credential(user, State::Degraded, 3600);
        let issuer = format!("issuer {issuer} at Vault vault.test");
        credential.why = format!("{WAITS}{issuer}, which has not worked since 08:00").into();
        credential
    };
    let trouble = |issuer: &str| VaultStatus {
        host: "vault.test".to_owned(),
        rests_until: None,
        why: format!("issuer {issuer} at Vault vault.test gives no new tokens: none"),
    };
    let mut daemon = daemon();
    daemon.troubled_vaults = vec![trouble("cms"), trouble("cms-pilot")];
    let all = vec![
        waiting("a", "cms"),
        waiting("b", "cms"),
        waiting("c", "cms-pilot"),
        waiting("d", "not-listed"),
    ];
    let text = render(
        &Query::default().answer(daemon, all, at(1000)),
        at(1000),
        None,
    );
    for line in [
        "Vault vault.test (2 credentials above wait for it): issuer cms at",
        "Vault vault.test (1 credential above waits for it): issuer cms-pilot at",
        "d/cms: degraded for 16m40s: it waits for issuer not-listed at",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("a/cms: degraded"), "{text}");
}

#[test]
fn troubles_that_are_not_listed_are_counted() {
    let daemon = crate::model::DaemonStatus {
        more_troubled_vaults: 7,
        ..daemon()
    };
    let report = Query::default().answer(daemon, Vec::new(), at(1000));
    let text = render(&report, at(1000), None);
    assert!(
        text.ends_with("\n7 more Vaults or issuers are down or limit requests\n"),
        "{text}"
    );
}
