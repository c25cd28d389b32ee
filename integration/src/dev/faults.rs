//! Faults that requests meet: which, where, how often. Pure.
//!
//! What always holds: a request meets the delays of all faults that are for it and the first other
//! effect; a share is spread evenly (20 is each fifth request), so that a run can be repeated; a
//! fault that was met as often as told stays listed until it is cleared.

use std::time::Duration;

use axum::http::StatusCode;

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The answer comes later.
    Latency(Duration),
    /// No answer, until the fault is cleared; then the connection is closed.
    Hang,
    /// The connection is closed without an answer.
    Drop,
    /// An error with this status.
    Status(StatusCode),
    /// 200 with a body that is no JSON.
    Garbage,
    /// 200 with a body of so many bytes.
    Oversized(u64),
}

/// Where requests meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At each node of the Vault half.
    Vault,
    /// At this node, counted from 1.
    Node(usize),
    /// At the token issuer.
    Issuer,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub effect: Effect,
    /// Where.
    pub place: Place,
    /// For which paths: below `/v1/` for the Vault half, below `/` for the issuer.
    pub path: String,
    /// To how many requests.
    pub times: Option<u64>,
    /// To which share of them, in percent.
    pub share: u8,
}

/// A fault that is on.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it is cleared by.
    pub id: u64,
    /// The fault.
    pub fault: Fault,
    /// How many requests have met it.
    pub met: u64,
    credit: u8,
}

/// Who is asked: a node by its number, or the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A node, counted from 1.
    Node(usize),
    /// The issuer.
    Issuer,
}

/// What a request meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How long it waits first.
    pub delay: Duration,
    /// What it gets in place of its answer, and by which rule.
    pub end: Option<(u64, Effect)>,
}

/// All faults that are on.
#[derive(Debug, Default)]
pub struct Board {
    last: u64,
    rules: Vec<Rule>,
}

impl Board {
    /// Adds a fault; says what it is cleared by.
    pub fn add(&mut self, fault: Fault) -> u64 {
        self.last = self.last.saturating_add(1);
        self.rules.push(Rule {
            id: self.last,
            fault,
            met: 0,
            credit: 0,
        });
        self.last
    }

    /// Takes a fault away; says whether it was there.
    pub fn clear(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.id != id);
        self.rules.len() < before
    }

    /// Takes all away.
    pub fn clear_all(&mut self) {
        self.rules.clear();
    }

    /// All that are listed, those used up included.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a request for this path (without the leading `/` or `/v1/`) meets.
    pub fn judge(&mut self, at: At, path: &str) -> Verdict {
        let mut verdict = Verdict::default();
        for rule in &mut self.rules {
            let here = match (rule.fault.place, at) {
                (Place::Vault, At::Node(_)) | (Place::Issuer, At::Issuer) => true,
                (Place::Node(wanted), At::Node(number)) => wanted == number,
                _ => false,
            };
            let is_latency = matches!(rule.fault.effect, Effect::Latency(_));
            let used_up = rule.fault.times.is_some_and(|times| rule.met >= times);
            if !here || used_up || !path.starts_with(&rule.fault.path) {
                continue;
            }
            if !is_latency && verdict.end.is_some() {
                continue;
            }
            // Both are 100 at most.
            rule.credit = rule.credit.saturating_add(rule.fault.share);
            if rule.credit < 100 {
                continue;
            }
            rule.credit = rule.credit.saturating_sub(100);
            rule.met = rule.met.saturating_add(1);
            match rule.fault.effect {
                Effect::Latency(delay) => verdict.delay = verdict.delay.saturating_add(delay),
                effect => verdict.end = Some((rule.id, effect)),
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(board: &mut Board, at: At, path: &str) -> Option<Effect> {
        board.judge(at, path).end.map(|(_, effect)| effect)
    }

    #[test]
    fn it_is_met_where_and_as_often_as_told() {
        let mut board = Board::default();
        board.add("drop,node=2,path=secret/,times=1".parse().unwrap());
        assert_eq!(ends(&mut board, At::Node(1), "secret/x"), None);
        assert_eq!(ends(&mut board, At::Issuer, "secret/x"), None);
        assert_eq!(ends(&mut board, At::Node(2), "auth/x"), None);
        assert_eq!(
            ends(&mut board, At::Node(2), "secret/x"),
            Some(Effect::Drop)
        );
        assert_eq!(ends(&mut board, At::Node(2), "secret/x"), None);
        assert_eq!(board.rules()[0].met, 1);
        assert!(board.clear(1) && !board.clear(1));
    }

    #[test]
    fn a_share_is_spread_evenly() {
        let mut board = Board::default();
        board.add("drop,share=20".parse().unwrap());
        let met: Vec<bool> = (0..10)
            .map(|_| ends(&mut board, At::Node(1), "x").is_some())
            .collect();
        let expected = [false, false, false, false, true];
        assert_eq!(met, [expected, expected].concat());
    }

    #[test]
    fn delays_add_up_and_the_first_end_counts() {
        let mut board = Board::default();
        for text in ["latency=1s", "status=503", "drop", "latency=2s"] {
            board.add(text.parse().unwrap());
        }
        let verdict = board.judge(At::Node(1), "x");
        assert_eq!(verdict.delay, Duration::from_secs(3));
        let unavailable = Effect::Status(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(verdict.end, Some((2, unavailable)));
    }
}
