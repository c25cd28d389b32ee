//! What another configuration changes.

use super::*;

const OLD: &str = "\
vault: {address: \"https://vault.test:8200\"}
schedds:
  aps: {credds: [ap1.test, ap2.test]}
  crab: {collector: cm.test, constraint: \"true\"}
accounts:
  a: {principal: a@T, keytab: /kt, schedds: [aps, crab], credentials: {cms: {}}}
";

fn changes(old: &str, new: &str) -> String {
    config::changes(&load(old).unwrap(), &load(new).unwrap()).join("\n")
}

#[test]
fn the_same_again_changes_nothing() {
    assert_eq!(changes(OLD, &format!("# a comment\n{OLD}")), "");
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
        changes(OLD, &new),
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
    assert_eq!(
        changes(&old, &new),
        "\
~ control.socket /run/a → /run/b (from the next start on; until then, commands need --socket /run/a)
~ state /var/a → /var/b (from the next start on)"
    );
}

#[test]
fn a_delivery_that_moves_to_another_sort_of_place_is_told_in_full() {
    let new = OLD
        .replace(", ap2.test]}", "]}\n  ap2.test: {directory: /creds}")
        .replace("[aps, crab]", "[aps, ap2.test, crab]");
    let told = changes(OLD, &new);
    let line = "~ a/cms at ap2.test: directory nothing → /creds, credds ap2.test → nothing, transport condor → nothing, authenticate scitokens → nothing";
    assert!(told.contains(line), "{told}");
}

#[test]
fn another_order_of_at_and_another_opener_are_changes_where_nothing_else_differs() {
    let crab = |at: &str| {
        OLD.replace(
            "schedds: [aps, crab], credentials: {cms: {}}",
            &format!("schedds: crab, credentials: {{cms: {{at: {{{at}}}}}}}"),
        )
    };
    let (few, one) = ("\"a*\": {audience: x}", "\"a1.*\": {audience: y}");
    let told = changes(
        &crab(&format!("{few}, {one}")),
        &crab(&format!("{one}, {few}")),
    );
    assert_eq!(
        told,
        "\
~ a/cms at crab: *, where a*: place in `at` 1 → 2
~ a/cms at crab: *, where a1.*: place in `at` 2 → 1"
    );
    let opened = |opener: &str| {
        let more =
            format!("cms: {{authorize_with: cms_open}}, cms_open: {{schedds: [], {opener}}}");
        OLD.replace("cms: {}", &more)
    };
    let told = changes(&opened("role: a"), &opened("role: b"));
    assert!(
        told.contains("~ a/cms at ap1.test: authorize_with cms_open (cms/a) → cms_open (cms/b)"),
        "{told}"
    );
}
