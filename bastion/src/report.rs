//! What is known of every delivery, as a table for people and as JSON for scripts.
//!
//! Problems are grouped: one line for one cause, with the number of deliveries that suffer from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::duration;
use crate::delivery::Delivery;
use crate::jobs;
use crate::moment::until;
use crate::plan::outlook::{Planned, Reason, What};
use crate::plan::{Basis, State};
use crate::problem::{Cause, Kind, Problem, Remedy};
use crate::reconcile::Entry;

/// The whole report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Every delivery, in the order of names.
    pub deliveries: Vec<Line>,
    /// Every problem, with whom it concerns.
    pub problems: Vec<Group>,
}

/// One delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What is wanted.
    #[serde(flatten)]
    pub wanted: Wanted,
    /// Where it stands.
    pub state: State,
    /// When the vault token at the schedd ends.
    pub vault_token_expires: Option<Timestamp>,
    /// Seconds until then.
    pub vault_token_seconds_left: Option<u64>,
    /// How that is known.
    pub life: Basis,
    /// Names that token to Vault's admins.
    pub accessor: Option<String>,
    /// Names others of this delivery that may still live: they will be revoked, or, being of before
    /// a restart, can be by Vault's admins alone.
    pub other_accessors: Vec<String>,
    /// Jobs there have a living access token.
    pub jobs_have_token: bool,
    /// Until then they surely have one if nothing more succeeds.
    pub jobs_safe_until: Option<Timestamp>,
    /// When the access token ends that was last read with it.
    pub access_token_expires: Option<Timestamp>,
    /// Its identifier.
    pub jti: Option<String>,
    /// Since when the collector does not know the schedd any more; nothing is pushed there.
    pub gone_since: Option<Timestamp>,
    /// Jobs of the account that the schedd holds for want of credentials; `None` when not known.
    pub held_jobs: Option<u64>,
    /// What is wrong, and what to do.
    pub problem: Option<String>,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
    /// What is done next.
    pub next_step: What,
    /// Why.
    pub next_why: Reason,
    /// When.
    pub next_at: Timestamp,
}

/// What is wanted of a delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Wanted {
    /// Account at the schedd.
    pub account: String,
    /// HTCondor's service name.
    pub service: String,
    /// Issuer at Vault.
    pub issuer: String,
    /// Role at Vault.
    pub role: String,
    /// Whose credential it is at Vault.
    pub credkey: String,
    /// Host of the credd, or name of the directory's group.
    pub schedd: String,
    /// `directory` or `condor`.
    pub transport: &'static str,
    /// Life of its vault tokens, in seconds.
    pub lifetime_seconds: u64,
}

/// One problem.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What it is about.
    pub cause: Cause,
    /// What sort it is of.
    pub kind: Kind,
    /// Who must act.
    pub remedy: Remedy,
    /// What happened and what to do.
    pub message: String,
    /// How many deliveries suffer from it.
    pub deliveries: usize,
}

impl Wanted {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        let credential = &delivery.credential;
        Self {
            account: delivery.id.account.clone(),
            service: delivery.id.service.clone(),
            issuer: credential.issuer.clone(),
            role: credential.role.clone(),
            credkey: credential.credkey.clone(),
            schedd: delivery.id.schedd.clone(),
            transport: delivery.target.transport(),
            lifetime_seconds: delivery.lifetime.as_secs(),
        }
    }
}

impl Report {
    pub(crate) fn new<'a>(
        entries: impl Iterator<Item = (&'a Entry, Planned)>,
        searches: Vec<Group>,
        now: Timestamp,
    ) -> Self {
        let mut deliveries = Vec::new();
        let mut groups: BTreeMap<(Cause, Kind), (String, usize)> = BTreeMap::new();
        for (entry, planned) in entries {
            let failure = entry.record.failure.as_ref();
            if let Some(Problem {
                cause,
                kind,
                message,
            }) = failure.map(|f| &f.problem)
            {
                let group = groups.entry((cause.clone(), *kind));
                group.or_insert_with(|| (message.clone(), 0)).1 += 1;
            }
            let tokens = &entry.tokens;
            let held = tokens.former.iter().chain(&tokens.candidate);
            let others = held.map(|held| &held.accessor);
            let others = others.chain(tokens.lost.iter().map(|named| &named.accessor));
            let (seen, record) = (entry.seen(), &entry.record);
            let expires = entry.record.life.map(|life| life.expires);
            deliveries.push(Line {
                wanted: Wanted::new(&entry.delivery),
                state: entry.state(),
                gone_since: entry.gone,
                held_jobs: entry.held_jobs,
                vault_token_expires: expires,
                vault_token_seconds_left: expires.map(|end| until(now, end).as_secs()),
                life: entry.record.basis,
                accessor: tokens.accessor().map(str::to_owned),
                other_accessors: others.cloned().collect(),
                jobs_have_token: jobs::have_token(
                    &seen,
                    record.looked,
                    record.state() == State::Good,
                    now,
                ),
                jobs_safe_until: jobs::safe_until(&seen),
                access_token_expires: entry.access.expires,
                jti: entry.access.jti.clone(),
                problem: failure.map(|failure| failure.problem.to_string()),
                next_try: failure.map(|failure| failure.next_try),
                next_step: planned.step,
                next_why: planned.why,
                next_at: planned.at,
            });
        }
        let problems = searches
            .into_iter()
            .chain(
                groups
                    .into_iter()
                    .map(|((cause, kind), (message, deliveries))| Group {
                        cause,
                        kind,
                        remedy: kind.remedy(),
                        message,
                        deliveries,
                    }),
            )
            .collect();
        Self {
            deliveries,
            problems,
        }
    }

    /// Whether every delivery is good whose schedd is there, and every search found its schedds.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let good = |line: &Line| matches!(line.state, State::Good | State::Gone);
        let found = |group: &Group| !matches!(group.cause, Cause::Group(_));
        self.deliveries.iter().all(good) && self.problems.iter().all(found)
    }

    /// Whether every delivery of an account is good.
    #[must_use]
    pub fn is_good_for(&self, account: &str) -> bool {
        self.deliveries
            .iter()
            .filter(|line| line.wanted.account == account)
            .all(|line| matches!(line.state, State::Good | State::Gone))
    }

    /// The table of deliveries.
    #[must_use]
    pub fn table(&self) -> String {
        let lines = self.deliveries.iter().map(|line| {
            let left = line.vault_token_seconds_left;
            let left = left.map(|s| duration::format(std::time::Duration::from_secs(s)));
            let kind = self.kind_of(line);
            [
                line.wanted.account.clone(),
                line.wanted.service.clone(),
                line.wanted.schedd.clone(),
                state_word(line.state).to_owned(),
                left.unwrap_or_else(|| "-".to_owned()),
                kind.unwrap_or_default(),
            ]
        });
        table(
            [
                "ACCOUNT",
                "SERVICE",
                "SCHEDD",
                "STATE",
                "LIFE LEFT",
                "TO DO",
            ],
            lines,
        )
    }

    fn kind_of(&self, line: &Line) -> Option<String> {
        let problem = line.problem.as_ref()?;
        let group = self
            .problems
            .iter()
            .find(|group| problem.starts_with(&format!("{}: ", group.cause)));
        group.map(|group| group.remedy.words().to_owned())
    }

    /// One line for each problem.
    #[must_use]
    pub fn problem_lines(&self) -> Vec<String> {
        let lines = self.problems.iter().map(|group| {
            let many = match group.deliveries {
                1 => String::new(),
                n => format!(" ({n} deliveries)"),
            };
            format!("{}{many}: {}", group.cause, group.message)
        });
        lines.collect()
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::New => "new",
        State::Pending => "pending",
        State::Good => "good",
        State::Failed => "failed",
        State::Gone => "gone",
    }
}

/// Columns as wide as their widest word, two blanks between, none at the end.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    lines: impl Iterator<Item = [String; N]>,
) -> String {
    let lines: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(lines)
        .collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, word) in widths.iter_mut().zip(line) {
            *width = (*width).max(word.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (width, word) in widths.iter().zip(line) {
            // Writing to a string cannot fail.
            let _ = write!(row, "{word:<width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_words() {
        let lines = [
            ["a".to_owned(), "longer".to_owned()],
            ["bcd".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["X", "Y"], lines.into_iter()),
            "X    Y\na    longer\nbcd\n"
        );
    }
}
