//! What was seen, and what of it is a fault. Pure: looks and the true time go in, faults come out.
//!
//! What always holds: a fault that lasts is told once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::action::Target;
use super::stage::LIVES;

/// Longest time for which "good" may be said of a delivery without a token: a tenth of the token's life.
const SAID_GOOD: SignedDuration = SignedDuration::from_secs(LIVES.access_token.cast_signed() / 10);

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// There is no file.
    None,
    /// A part of a token, or nothing.
    Broken,
    /// A whole one, which lives until then.
    Until(Timestamp),
}

impl Token {
    /// Whether it is there and lives.
    #[must_use]
    pub fn lives(self, now: Timestamp) -> bool {
        matches!(self, Self::Until(end) if now < end)
    }
}

/// What was seen of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its vault token; its end is not looked at.
    pub vault_token: Token,
    /// Its access token.
    pub access_token: Token,
    /// The state that the bastion says, if it answers.
    pub said: Option<String>,
}

/// Time without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose.
    pub target: Target,
    /// Its begin.
    pub begin: Timestamp,
    /// Its end, once it is over.
    pub end: Option<Timestamp>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Deliveries that jobs need: they have been well, and nobody has revoked them.
    pub wanted: BTreeSet<Target>,
    /// Deliveries that are revoked for good.
    pub revoked: BTreeSet<Target>,
    /// Gaps.
    pub gaps: Vec<Gap>,
    /// Faults, in words.
    pub faults: Vec<String>,
    /// Since when good is said of one without a token.
    said_good: BTreeMap<Target, Timestamp>,
    /// Faults that last.
    told: BTreeSet<(Target, &'static str)>,
}

impl Ledger {
    /// Takes in a look.
    pub fn take(&mut self, seen: &BTreeMap<Target, Seen>, now: Timestamp) {
        for (target, seen) in seen {
            let target = *target;
            self.file(
                target,
                "a part of a vault token",
                seen.vault_token == Token::Broken,
            );
            self.file(
                target,
                "a part of an access token",
                seen.access_token == Token::Broken,
            );
            let is_back = self.revoked.contains(&target) && seen.vault_token != Token::None;
            self.file(target, "a vault token after it was revoked", is_back);
            let has_token = seen.access_token.lives(now);
            self.gap(target, self.wanted.contains(&target) && !has_token, now);
            self.good(
                target,
                !has_token && seen.said.as_deref() == Some("good"),
                now,
            );
        }
    }

    fn file(&mut self, target: Target, what: &'static str, is_so: bool) {
        if !is_so {
            self.told.remove(&(target, what));
        } else if self.told.insert((target, what)) {
            self.faults.push(format!("{target:?} has {what}"));
        }
    }

    fn gap(&mut self, target: Target, is_gap: bool, now: Timestamp) {
        let open = |gap: &&mut Gap| gap.target == target && gap.end.is_none();
        match self.gaps.iter_mut().find(open) {
            Some(gap) if !is_gap => gap.end = Some(now),
            None if is_gap => self.gaps.push(Gap {
                target,
                begin: now,
                end: None,
            }),
            _ => {}
        }
    }

    fn good(&mut self, target: Target, is_wrong: bool, now: Timestamp) {
        const WHAT: &str = "\"good\" said of it without a living token";
        if !is_wrong {
            self.said_good.remove(&target);
        }
        let since = if is_wrong {
            *self.said_good.entry(target).or_insert(now)
        } else {
            now
        };
        self.file(target, WHAT, now.duration_since(since) > SAID_GOOD);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

    use super::*;

    const ONE: Target = Target {
        credential: 0,
        schedd: 0,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(vault_token: Token, access_token: Token, said: &str) -> BTreeMap<Target, Seen> {
        let said = Some(said.to_owned());
        BTreeMap::from([(
            ONE,
            Seen {
                vault_token,
                access_token,
                said,
            },
        )])
    }

    fn ledger() -> Ledger {
        Ledger {
            wanted: BTreeSet::from([ONE]),
            ..Ledger::default()
        }
    }

    #[test]
    fn a_gap_lasts_until_there_is_a_token_again() {
        let mut ledger = ledger();
        let whole = Token::Until(at(1000));
        ledger.take(&seen(whole, Token::Until(at(10)), "good"), at(9));
        assert_eq!(ledger.gaps, []);
        ledger.take(&seen(whole, Token::Until(at(10)), "failed"), at(10));
        ledger.take(&seen(whole, Token::None, "failed"), at(11));
        ledger.take(&seen(whole, Token::Until(at(100)), "good"), at(12));
        let gap = Gap {
            target: ONE,
            begin: at(10),
            end: Some(at(12)),
        };
        assert_eq!((ledger.gaps, ledger.faults.len()), (vec![gap], 0));
    }

    #[test]
    fn good_may_be_said_of_an_ended_token_for_a_tenth_of_its_life() {
        let mut ledger = ledger();
        let ended = seen(Token::Until(at(1000)), Token::Until(at(10)), "good");
        ledger.take(&ended, at(10));
        ledger.take(&ended, at(19));
        assert_eq!(ledger.faults, [""; 0]);
        ledger.take(&ended, at(20));
        ledger.take(&ended, at(21));
        assert_eq!(ledger.faults.len(), 1, "{:?}", ledger.faults);
    }

    #[test]
    fn parts_of_tokens_and_tokens_after_a_revocation_are_faults() {
        let mut ledger = ledger();
        ledger.take(&seen(Token::Broken, Token::Broken, "good"), at(0));
        assert_eq!(ledger.faults.len(), 2, "{:?}", ledger.faults);
        ledger.wanted.clear();
        ledger.revoked.insert(ONE);
        ledger.take(&seen(Token::None, Token::None, "cut_off"), at(1));
        assert_eq!(ledger.faults.len(), 2, "{:?}", ledger.faults);
        ledger.take(&seen(Token::Until(at(9)), Token::None, "cut_off"), at(2));
        assert_eq!(ledger.faults.len(), 3, "{:?}", ledger.faults);
    }
}
