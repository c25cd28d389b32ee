//! What another configuration changes.

use bastion::config::Changes;

use super::*;

const OLD: &str = "\
vault: {address: \"https://vault.test:8200\"}
schedds:
  aps: {credds: [ap1.test, ap2.test]}
  crab: {collector: cm.test, constraint: \"true\"}
accounts:
  a: {principal: a@T, keytab: /kt, schedds: [aps, crab], credentials: {cms: {}}}
";

fn changes(new: &str) -> Changes {
    Changes::between(&load(OLD).unwrap(), &load(new).unwrap())
}

#[test]
fn the_same_again_changes_nothing() {
    let changes = changes(&format!("# a comment\n{OLD}"));
    assert!(changes.is_empty());
    assert_eq!(changes.to_string(), "nothing changes");
}

#[test]
fn what_comes_goes_and_differs_is_told_from_what_to_what() {
    let new =
        OLD.replace(
            "[ap1.test, ap2.test]",
            "[ap2.test, ap3.test], authenticate: ssl",
        )
        .replace("\"true\"", "Crab")
        .replace(
            "cms: {}",
            "cms: {tokens: {lifetime: 2d, renew_below: 1d}, audience: x}, cms_x: {schedds: \"x*\"}",
        ) + "listen: {address: \"127.0.0.1:9118\"}\nschedule: {spread: 1m}\n";
    assert_eq!(
        changes(&new).to_string(),
        "\
+ a/cms at ap3.test
- a/cms at ap1.test
~ a/cms at ap2.test: audience nothing → x, tokens.lifetime 7d → 2d, tokens.renew_below 3d → 1d, authenticate scitokens → ssl
+ a/cms_x at crab: x*
~ a/cms at crab: *: audience nothing → x, tokens.lifetime 7d → 2d, tokens.renew_below 3d → 1d
~ search crab: constraint true → Crab
~ schedule.spread 5m → 1m
~ listen.address nothing → 127.0.0.1:9118 (from the next start on)"
    );
}

#[test]
fn what_is_opened_once_is_said_to_wait_for_the_next_start() {
    let old = format!("{OLD}control: {{socket: /run/a}}\nstate: /var/a\n");
    let new = format!("{OLD}control: {{socket: /run/b}}\nstate: /var/b\n");
    let changes = Changes::between(&load(&old).unwrap(), &load(&new).unwrap());
    assert_eq!(
        changes.to_string(),
        "\
~ control.socket /run/a → /run/b (from the next start on; until then, commands need --socket /run/a)
~ state /var/a → /var/b (from the next start on)"
    );
}

#[test]
fn scripts_get_the_same_as_data() {
    let json = serde_json::to_value(changes(
        &OLD.replace("ap1.test, ", "").replace("/kt", "/kt2"),
    ))
    .unwrap();
    assert_eq!(json["deliveries"]["removed"][0]["schedd"], "ap1.test");
    assert_eq!(json["deliveries"]["added"], serde_json::json!([]));
    assert_eq!(
        json["deliveries"]["changed"][0],
        serde_json::json!({
            "name": {"account": "a", "service": "cms", "schedd": "ap2.test"},
            "differences": [{"key": "keytab", "from": "/kt", "to": "/kt2"}],
        })
    );
    assert_eq!(json["searches"]["changed"][0]["name"], "a/cms at crab: *");
}

#[test]
fn a_delivery_that_moves_to_another_sort_of_place_is_told_in_full() {
    let new = OLD
        .replace(", ap2.test]}", "]}\n  ap2.test: {directory: /creds}")
        .replace("[aps, crab]", "[aps, ap2.test, crab]");
    let told = changes(&new).to_string();
    let line = "~ a/cms at ap2.test: directory nothing → /creds, credds ap2.test → nothing, transport condor → nothing, authenticate scitokens → nothing";
    assert!(told.contains(line), "{told}");
}
