//! All credentials together: takes in what a look found, decides what is renewed now, and takes in
//! what came of it.
//!
//! No file, network, clock or log is touched here: the time is passed in, and what is worth a line
//! in the log is returned. Always true: a credential has at most one renewal under way; a plan
//! never asks more of a host than [`Hosts`] allows; what is waited for by jobs and users goes
//! first, then what ends first.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::agenda::Agenda;
use crate::directory::{Observation, Seen};
use crate::hosts::{Hosts, Verdict};
use crate::record::Record;
use crate::renewal::{Outcome, Task};
use crate::rules::Rules;
use crate::service_name::CredentialId;
use crate::state::{Note, State};
use crate::top_file::Lane;

/// How many credentials are in which state.
pub type Counts = BTreeMap<State, usize>;

/// All credentials.
#[derive(Debug, Default)]
pub struct Monitor {
    records: BTreeMap<CredentialId, Record>,
    hosts: Hosts,
    agenda: Agenda,
    /// Issuers of which it was said that their tokens live less than the configured minimum.
    short_lived: BTreeSet<Lane>,
    oddities: BTreeMap<String, String>,
}

impl Monitor {
    /// What the last look found of a credential.
    #[must_use]
    pub fn known(&self, id: &CredentialId) -> Option<&Seen> {
        self.records.get(id).map(Record::seen)
    }

    /// Takes in what a look found.
    pub fn absorb(&mut self, found: Observation, rules: &Rules, now: Timestamp) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut before = std::mem::take(&mut self.records);
        for seen in found.credentials {
            let id = seen.id.clone();
            if let Some(mut record) = before.remove(&id) {
                notes.extend(record.update(seen, rules, now));
                self.agenda.set(&id, record.entry());
                self.records.insert(id, record);
            } else {
                let (record, note) = Record::new(seen, rules, now);
                notes.extend(note);
                self.agenda.set(&id, record.entry());
                self.records.insert(id, record);
            }
        }
        for (id, record) in before {
            if record.is_under_way() {
                self.records.insert(id, record);
            } else {
                self.agenda.set(&id, None);
                notes.push(Note::Debug(format!("{id}: it is gone")));
            }
        }
        for (name, why) in &found.oddities {
            if self.oddities.get(name) != Some(why) {
                notes.push(Note::Warning(format!("{name} is left alone: {why}")));
            }
        }
        self.oddities = found.oddities;
        self.hosts.forget_idle();
        notes
    }

    /// Judges all anew, after the rules changed, and tries again what waits after a failure.
    pub fn judge_all(&mut self, rules: &Rules, now: Timestamp) -> Vec<Note> {
        self.hosts.wake_all();
        let mut notes = Vec::new();
        for (id, record) in &mut self.records {
            record.retry_now(rules);
            notes.extend(record.judge(rules, now));
            self.agenda.set(id, record.entry());
        }
        notes
    }

    /// Decides what is renewed now, and notes it as under way.
    #[must_use]
    pub fn plan(&mut self, rules: &Rules, now: Timestamp) -> Vec<Task> {
        self.agenda.ripen(now);
        let mut tasks = Vec::new();
        while let Some(id) = self.agenda.take(|lane| self.hosts.has_room(lane, now)) {
            let Some(record) = self.records.get_mut(&id) else {
                continue;
            };
            if let Some(task) = record.task(rules, now) {
                record.start();
                self.hosts.start(&task.lane);
                tasks.push(task);
            }
        }
        tasks
    }

    /// When the next decision is due, if nothing happens before. A host that is full needs none:
    /// the end of a request is one.
    #[must_use]
    pub fn next_decision(&self, now: Timestamp) -> Option<Timestamp> {
        earlier(self.agenda.next(), self.hosts.next_end_of_rest(now))
    }

    /// A renewal has ended.
    pub fn report(
        &mut self,
        task: &Task,
        outcome: Outcome,
        rules: &Rules,
        now: Timestamp,
    ) -> Vec<Note> {
        let (verdict, text) = match &outcome {
            Outcome::Renewed { .. } | Outcome::Kept | Outcome::Dead(_) | Outcome::Expired(_) => {
                (Verdict::Answers, "")
            }
            Outcome::Refused(error) => (Verdict::of(error.kind), error.text.as_str()),
            Outcome::TopChanged
            | Outcome::Vanished
            | Outcome::BadTop(_)
            | Outcome::NotWritten(_) => (Verdict::Unknown, ""),
        };
        let mut notes: Vec<Note> = self
            .hosts
            .end(&task.lane, verdict, text, &rules.here, now)
            .into_iter()
            .collect();
        notes.extend(self.short_lived(task, &outcome, rules));
        if let Some(record) = self.records.get_mut(&task.id) {
            notes.extend(record.report(task, outcome, rules, now));
            self.agenda.set(&task.id, record.entry());
        }
        notes
    }

    /// Says once that an issuer's tokens live less than the configuration asks for.
    fn short_lived(&mut self, task: &Task, outcome: &Outcome, rules: &Rules) -> Option<Note> {
        let Outcome::Renewed {
            used,
            less: Some(less),
        } = outcome
        else {
            return None;
        };
        let life = used.life?;
        if !less.is_by_nature(used.life) || !self.short_lived.insert(task.lane.clone()) {
            return None;
        }
        Some(Note::Warning(format!(
            "access tokens of {} at {} live {} s, less than CREDMON_OAUTH_TOKEN_MINIMUM ({} s) asks for; \
             they are renewed at a third of their life",
            task.lane.issuer,
            task.lane.host,
            life.length(),
            rules.limits.minimum
        )))
    }

    /// How many credentials are in which state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for record in self.records.values() {
            *counts.entry(record.condition().state).or_default() += 1;
        }
        counts
    }

    /// The credentials, for reports.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Whether every credential of ours is fresh.
    #[must_use]
    pub fn all_good(&self) -> bool {
        self.records
            .values()
            .all(|r| matches!(r.condition().state, State::Fresh | State::Ignored))
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;
