//! What each outcome of a renewal makes of a credential.
//!
//! A failure never takes a token away; it only decides how long is waited, and what is told.

use htvault::{Action, ErrorKind};
use jiff::Timestamp;

use super::{Record, Renewal};
use crate::old::hosts::Verdict;
use crate::old::renewal::{Less, Outcome, Task};
use crate::old::rules::Rules;
use crate::old::schedule::{self, Life, Patience};
use crate::old::source::SourceError;
use crate::old::state::{Note, Reason, STORE_AGAIN, State};
use crate::old::used::Used;

impl Record {
    /// A renewal has ended.
    pub fn report(
        &mut self,
        task: &Task,
        outcome: Outcome,
        rules: &Rules,
        now: Timestamp,
    ) -> Vec<Note> {
        self.renewal = Renewal::None;
        let mut notes = Vec::new();
        if self.seen.stamp == task.stamp {
            self.take_in(outcome, rules, now, &mut notes);
        } else {
            // `.top` was replaced meanwhile: whatever came of the old one is no news.
            self.retry_at = None;
        }
        self.plan(rules);
        notes
    }

    fn take_in(&mut self, outcome: Outcome, rules: &Rules, now: Timestamp, notes: &mut Vec<Note>) {
        match outcome {
            Outcome::Renewed { used, less, .. } => {
                self.renewed(*used, less.as_deref(), now, notes);
            }
            Outcome::Kept => {
                let short = |life: Life| life.left(now) <= schedule::margin(rules.limits, life);
                self.confirmed = now.into();
                if let Some(life) = self.ended(now) {
                    notes.extend(self.clock_is_wrong(life, now));
                } else if self.life().is_some_and(short) {
                    let reason = Reason {
                        cause: "kept".to_owned(),
                        why: "Vault has no newer access token".to_owned(),
                        advice: "wait; it is tried again",
                    };
                    notes.extend(self.failed(Patience::Transient, reason, now));
                } else {
                    self.well(now, notes);
                }
            }
            Outcome::TopChanged | Outcome::Vanished => {
                // The next look tells.
                self.retry_at = Some(schedule::after(now, schedule::GAP));
            }
            Outcome::BadTop(fault) => {
                self.seen.top = Err(Box::new(fault));
                notes.extend(self.judge(rules, now));
            }
            Outcome::Dead(text) => {
                self.wait(Patience::Dead, now);
                let reason = Reason {
                    cause: "dead".to_owned(),
                    why: text,
                    advice: STORE_AGAIN,
                };
                notes.extend(self.become_(State::Dead, reason, now));
            }
            Outcome::Refused(error) => notes.extend(self.refused(&error, now)),
            Outcome::NotWritten(fault) => {
                let reason = Reason {
                    cause: "file".to_owned(),
                    why: format!("the access token cannot be put in place: {fault}"),
                    advice: "make the directory writable for this daemon, or make room on its disk",
                };
                notes.extend(self.failed(Patience::Transient, reason, now));
            }
        }
    }

    fn renewed(&mut self, used: Used, less: Option<&Less>, now: Timestamp, notes: &mut Vec<Note>) {
        let until = used.life.map_or_else(
            || "for a time that it does not tell".to_owned(),
            |life| format!("until {} ({} s)", life.expires, life.left(now)),
        );
        notes.push(Note::Renewal(format!(
            "{}: access token renewed, lives {until}, jti {}",
            self.id(),
            used.token_id
        )));
        self.seen.used = Some(used);
        self.served = true;
        self.confirmed = now.into();
        if let Some(life) = self.ended(now) {
            notes.extend(self.clock_is_wrong(life, now));
            return;
        }
        let by_nature = |less: &Less| less.is_by_nature(self.life());
        match less {
            Some(less) if !by_nature(less) => {
                let kind = less.answer.kind;
                let reason = Reason {
                    cause: format!("{kind:?}"),
                    why: format!(
                        "it got a cached access token that lives {until}, since {}",
                        less.answer.text
                    ),
                    advice: kind.advice(),
                };
                notes.extend(self.failed(patience(kind), reason, now));
            }
            _ => self.well(now, notes),
        }
    }

    /// The life of the token in place, if it has ended by this host's clock.
    fn ended(&self, now: Timestamp) -> Option<Life> {
        self.life().filter(|life| life.left(now) == 0)
    }

    /// Vault gives no token that has ended: it is this host that is wrong.
    fn clock_is_wrong(&mut self, life: Life, now: Timestamp) -> Option<Note> {
        let reason = Reason {
            cause: "clock".to_owned(),
            why: format!(
                "the newest access token that Vault gives ended at {} by this host's clock; it is \
                 in place, for other hosts may see it differently",
                life.expires
            ),
            advice: "check this host's clock",
        };
        self.failed(Patience::Person, reason, now)
    }

    fn well(&mut self, now: Timestamp, notes: &mut Vec<Note>) {
        self.failures = 0;
        self.retry_at = None;
        let before = self.condition.state;
        self.condition.become_(State::Fresh, Reason::default(), now);
        let until = self.life().map_or_else(String::new, |life| {
            format!(", it lives until {} ({} s)", life.expires, life.left(now))
        });
        let id = self.id();
        match before {
            State::Renewing => notes.push(Note::Info(format!(
                "{id}: the access token is in place{until}"
            ))),
            State::Degraded | State::Dead => notes.push(Note::Info(format!(
                "{id}: the access token is renewed again{until}"
            ))),
            State::Fresh | State::Ignored => {}
        }
    }

    fn refused(&mut self, error: &SourceError, now: Timestamp) -> Option<Note> {
        let reason = Reason {
            cause: format!("{:?}", error.kind),
            why: error.text.clone(),
            advice: error.kind.advice(),
        };
        match Verdict::of(error.kind) {
            Verdict::Down | Verdict::Busy => {
                // The host's rest decides when it goes on, and the host has the line in the log.
                self.retry_at = None;
                let note = self.become_(State::Degraded, reason, now);
                note.map(|note| Note::Debug(note.text().to_owned()))
            }
            _ => self.failed(patience(error.kind), reason, now),
        }
    }

    fn failed(&mut self, patience: Patience, reason: Reason, now: Timestamp) -> Option<Note> {
        self.wait(patience, now);
        self.become_(State::Degraded, reason, now)
    }

    fn wait(&mut self, patience: Patience, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let left = self.life().map_or(0, |life| life.left(now));
        let wait = schedule::retry_delay(patience, self.failures, self.spread, left);
        self.retry_at = Some(schedule::after(now, wait));
    }
}

/// How long a sort of failure is waited for.
fn patience(kind: ErrorKind) -> Patience {
    match kind.action() {
        Action::Onboard | Action::FixPolicy | Action::FixConfiguration => Patience::Person,
        Action::NewToken => Patience::Dead,
        _ => Patience::Transient,
    }
}
