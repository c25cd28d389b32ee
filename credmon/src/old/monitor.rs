//! All credentials together: takes in what a look found, decides what is renewed now, and takes in
//! what came of it.
//!
//! No file, network, clock or log is touched here: the time is passed in, and what is worth a line
//! in the log is returned. Always true: a credential has at most one renewal under way; a plan
//! never asks more of a host than [`Hosts`] allows; what is waited for by jobs and users goes
//! first, then what ends first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::old::agenda::{Agenda, Urgency};
use crate::old::directory::{Found, Seen};
use crate::old::folders::Folders;
use crate::old::hosts::{Hosts, Said, Verdict};
use crate::old::record::{InCommon, Record};
use crate::old::renewal::{Ended, Outcome, Task};
use crate::old::rules::Rules;
use crate::old::second::Second;
use crate::old::state::{Note, State};
use crate::old::status::CredentialStatus;
use crate::old::table::{Slot, Table};
use crate::old::top_file::Lane;

/// So many credentials that are due and wait for room are a rush: after a start, or an outage.
const MANY: usize = 32;

/// How many credentials are in which state.
pub type Counts = BTreeMap<State, usize>;

/// All credentials.
#[derive(Debug, Default)]
pub struct Monitor {
    records: Table<Record>,
    hosts: Hosts,
    agenda: Agenda,
    /// Issuers of which it was said that their tokens live less than the configured minimum.
    short_lived: BTreeSet<Arc<Lane>>,
    oddities: BTreeMap<String, String>,
    in_common: InCommon,
}

impl Monitor {
    /// What the last look found in an account's folder, in the order of the names.
    #[must_use]
    pub fn known(&self, user: &str) -> Vec<Seen> {
        let records = self.records.of(user).map(|(_, record)| record);
        let there = records.filter(|record| !record.has_left());
        there.map(|record| record.seen().clone()).collect()
    }

    /// Takes in what a look at an account's folder found.
    pub fn absorb(
        &mut self,
        user: &Arc<str>,
        found: Found,
        rules: &Rules,
        now: Timestamp,
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut there = Vec::new();
        for seen in found.credentials {
            let slot = self.records.find((seen.id.user(), seen.id.service()));
            let slot = if let Some(slot) = slot {
                if let Some(record) = self.records.get_mut(slot) {
                    notes.extend(record.update(seen, rules, now));
                }
                slot
            } else {
                let (record, note) = Record::new(seen, rules, now);
                notes.extend(note);
                self.records.insert(record)
            };
            if let Some(record) = self.records.get_mut(slot) {
                record.share(user, &mut self.in_common);
                self.agenda.set(slot, record.due());
            }
            there.push(slot);
        }
        there.sort_unstable();
        let slots = self.records.of(user).map(|(slot, _)| slot);
        let gone: Vec<Slot> = slots
            .filter(|slot| there.binary_search(slot).is_err())
            .collect();
        for slot in gone {
            notes.extend(self.forget(slot));
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
        before.push(user.to_string());
        for name in before {
            self.oddities.remove(&name);
        }
        self.oddities.extend(found.oddities);
        notes
    }

    /// Forgets accounts that are gone. `accounts` are all that there are.
    pub fn keep(&mut self, accounts: &Folders) -> Vec<Note> {
        let is_gone = |record: &Record| !accounts.contains(record.seen().id.user());
        let gone: Vec<Slot> = (self.records.iter())
            .filter(|(_, record)| is_gone(record))
            .map(|(slot, _)| slot)
            .collect();
        self.oddities.retain(|name, _| {
            let user = name.split('/').next().unwrap_or(name);
            accounts.contains(user)
        });
        gone.into_iter()
            .filter_map(|slot| self.forget(slot))
            .collect()
    }

    /// Forgets what no credential needs any more.
    pub fn tidy(&mut self) {
        self.hosts.forget_idle();
        self.in_common.forget_unused();
    }

    /// Forgets a credential; one whose renewal is under way, at its end.
    fn forget(&mut self, slot: Slot) -> Option<Note> {
        let record = self.records.get_mut(slot)?;
        if record.is_under_way() {
            record.leave();
            return None;
        }
        self.agenda.set(slot, None);
        let record = self.records.remove(slot)?;
        Some(Note::Debug(format!("{}: it is gone", record.seen().id)))
    }

    /// Judges all anew, after the rules changed, and tries again what waits after a failure.
    pub fn judge_all(&mut self, rules: &Rules, now: Timestamp) -> Vec<Note> {
        self.hosts.wake_all();
        let mut notes = Vec::new();
        let slots: Vec<Slot> = self.records.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(record) = self.records.get_mut(slot) {
                record.retry_now(rules);
                notes.extend(record.judge(rules, now));
                self.agenda.set(slot, record.due());
            }
        }
        notes
    }

    /// Decides what is renewed now, and notes it as under way.
    ///
    /// While not all credentials are known yet only those go that are waited for: none that is still
    /// to be found can be more urgent, but a token that is found later may end earlier.
    #[must_use]
    pub fn plan(&mut self, rules: &Rules, now: Timestamp, all_known: bool) -> Vec<Task> {
        let order = |slot| self.records.get(slot)?.order();
        self.agenda.ripen(now, order);
        let mut tasks = Vec::new();
        let is_enough = |urgency: &Urgency| all_known || matches!(urgency, Urgency::WaitedFor(_));
        while let Some(slot) = (self.agenda).take(|lane| self.hosts.has_room(lane, now), is_enough)
        {
            let Some(record) = self.records.get_mut(slot) else {
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
        let due = self.agenda.next().map(Second::timestamp);
        earlier(due, self.hosts.next_end_of_rest(now))
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
        let slot = self.records.find((task.id.user(), task.id.service()));
        if let Some(slot) = slot
            && let Some(record) = self.records.get_mut(slot)
        {
            let has_left = record.has_left();
            notes.extend(record.report(task, outcome, rules, now));
            if let Some(life) = vault_life {
                record.learn(task, life);
            }
            record.share_grant(&mut self.in_common);
            self.agenda.set(slot, record.due());
            if has_left {
                notes.extend(self.forget(slot));
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
        for (_, record) in self.records.iter() {
            *counts.entry(record.condition().state).or_default() += 1;
        }
        counts
    }

    /// All credentials, for reports, in the order of their names.
    pub fn credentials(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = CredentialStatus<Cow<'_, str>>> {
        let trouble = |host: &str| self.hosts.trouble(host);
        let records = self.records.iter();
        records.map(move |(_, record)| record.status(trouble, now))
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
        let is_good =
            |record: &Record| matches!(record.condition().state, State::Fresh | State::Ignored);
        self.records.iter().all(|(_, record)| is_good(record))
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
