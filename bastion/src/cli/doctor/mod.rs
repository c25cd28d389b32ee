//! Checks of everything that deliveries depend on, step by step, with advice: this host, Vault, and for each account its
//! keytab, logins, tokens, credds and credmons.
//!
//! Always true: nothing is pushed, stored or changed; logins made here are revoked here; a step that cannot be tried
//! because an earlier one failed is reported as such, and hides no other step.

mod account;
mod host;
mod schedds;
#[cfg(test)]
mod tests;
mod text;
mod vault;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::engine::attempt::Parts;
use crate::model::delivery::{Delivery, Selection};
use crate::model::duration;
use crate::model::moment::until;
use crate::schedd::Transport;
use crate::vault::Vault;

/// Accounts that are examined at a time.
const AT_A_TIME: usize = 8;

/// Results of all checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// This host first, then Vault, then accounts in the order of their names.
    pub sections: Vec<Section>,
}

/// Checks of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Subject.
    pub title: String,
    /// Checks, each after those that it depends on.
    pub steps: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name, in a word or two.
    pub what: String,
    /// Result.
    pub verdict: Verdict,
    /// Observation, and what to do.
    pub words: String,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but needs attention.
    Warning,
    /// It does not work.
    Wrong,
    /// It could not be tried, since an earlier step failed.
    NotTried,
}

impl Examination {
    /// Returns true when nothing is wrong; warnings do not count.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.sections.iter().all(Section::is_good)
    }
}

impl Section {
    fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            steps: Vec::new(),
        }
    }

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
}

/// Checks everything that the selected deliveries depend on. Calls `show` with each section as soon as it is known, in
/// their order.
///
/// # Errors
/// The selection contains an unknown name: the message for the person.
pub async fn examine<V: Vault, T: Transport>(
    config: &Config,
    parts: &Arc<Parts<V, T>>,
    selection: &Selection,
    mut show: impl FnMut(&Section),
) -> Result<Examination, String> {
    let mut sections = Vec::new();
    let mut done = |section: Section| {
        show(&section);
        sections.push(section);
    };
    let (schedds, deliveries) = schedds::section(config, parts).await;
    let ids: Vec<_> = deliveries.iter().map(|delivery| &delivery.id).collect();
    // While schedds cannot be found, a name may belong to one of them.
    if schedds.is_good() {
        selection.check(&ids)?;
    }
    let meant: Vec<Arc<Delivery>> = deliveries
        .iter()
        .filter(|delivery| selection.matches(&delivery.id))
        .cloned()
        .collect();
    done(host::section(config, &meant).await);
    done(vault::section(config, parts.clock.now()).await);
    if !config.searches.is_empty() {
        done(schedds);
    }
    for section in accounts(parts, &meant).await {
        done(section);
    }
    Ok(Examination { sections })
}

/// Checks accounts, which are independent of each other: some at a time.
async fn accounts<V: Vault, T: Transport>(
    parts: &Arc<Parts<V, T>>,
    deliveries: &[Arc<Delivery>],
) -> Vec<Section> {
    let mut waiting: BTreeMap<String, Vec<Arc<Delivery>>> = BTreeMap::new();
    for delivery in deliveries {
        let of_account = waiting.entry(delivery.id.account.clone()).or_default();
        of_account.push(Arc::clone(delivery));
    }
    let mut running = JoinSet::new();
    let mut owners = HashMap::new();
    let mut known = BTreeMap::new();
    loop {
        while running.len() < AT_A_TIME
            && let Some((account, deliveries)) = waiting.pop_first()
        {
            let parts = Arc::clone(parts);
            let work = async move { account::section(&parts, &deliveries).await };
            owners.insert(running.spawn(work).id(), account);
        }
        let (task, section) = match running.join_next_with_id().await {
            Some(Ok((task, section))) => (task, Some(section)),
            Some(Err(error)) => (error.id(), None),
            None => break,
        };
        if let Some(account) = owners.remove(&task) {
            let section = section.unwrap_or_else(|| panicked(&account));
            known.insert(account, section);
        }
    }
    parts.sessions.close_all().await;
    known.into_values().collect()
}

/// Section of an account whose check panicked.
fn panicked(account: &str) -> Section {
    Section {
        title: format!("account {account}"),
        steps: vec![Check {
            what: "examination".to_owned(),
            verdict: Verdict::Wrong,
            words: "it was interrupted by a fault of token-bastion, please report it".to_owned(),
        }],
    }
}

/// Formats the time between two moments; zero when `to` is before `from`.
fn span(from: Timestamp, to: Timestamp) -> String {
    duration::short(until(from, to))
}
