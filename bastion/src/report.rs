//! What is known of every delivery, as a table for people and as JSON for scripts.
//!
//! Problems are grouped: one line for one cause, with the number of deliveries that suffer from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::duration;
use crate::delivery::{Delivery, DeliveryId, Selection};
use crate::grants::GrantLine;
use crate::jobs;
use crate::moment::until;
use crate::plan::outlook::{Planned, Reason, What};
use crate::plan::{Basis, Failure, State};
use crate::problem::{Cause, Kind, Remedy};
use crate::reconcile::Entry;

/// The whole report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When it was so.
    pub at: Timestamp,
    /// Every delivery, in the order of names.
    pub deliveries: Vec<Line>,
    /// Every problem, with whom it concerns.
    pub problems: Vec<Group>,
    /// What is known of every refresh token.
    pub grants: Vec<GrantLine>,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub problem: Option<Trouble>,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
    /// What is done next.
    pub next_step: What,
    /// Why.
    pub next_why: Reason,
    /// When; `None` when nothing is until a person asks for it.
    pub next_at: Option<Timestamp>,
    /// When a try last ended well.
    pub last_success: Option<Timestamp>,
    /// A try runs now.
    pub working: bool,
    /// A person asked for a new token, and there is none yet.
    pub asked: bool,
    /// How many tries have ended since the service started.
    pub tries: u64,
}

/// What is wrong with a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What it is about.
    pub cause: Cause,
    /// What sort it is of.
    pub kind: Kind,
    /// Who must act.
    pub remedy: Remedy,
    /// What happened and what to do.
    pub message: String,
    /// Since when it fails.
    pub since: Timestamp,
    /// How many tries failed since then.
    pub attempts: u32,
}

/// What is wanted of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub transport: String,
    /// Life of its vault tokens, in seconds.
    pub lifetime_seconds: u64,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

impl Group {
    /// Whether it is about finding schedds, not about deliveries.
    fn is_search(&self) -> bool {
        matches!(self.cause, Cause::Group(_))
    }
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
            transport: delivery.target.transport().to_owned(),
            lifetime_seconds: delivery.lifetime.as_secs(),
        }
    }

    /// Which delivery it is.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        DeliveryId {
            account: self.account.clone(),
            service: self.service.clone(),
            schedd: self.schedd.clone(),
        }
    }
}

impl Trouble {
    fn new(failure: &Failure) -> Self {
        let problem = &failure.problem;
        Self {
            cause: problem.cause.clone(),
            kind: problem.kind,
            remedy: problem.kind.remedy(),
            message: problem.message.clone(),
            since: failure.since,
            attempts: failure.attempts,
        }
    }
}

impl Line {
    fn new(entry: &Entry, planned: &Planned, now: Timestamp) -> Self {
        let failure = entry.record.failure.as_ref();
        let tokens = &entry.tokens;
        let others = tokens.former.iter().chain(&tokens.candidate);
        let others = others.map(|held| &held.accessor);
        let others = others.chain(tokens.lost.iter().map(|named| &named.accessor));
        let seen = entry.seen();
        let expires = entry.record.life.map(|life| life.expires);
        Self {
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
                entry.record.looked,
                entry.record.state() == State::Good,
                now,
            ),
            jobs_safe_until: jobs::safe_until(&seen),
            access_token_expires: entry.access.expires,
            jti: entry.access.jti.clone(),
            problem: failure.map(Trouble::new),
            next_try: failure.map(|failure| failure.next_try),
            next_step: planned.step,
            next_why: planned.why,
            next_at: (planned.at < Timestamp::MAX).then_some(planned.at),
            last_success: entry.succeeded,
            working: entry.running,
            asked: entry.record.asked,
            tries: entry.tries,
        }
    }

    /// Whether a try has ended since there had been `tries`, and whatever was asked for is done or
    /// failed.
    #[must_use]
    pub fn is_settled_since(&self, tries: u64) -> bool {
        self.tries > tries && !self.working && (!self.asked || self.state == State::Failed)
    }
}

impl Report {
    pub(crate) fn new<'a>(
        entries: impl Iterator<Item = (&'a Entry, Planned)>,
        searches: Vec<Group>,
        now: Timestamp,
    ) -> Self {
        let lines = entries.map(|(entry, planned)| Line::new(entry, &planned, now));
        let mut report = Self::of(lines.collect(), now);
        report.problems.splice(0..0, searches);
        report
    }

    /// These deliveries, and their problems.
    pub(crate) fn of(deliveries: Vec<Line>, at: Timestamp) -> Self {
        let mut groups: BTreeMap<(&Cause, Kind), Group> = BTreeMap::new();
        for trouble in deliveries.iter().filter_map(|line| line.problem.as_ref()) {
            let group = groups
                .entry((&trouble.cause, trouble.kind))
                .or_insert_with(|| Group {
                    cause: trouble.cause.clone(),
                    kind: trouble.kind,
                    remedy: trouble.remedy,
                    message: trouble.message.clone(),
                    deliveries: 0,
                });
            group.deliveries += 1;
        }
        let problems = groups.into_values().collect();
        Self {
            at,
            deliveries,
            problems,
            grants: Vec::new(),
        }
    }

    /// The deliveries that are meant, and their problems.
    ///
    /// # Errors
    /// A name that no delivery has, or a combination of names.
    pub fn only(&self, selection: &Selection) -> Result<Self, String> {
        let ids: Vec<DeliveryId> = self.deliveries.iter().map(|l| l.wanted.id()).collect();
        selection.check(&ids.iter().collect::<Vec<_>>())?;
        let lines: Vec<Line> = self
            .deliveries
            .iter()
            .filter(|line| selection.holds(&line.wanted.id()))
            .cloned()
            .collect();
        let mut report = Self::of(lines, self.at);
        // A search concerns whoever is delivered to its schedds, which may not be known.
        let searches = self.problems.iter().filter(|group| group.is_search());
        report.problems.splice(0..0, searches.cloned());
        let meant = |grant: &&GrantLine| {
            let of = |line: &Line| {
                line.wanted.account == grant.account && line.wanted.service == grant.service
            };
            report.deliveries.iter().any(of)
        };
        report.grants = self.grants.iter().filter(meant).cloned().collect();
        Ok(report)
    }

    /// Whether every delivery is good whose schedd is there, and every search found its schedds.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let good = |line: &Line| matches!(line.state, State::Good | State::Gone);
        self.deliveries.iter().all(good) && !self.problems.iter().any(Group::is_search)
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
            let remedy = line.problem.as_ref().map(|trouble| trouble.remedy.words());
            [
                line.wanted.account.clone(),
                line.wanted.service.clone(),
                line.wanted.schedd.clone(),
                line.state.word().to_owned(),
                left.unwrap_or_else(|| "-".to_owned()),
                remedy.unwrap_or_default().to_owned(),
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

    /// One line for each grant that may run out soon.
    #[must_use]
    pub fn grant_warnings(&self) -> Vec<&str> {
        let messages = self
            .grants
            .iter()
            .filter_map(|line| line.message.as_deref());
        messages.collect()
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
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A good delivery of `cms` for an account at `ap1`.
    pub(crate) fn good(account: &str) -> Line {
        let target = crate::delivery::Target::Directory("/creds".into());
        let delivery = crate::fixtures::delivery(account, "cms", "ap1", target);
        Line {
            state: State::Good,
            vault_token_expires: Some(at(604_800)),
            vault_token_seconds_left: Some(604_800),
            accessor: Some("accessor".to_owned()),
            access_token_expires: Some(at(1200)),
            last_success: Some(at(0)),
            tries: 1,
            jobs_have_token: true,
            jobs_safe_until: Some(at(1200)),
            ..fresh(delivery)
        }
    }

    /// Nothing was done for it yet.
    fn fresh(delivery: Delivery) -> Line {
        let planned = Planned {
            id: delivery.id.clone(),
            step: What::Look,
            why: Reason::Start,
            at: at(600),
        };
        Line::new(&Entry::new(Arc::new(delivery), None), &planned, at(0))
    }

    /// One that failed, and is tried again after a minute.
    pub(crate) fn failed(account: &str, cause: Cause, kind: Kind) -> Line {
        Line {
            state: State::Failed,
            problem: Some(Trouble {
                cause,
                kind,
                remedy: kind.remedy(),
                message: "it went wrong; put it right".to_owned(),
                since: at(0),
                attempts: 3,
            }),
            next_try: Some(at(60)),
            ..good(account)
        }
    }

    #[test]
    fn a_selection_that_fits_nothing_is_answered_with_the_nearest_name() {
        let report = Report::of(vec![good("cmsprod"), good("crabtw")], at(0));
        let selection = |account: &str, service: Option<&str>| Selection {
            account: Some(account.to_owned()),
            service: service.map(str::to_owned),
            schedd: None,
        };
        assert_eq!(
            report.only(&selection("cmsprot", None)).unwrap_err(),
            "no delivery has account \"cmsprot\"; did you mean \"cmsprod\"?"
        );
        assert_eq!(
            report.only(&selection("nobody", None)).unwrap_err(),
            "no delivery has account \"nobody\"; see `token-bastion status` for those that there are"
        );
        let other = crate::fixtures::delivery(
            "x",
            "cms_crab",
            "ap2",
            crate::delivery::Target::Directory("/creds".into()),
        );
        let other = fresh(other);
        let two = Report::of(vec![good("cmsprod"), other], at(0));
        assert_eq!(
            two.only(&selection("cmsprod", Some("cms_crab")))
                .unwrap_err(),
            "there are such names, but no delivery has all of them"
        );
        let one = report.only(&selection("crabtw", None)).unwrap();
        assert_eq!(one.deliveries.len(), 1);
    }

    #[test]
    fn a_report_is_read_back_from_its_json() {
        let cause = Cause::Vault("https://v".to_owned());
        let report = Report::of(vec![good("a"), failed("b", cause, Kind::VaultDown)], at(5));
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

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
