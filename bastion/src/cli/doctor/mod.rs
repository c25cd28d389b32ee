//! `doctor`: checks of everything that deliveries depend on, step by step, with advice: this host, Vault, and for each
//! account its keytab, logins, tokens, credds and credmons.
//!
//! Always true: nothing is pushed, stored or changed; logins made here are revoked here, also at Ctrl-C; a step that cannot be tried
//! because an earlier one failed is reported as such, and hides no other step.

mod account;
mod host;
mod schedds;
mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

use console::Term;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::table::{explained, width, wrapped};
use super::{CommandError, Done, executor, print, print_json, until_ctrl_c};
use crate::cli::arguments::SelectionArguments;
use crate::config::Config;
use crate::engine::attempt::Parts;
use crate::model::delivery::Delivery;
use crate::model::duration;
use crate::model::moment::until;
use crate::model::problem::Problem;
use crate::schedd::Transport;
use crate::vault::Vault;

/// Words for a step that Ctrl-C kept from being tried.
const STOPPED: &str = "stopped before its end";
/// Accounts that are examined at a time.
const AT_A_TIME: usize = 8;
/// Collectors, or schedds of one account, that are asked at a time: those that do not answer are waited for together.
const ASKED_AT_A_TIME: usize = 16;

/// Checks of one subject.
#[derive(Debug, Serialize)]
struct Section {
    /// Subject.
    title: String,
    /// Checks, each after those that it depends on.
    steps: Vec<Check>,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    /// Name, in a word or two.
    what: String,
    /// Result.
    verdict: Verdict,
    /// Observation, and what to do.
    words: String,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but needs attention.
    Warning,
    /// It does not work.
    Wrong,
    /// It could not be tried, since an earlier step failed.
    NotTried,
}

/// Checks everything that the selected deliveries depend on: this host first, then Vault, then accounts in the order of
/// their names. Prints each section as soon as it is known.
pub(crate) async fn doctor(
    config: &Config,
    arguments: &SelectionArguments,
) -> Result<Done, CommandError> {
    let parts = executor::read_only(config)?;
    let selection = arguments.selection();
    let (schedds, mut deliveries) = schedds::section(config, &parts).await;
    // While schedds cannot be found, a name may belong to one of them.
    if schedds.is_good() {
        let ids: Vec<_> = deliveries.iter().map(|delivery| &delivery.id).collect();
        selection
            .check(&ids)
            .map_err(|unknown| CommandError::wrong([unknown]))?;
    }
    deliveries.retain(|delivery| selection.matches(&delivery.id));
    let (json, width) = (arguments.output.json, width(&Term::stdout()));
    let (mut sections, mut printed) = (Vec::new(), Ok(()));
    let mut add = |section: Section| {
        if !json && printed.is_ok() {
            printed = print(&section.text(width));
        }
        sections.push(section);
    };
    add(host::section(config, &deliveries).await);
    add(vault::section(config, parts.clock.now()).await);
    if !config.searches.is_empty() {
        add(schedds);
    }
    let stop = CancellationToken::new();
    let examined = async {
        for account in accounts(&parts, &deliveries, &stop) {
            add(account.await);
        }
    };
    until_ctrl_c(&stop, examined).await;
    parts.sessions.close_all().await;
    printed?;
    if json {
        print_json(&json!({"sections": sections}))?;
    } else {
        print(&sum(&sections))?;
    }
    Ok(Done::when(sections.iter().all(Section::is_good)))
}

/// Checks of accounts, which are independent of each other: some at a time, until `stop` is cancelled.
fn accounts<V: Vault, T: Transport>(
    parts: &Arc<Parts<V, T>>,
    deliveries: &[Arc<Delivery>],
    stop: &CancellationToken,
) -> Vec<impl Future<Output = Section> + use<V, T>> {
    let mut by_account: BTreeMap<String, Vec<Arc<Delivery>>> = BTreeMap::new();
    for delivery in deliveries {
        let of_account = by_account.entry(delivery.id.account.clone()).or_default();
        of_account.push(Arc::clone(delivery));
    }
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    let examine = |(account, deliveries): (String, Vec<_>)| {
        let (parts, slots, stop) = (Arc::clone(parts), Arc::clone(&slots), stop.clone());
        let work = async move {
            let _slot = slots.acquire().await;
            account::section(&parts, &deliveries, &stop).await
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        async move { task.await.unwrap_or_else(|_| panicked(&account)) }
    };
    by_account.into_iter().map(examine).collect()
}

/// Section of an account whose check panicked.
fn panicked(account: &str) -> Section {
    let mut section = Section::new(format!("account {account}"));
    let message = "it was interrupted by a fault of token-bastion, please report it";
    section.add("examination", Verdict::Wrong, message);
    section
}

impl Section {
    fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            steps: Vec::new(),
        }
    }

    /// Returns true when nothing is wrong; warnings do not count.
    fn is_good(&self) -> bool {
        let bad = |step: &Check| matches!(step.verdict, Verdict::Wrong | Verdict::NotTried);
        !self.steps.iter().any(bad)
    }

    fn add(&mut self, what: impl Into<String>, verdict: Verdict, words: impl Into<String>) {
        self.steps.push(Check {
            what: what.into(),
            verdict,
            words: words.into(),
        });
    }

    /// Adds a check that failed, unless it gave a result, which is returned.
    fn take<A>(&mut self, what: String, result: Result<A, Problem>) -> Option<A> {
        result
            .map_err(|problem| self.add(what, Verdict::Wrong, problem.message))
            .ok()
    }

    /// Formats title and checks, with a blank line after them.
    fn text(&self, width: Option<u16>) -> String {
        let rows = self.steps.iter().map(|step| {
            let mark = step.verdict.mark().to_owned();
            [mark, step.what.clone(), step.words.clone()]
        });
        wrapped(&self.title, width) + &explained(rows, width) + "\n"
    }
}

/// Formats the last line: the number of checks by result.
fn sum(sections: &[Section]) -> String {
    let steps = || sections.iter().flat_map(|section| &section.steps);
    let count = |verdict| steps().filter(|step| step.verdict == verdict).count();
    let mut text = format!("{} steps: {} ok", steps().count(), count(Verdict::Ok));
    for (verdict, words) in [
        (Verdict::Warning, "with a warning"),
        (Verdict::Wrong, "wrong"),
        (Verdict::NotTried, "not tried"),
    ] {
        let count = count(verdict);
        if count > 0 {
            text = format!("{text}, {count} {words}");
        }
    }
    text + "\n"
}

impl Verdict {
    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "WRONG",
            Self::NotTried => "not tried",
        }
    }
}

/// Formats the time between two moments; zero when `to` is before `from`.
fn span(from: Timestamp, to: Timestamp) -> String {
    duration::short(until(from, to))
}

#[cfg(test)]
mod tests;
