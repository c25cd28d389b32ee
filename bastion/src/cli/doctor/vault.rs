//! Checks of Vault: every address with its state and certificate, and the clocks.

use std::time::Duration;

use htvault::{Node, NodeAnswer, NodeState};
use jiff::Timestamp;

use super::{Section, Verdict, span};
use crate::config::Config;
use crate::model::moment::{after, until};

/// Difference of clocks that gives a warning: tokens seem expired or not yet valid.
const CLOCK_WARNING: Duration = Duration::from_secs(30);
/// Difference of clocks that Kerberos refuses.
const CLOCK_LIMIT: Duration = Duration::from_mins(5);
/// Time before its expiry at which a certificate should have been renewed.
const CERTIFICATE_WARNING: Duration = Duration::from_hours(14 * 24);

pub(super) async fn section(config: &Config, now: Timestamp) -> Section {
    let mut section = Section::new(format!("Vault {}", config.vault.server()));
    match htvault::survey(&config.vault).await {
        Ok(nodes) => judge(&mut section, &nodes, now),
        Err(error) => section.add("address", Verdict::Wrong, error.to_string()),
    }
    section
}

fn judge(section: &mut Section, nodes: &[Node], now: Timestamp) {
    let mut serving = false;
    for node in nodes {
        let (verdict, words) = match &node.answer {
            Ok(answer) => {
                serving |= matches!(answer.state, NodeState::Active | NodeState::Standby);
                judge_node(answer, now)
            }
            Err(error) => {
                let words = format!("{}; {}", error.words(), error.advice());
                (Verdict::Wrong, words)
            }
        };
        let words = format!("{} of {}: {words}", node.address, node.server);
        section.add("address", verdict, words);
    }
    if serving {
        // Where one address serves, others that do not are not urgent.
        for step in &mut section.steps {
            if step.verdict == Verdict::Wrong {
                step.verdict = Verdict::Warning;
            }
        }
    }
    let clocks = nodes
        .iter()
        .filter_map(|node| node.answer.as_ref().ok()?.clock);
    if let Some(clock) = clocks.min_by_key(|clock| apart(*clock, now)) {
        let (verdict, words) = judge_clock(clock, now);
        section.add("clock", verdict, words);
    }
}

fn judge_node(answer: &NodeAnswer, now: Timestamp) -> (Verdict, String) {
    let state = match answer.state {
        NodeState::Sealed => {
            let words = "sealed; a Vault admin must unseal it";
            return (Verdict::Wrong, words.to_owned());
        }
        NodeState::Uninitialised => {
            let words = "never set up; correct the address, or ask a Vault admin";
            return (Verdict::Wrong, words.to_owned());
        }
        NodeState::Standby => "standby",
        // The one that serves, and states of later versions.
        _ => "active",
    };
    let version = answer.version.as_deref().unwrap_or("of unknown version");
    let words = format!("{state}, {version}");
    let Some(end) = answer.certificate_ends else {
        return (Verdict::Ok, words);
    };
    let left = span(now, end);
    if end < after(now, CERTIFICATE_WARNING) {
        let words = format!("{words}; its certificate expires in {left}, tell its admins");
        (Verdict::Warning, words)
    } else {
        (
            Verdict::Ok,
            format!("{words}, certificate valid for {left}"),
        )
    }
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    until(one, other).max(until(other, one))
}

/// Judges the clocks. Vault reports its time in whole seconds.
fn judge_clock(vault: Timestamp, now: Timestamp) -> (Verdict, String) {
    let apart = apart(vault, now);
    let which = if vault < now { "ahead of" } else { "behind" };
    let words = format!("this host's clock is {} s {which} Vault's", apart.as_secs());
    if apart > CLOCK_LIMIT {
        let words = format!("{words}: Kerberos refuses that; set the clocks by NTP");
        (Verdict::Wrong, words)
    } else if apart > CLOCK_WARNING {
        (Verdict::Warning, format!("{words}; set the clocks by NTP"))
    } else {
        (Verdict::Ok, "this host's and Vault's agree".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn clocks_that_differ_are_reported_before_kerberos_refuses_them() {
        for (seconds, wanted) in [
            (0, Verdict::Ok),
            (29, Verdict::Ok),
            (40, Verdict::Warning),
            (-40, Verdict::Warning),
            (301, Verdict::Wrong),
            (-400, Verdict::Wrong),
        ] {
            let vault = now() + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(judge_clock(vault, now()).0, wanted, "{seconds}");
        }
        let (_, words) = judge_clock(now() - jiff::SignedDuration::from_secs(40), now());
        assert_eq!(
            words,
            "this host's clock is 40 s ahead of Vault's; set the clocks by NTP"
        );
    }

    #[test]
    fn a_sealed_node_and_an_old_certificate_are_reported() {
        let answer = |state, days: i64| NodeAnswer {
            state,
            version: Some("2.6.1".to_owned()),
            clock: None,
            certificate_ends: Some(now() + jiff::SignedDuration::from_hours(24 * days)),
        };
        assert_eq!(
            judge_node(&answer(NodeState::Active, 100), now()),
            (
                Verdict::Ok,
                "active, 2.6.1, certificate valid for 100d".to_owned()
            )
        );
        let (verdict, words) = judge_node(&answer(NodeState::Standby, 3), now());
        assert_eq!(verdict, Verdict::Warning);
        assert_eq!(
            words,
            "standby, 2.6.1; its certificate expires in 3d, tell its admins"
        );
        assert_eq!(
            judge_node(&answer(NodeState::Sealed, 100), now()).0,
            Verdict::Wrong
        );
    }

    #[test]
    fn an_address_that_is_down_is_a_warning_where_another_one_serves() {
        let node = |answer| Node {
            server: "https://vault.test:8200".parse().unwrap(),
            address: "127.0.0.1:8200".parse().unwrap(),
            answer,
        };
        let active = || {
            Ok(NodeAnswer {
                state: NodeState::Active,
                version: None,
                clock: None,
                certificate_ends: None,
            })
        };
        // Any error of the client's will do.
        let down = || Err("no url".parse::<htvault::ServerUrl>().unwrap_err());
        let verdicts = |nodes: &[Node]| {
            let mut section = Section::new("Vault");
            judge(&mut section, nodes, now());
            section
                .steps
                .iter()
                .map(|step| step.verdict)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            verdicts(&[node(active()), node(down())]),
            [Verdict::Ok, Verdict::Warning]
        );
        assert_eq!(verdicts(&[node(down())]), [Verdict::Wrong]);
    }
}
