//! Shared causes: while Vault or a KDC is known to be down, one try at a time finds out for all.
//!
//! A closed gate keeps everybody else from waiting for the same time-out, and from adding load to
//! a server that comes back. It opens at the first success.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::moment::after;
use crate::problem::{Cause, Kind, Problem};

/// First pause between two tries at a closed gate.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause; Vault's own block for too many requests lasts minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const SLOW_PAUSE: Duration = Duration::from_mins(1);

/// The gates that are closed.
#[derive(Debug, Default)]
pub struct Gates(BTreeMap<Cause, Gate>);

#[derive(Debug)]
struct Gate {
    problem: Problem,
    tries: u32,
    next_try: Timestamp,
    /// Somebody is trying.
    tried: bool,
}

/// Whether a try may begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Pass {
    /// It may.
    Open,
    /// It may, and finds out for all others.
    Probe,
    /// Not before that moment, because of that problem.
    Closed(Problem, Timestamp),
}

impl Gates {
    /// Asks for a try that needs `causes`. [`Pass::Probe`] must be answered by [`Gates::failed`]
    /// or [`Gates::succeeded`].
    pub fn ask(&mut self, causes: &[Cause], now: Timestamp) -> Pass {
        for gate in causes.iter().filter_map(|cause| self.0.get(cause)) {
            if gate.tried || now < gate.next_try {
                let again = if gate.tried {
                    after(now, FIRST_PAUSE)
                } else {
                    gate.next_try
                };
                return Pass::Closed(gate.problem.clone(), again);
            }
        }
        let mut pass = Pass::Open;
        for cause in causes {
            if let Some(gate) = self.0.get_mut(cause) {
                gate.tried = true;
                pass = Pass::Probe;
            }
        }
        pass
    }

    /// A try failed: closes the gate when the cause is shared. Whether it was open before.
    pub fn failed(&mut self, problem: &Problem, causes: &[Cause], now: Timestamp) -> bool {
        // What came before the failure worked, or was not reached; others may try.
        for cause in causes {
            if let Some(gate) = self.0.get_mut(cause) {
                gate.tried = false;
            }
        }
        if !problem.cause.is_shared() {
            return false;
        }
        let known = self.0.get(&problem.cause);
        let first = known.is_none();
        // Tries that began before the gate was closed fail too, and say nothing new.
        if known.is_some_and(|gate| now < gate.next_try) {
            return false;
        }
        let tries = known.map_or(1, |gate| gate.tries.saturating_add(1));
        let pause = match problem.kind {
            Kind::RateLimited => SLOW_PAUSE,
            _ => FIRST_PAUSE
                .saturating_mul(1_u32.checked_shl(tries - 1).unwrap_or(u32::MAX))
                .min(LONGEST_PAUSE),
        };
        let gate = Gate {
            problem: problem.clone(),
            tries,
            next_try: after(now, pause),
            tried: false,
        };
        self.0.insert(problem.cause.clone(), gate);
        first
    }

    /// A try that needed `causes` succeeded: gates that open by that.
    pub fn succeeded(&mut self, causes: &[Cause]) -> Vec<Cause> {
        let opened = causes
            .iter()
            .filter(|cause| self.0.remove(*cause).is_some());
        opened.cloned().collect()
    }

    /// How many are closed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Opens all, for a new configuration.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn down() -> Problem {
        Problem::new(Cause::Vault("v".to_owned()), Kind::VaultDown, "refused")
    }

    #[test]
    fn one_try_at_a_time_passes_a_closed_gate_and_success_opens_it() {
        let mut gates = Gates::default();
        let causes = [Cause::Vault("v".to_owned()), Cause::Realm("R".to_owned())];
        assert_eq!(gates.ask(&causes, at(0)), Pass::Open);
        assert!(gates.failed(&down(), &causes, at(0)));
        assert_eq!(gates.ask(&causes, at(1)), Pass::Closed(down(), at(2)));
        assert_eq!(gates.ask(&causes, at(2)), Pass::Probe);
        assert_eq!(gates.ask(&causes, at(2)), Pass::Closed(down(), at(4)));
        assert!(!gates.failed(&down(), &causes, at(3)));
        assert_eq!(gates.ask(&causes, at(6)), Pass::Closed(down(), at(7)));
        assert_eq!(gates.ask(&causes, at(7)), Pass::Probe);
        assert_eq!(gates.succeeded(&causes), [Cause::Vault("v".to_owned())]);
        assert_eq!(gates.ask(&causes, at(8)), Pass::Open);
    }

    #[test]
    fn a_failure_that_is_not_shared_closes_nothing_and_ends_a_probe() {
        let mut gates = Gates::default();
        let causes = [Cause::Vault("v".to_owned())];
        gates.failed(&down(), &causes, at(0));
        assert_eq!(gates.ask(&causes, at(5)), Pass::Probe);
        let own = Problem::new(Cause::Account("a".to_owned()), Kind::Keytab, "missing");
        assert!(!gates.failed(&own, &causes, at(5)));
        assert_eq!(gates.ask(&causes, at(5)), Pass::Probe);
    }

    #[test]
    fn a_delivery_that_needs_nothing_closed_passes() {
        let mut gates = Gates::default();
        gates.failed(&down(), &[], at(0));
        assert_eq!(
            gates.ask(&[Cause::Vault("w".to_owned())], at(0)),
            Pass::Open
        );
        assert_eq!(gates.ask(&[], at(0)), Pass::Open);
    }
}
