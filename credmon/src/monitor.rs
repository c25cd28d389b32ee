//! All credentials together: takes in what a look found, decides what is renewed now, and takes in
//! what came of it.
//!
//! No file, network, clock or log is touched here: the time is passed in, and what is worth a line
//! in the log is returned. Always true: a credential has at most one renewal under way; a plan
//! never asks more of a host than [`Hosts`] allows; what is waited for by jobs and users goes
//! first, then what ends first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use jiff::Timestamp;

use crate::agenda::{Agenda, Urgency};
use crate::directory::{Found, Seen};
use crate::folders::Folders;
use crate::hosts::{Hosts, Said, Verdict};
use crate::record::Record;
use crate::renewal::{Ended, Outcome, Task};
use crate::rules::Rules;
use crate::service_name::CredentialId;
use crate::sharing::Words;
use crate::state::{Note, State};
use crate::status::CredentialStatus;
use crate::top_file::Lane;

/// So many credentials that are due and wait for room are a rush: after a start, or an outage.
const MANY: usize = 32;

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
    words: Words,
}

impl Monitor {
    /// What the last look found in an account's folder, in the order of the names.
    #[must_use]
    pub fn known(&self, user: &str) -> Vec<Seen> {
        let records = self.of_account(user).filter_map(|id| self.records.get(id));
        let there = records.filter(|record| !record.has_left());
        there.map(|record| record.seen().clone()).collect()
    }

    /// Takes in what a look at an account's folder found.
    pub fn absorb(&mut self, user: &str, found: Found, rules: &Rules, now: Timestamp) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut gone: BTreeSet<CredentialId> = self.of_account(user).cloned().collect();
        for mut seen in found.credentials {
            seen.share(&mut self.words);
            let id = seen.id.clone();
            let entry = if let Some(record) = self.records.get_mut(&id) {
                gone.remove(&id);
                notes.extend(record.update(seen, rules, now));
                record.entry()
            } else {
                let (record, note) = Record::new(seen, rules, now);
                notes.extend(note);
                let entry = record.entry();
                self.records.insert(id.clone(), record);
                entry
            };
            self.agenda.set(&id, entry);
        }
        for id in gone {
            notes.extend(self.forget(&id));
        }
        for (name, why) in &found.oddities {
            if self.oddities.get(name) != Some(why) {
                notes.push(Note::Warning(format!("{name} is left alone: {why}")));
            }
        }
        let below = format!("{user}/");
        let from = self.oddities.range(below.clone()..).map(|(name, _)| name);
        let mut before: Vec<String> = from
            .take_while(|name| name.starts_with(&below))
            .cloned()
            .collect();
        before.push(user.to_owned());
        for name in before {
            self.oddities.remove(&name);
        }
        self.oddities.extend(found.oddities);
        notes
    }

    /// Forgets accounts that are gone. `accounts` are all that there are.
    pub fn keep(&mut self, accounts: &Folders) -> Vec<Note> {
        let stays = |id: &CredentialId| accounts.contains(id.user());
        let ids = self.records.keys();
        let gone: Vec<CredentialId> = ids.filter(|id| !stays(id)).cloned().collect();
        self.oddities.retain(|name, _| {
            let user = name.split('/').next().unwrap_or(name);
            accounts.contains(user)
        });
        gone.iter().filter_map(|id| self.forget(id)).collect()
    }

    /// Forgets what no credential needs any more.
    pub fn tidy(&mut self) {
        self.hosts.forget_idle();
        self.words.forget_unused();
    }

    /// Forgets a credential; one whose renewal is under way, at its end.
    fn forget(&mut self, id: &CredentialId) -> Option<Note> {
        let record = self.records.get_mut(id)?;
        if record.is_under_way() {
            record.leave();
            return None;
        }
        self.agenda.set(id, None);
        self.records.remove(id);
        Some(Note::Debug(format!("{id}: it is gone")))
    }

    /// The credentials of an account.
    fn of_account(&self, user: &str) -> impl Iterator<Item = &CredentialId> {
        let first = format!("{user}/");
        let from = (Bound::Included(first.as_str()), Bound::Unbounded);
        let ids = self.records.range::<str, _>(from).map(|(id, _)| id);
        ids.take_while(move |id| id.user() == user)
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
    ///
    /// While not all credentials are known yet only those go that are waited for: none that is still
    /// to be found can be more urgent, but a token that is found later may end earlier.
    #[must_use]
    pub fn plan(&mut self, rules: &Rules, now: Timestamp, all_known: bool) -> Vec<Task> {
        self.agenda.ripen(now);
        let mut tasks = Vec::new();
        let is_enough = |urgency: &Urgency| all_known || matches!(urgency, Urgency::WaitedFor(_));
        while let Some(id) = (self.agenda).take(|lane| self.hosts.has_room(lane, now), is_enough) {
            let Some(record) = self.records.get_mut(&id) else {
                continue;
            };
            if let Some(mut task) = record.task(rules, now) {
                // With many waiting for their access token, the vault token's life is asked for
                // at the next renewal.
                task.look_up &= all_known && self.agenda.queued() < MANY;
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
        ended: Ended,
        rules: &Rules,
        now: Timestamp,
    ) -> Vec<Note> {
        let Ended {
            outcome,
            vault_life,
        } = ended;
        let (verdict, said) = match &outcome {
            Outcome::Renewed { .. } | Outcome::Kept | Outcome::Dead(_) => {
                (Verdict::Answers, Said::default())
            }
            Outcome::Refused(error) => {
                let said = Said {
                    text: &error.text,
                    retry_after: error.retry_after,
                };
                (Verdict::of(error.kind), said)
            }
            Outcome::TopChanged
            | Outcome::Vanished
            | Outcome::BadTop(_)
            | Outcome::NotWritten(_) => (Verdict::Unknown, Said::default()),
        };
        let mut notes: Vec<Note> = self
            .hosts
            .end(&task.lane, verdict, said, &rules.here, now)
            .into_iter()
            .collect();
        notes.extend(self.short_lived(task, &outcome, rules));
        if let Some(record) = self.records.get_mut(&task.id) {
            notes.extend(record.report(task, outcome, rules, now));
            if let Some(life) = vault_life {
                record.learn(task, life);
            }
            record.share(&mut self.words);
            self.agenda.set(&task.id, record.entry());
            if record.has_left() {
                notes.extend(self.forget(&task.id));
            }
        }
        notes
    }

    /// Says once that an issuer's tokens live less than the configuration asks for.
    fn short_lived(&mut self, task: &Task, outcome: &Outcome, rules: &Rules) -> Option<Note> {
        let Outcome::Renewed {
            used,
            less: Some(less),
            ..
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

    /// All credentials, for reports, in the order of their names.
    pub fn credentials(&self, now: Timestamp) -> impl Iterator<Item = CredentialStatus> {
        let trouble = |host: &str| self.hosts.trouble(host);
        self.records
            .values()
            .map(move |record| record.status(trouble, now))
    }

    /// How many credentials there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// The hosts, for reports.
    #[must_use]
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
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
