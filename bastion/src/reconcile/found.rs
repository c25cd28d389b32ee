//! Schedds that are found through collectors, and what is wanted at them.
//!
//! What holds: a schedd that is found gets its deliveries at once; one that is gone keeps them, and
//! nothing is tried there until it is back. A collector that does not answer, or names no schedd,
//! changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::Reconciler;
use super::aside::News;
use super::entry::Entry;
use crate::config::{Config, Search};
use crate::delivery::{Delivery, DeliveryId};
use crate::discovery::{Ad, Change, Known};
use crate::moment::after;
use crate::problem::Problem;
use crate::report::Group;
use crate::revoke::is_wanted;
use crate::transport::Transport;
use crate::vault::Vault;

/// A collector is asked this often.
const EVERY: Duration = Duration::from_mins(5);
/// Taken off that, a share that belongs to the group, so that many are not asked together.
const JITTER: Duration = Duration::from_secs(30);
/// First pause after a collector did not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// Salt of the group's share.
const SEARCH: u64 = 3;

/// All searches, and what is wanted besides.
#[derive(Default)]
pub(super) struct Searches {
    listed: Vec<Arc<Delivery>>,
    all: BTreeMap<String, Ongoing>,
}

/// One search.
struct Ongoing {
    search: Arc<Search>,
    known: Known,
    /// What is known was found by another expression, or elsewhere.
    outdated: bool,
    problem: Option<Problem>,
    failures: u32,
    next: Timestamp,
    running: bool,
}

/// What is wanted, and since when its schedd is gone.
type Wanted = BTreeMap<DeliveryId, (Arc<Delivery>, Option<Timestamp>)>;

impl Searches {
    /// Takes over what is configured; every collector is asked again.
    pub(super) fn configure(&mut self, config: &Config) {
        self.listed.clone_from(&config.deliveries);
        let mut old = std::mem::take(&mut self.all);
        for search in &config.searches {
            let before = old.remove(&search.group);
            let outdated = before.as_ref().is_some_and(|before| {
                before.outdated
                    || before.search.collector != search.collector
                    || before.search.constraint != search.constraint
            });
            let ongoing = Ongoing {
                search: Arc::new(search.clone()),
                known: before.map(|before| before.known).unwrap_or_default(),
                outdated,
                problem: None,
                failures: 0,
                next: Timestamp::MIN,
                running: false,
            };
            self.all.insert(search.group.clone(), ongoing);
        }
    }

    /// What is wanted: what is listed, and what was found.
    pub(super) fn wanted(&self) -> Wanted {
        let mut all = Wanted::new();
        for ongoing in self.all.values() {
            for (name, schedd) in &ongoing.known.0 {
                for delivery in ongoing.search.deliveries(name) {
                    all.insert(delivery.id.clone(), (delivery, schedd.gone_since()));
                }
            }
        }
        for delivery in &self.listed {
            all.insert(delivery.id.clone(), (Arc::clone(delivery), None));
        }
        all
    }

    /// Deliveries that are listed by name.
    pub(super) fn listed(&self) -> &[Arc<Delivery>] {
        &self.listed
    }

    /// Whether a delivery is configured.
    pub(super) fn is_wanted(&self, id: &DeliveryId) -> bool {
        is_wanted(&self.listed, self.searches(), id)
    }

    /// What schedds are searched for.
    pub(super) fn searches(&self) -> impl Iterator<Item = &Search> {
        self.all.values().map(|ongoing| &*ongoing.search)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.all.values().any(|ongoing| ongoing.running)
    }

    /// What is wrong with searches, with the number of deliveries that come of each.
    pub(super) fn problems(&self) -> Vec<Group> {
        let all = self.all.values();
        all.filter_map(|ongoing| {
            let problem = ongoing.problem.as_ref()?;
            let schedds = ongoing.known.0.keys();
            let deliveries = schedds.map(|name| ongoing.search.deliveries(name).len());
            Some(Group {
                cause: problem.cause.clone(),
                kind: problem.kind,
                remedy: problem.kind.remedy(),
                message: problem.message.clone(),
                deliveries: deliveries.sum(),
            })
        })
        .collect()
    }
}

impl Ongoing {
    /// Takes over an answer; `None` when it changes nothing.
    fn take(&mut self, answer: Result<Vec<Ad>, Problem>, now: Timestamp) -> Option<Vec<Change>> {
        let group = self.search.group.as_str();
        let share = DeliveryId {
            account: String::new(),
            service: String::new(),
            schedd: group.to_owned(),
        };
        self.next = after(now, EVERY.saturating_sub(share.share_of(JITTER, SEARCH)));
        let ads = match answer {
            Ok(ads) => ads,
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    warn!("{problem}");
                }
                let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
                self.failures = self.failures.saturating_add(1);
                let pause = FIRST_PAUSE.saturating_mul(doubled).min(EVERY);
                self.next = self.next.min(after(now, pause));
                self.problem = Some(problem);
                return None;
            }
        };
        self.failures = 0;
        if self.problem.take().is_some() {
            info!(group, "the collector answers again");
        }
        let found = ads.iter().filter(|ad| ad.matches).count();
        if found == 0 {
            warn!(
                group,
                known = self.known.0.len(),
                "the collector names no schedd that satisfies `constraint`; what is known stays as it is"
            );
            return None;
        }
        if std::mem::take(&mut self.outdated) {
            let asked_for = |name: &str| ads.iter().any(|ad| ad.matches && ad.name == name);
            self.known
                .0
                .retain(|_, schedd| schedd.ads.iter().any(|ad| asked_for(&ad.name)));
        }
        let patience = self.search.wanted.iter().map(|pattern| pattern.lifetime);
        let patience = patience.max().unwrap_or_default();
        Some(self.known.take(ads, now, patience))
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Begins the searches that are due. When to look again.
    pub(super) fn seek(&mut self) -> Timestamp {
        let now = self.now();
        let mut wake = Timestamp::MAX;
        for ongoing in self.searches.all.values_mut() {
            if ongoing.running {
                continue;
            }
            if now < ongoing.next {
                wake = wake.min(ongoing.next);
                continue;
            }
            ongoing.running = true;
            let (parts, search) = (Arc::clone(&self.parts), Arc::clone(&ongoing.search));
            let (known, tell) = (ongoing.known.clone(), self.tell.clone());
            tokio::spawn(async move {
                let answer = parts.transport.find(&search, &known).await;
                // Nobody listens when the service ends.
                let _ = tell.send(News::Found(search, answer));
            });
        }
        wake
    }

    /// Takes over what a collector answered.
    pub(super) fn found(&mut self, search: &Arc<Search>, answer: Result<Vec<Ad>, Problem>) {
        let now = self.now();
        let Some(ongoing) = self.searches.all.get_mut(&search.group) else {
            return;
        };
        // The configuration changed meanwhile.
        if !Arc::ptr_eq(&ongoing.search, search) {
            return;
        }
        ongoing.running = false;
        let Some(changes) = ongoing.take(answer, now) else {
            return;
        };
        for change in &changes {
            say(&search.group, change);
        }
        self.parts.transport.learn(search, &ongoing.known);
        self.adapt();
    }

    /// Deliveries of schedds that are new, gone, or back.
    fn adapt(&mut self) {
        let wanted = self.searches.wanted();
        let unwanted = self
            .entries
            .extract_if(.., |id, _| !wanted.contains_key(id));
        for (id, entry) in unwanted {
            self.away.keep(id, entry);
        }
        for (id, (delivery, gone)) in wanted {
            let note = self.parts.store.note_of(&id);
            let away = self.away.0.remove(&id);
            let entry = self.entries.entry(id);
            let entry = entry.or_insert_with(|| {
                away.unwrap_or_else(|| Box::new(Entry::new(delivery, note.as_ref())))
            });
            let back = entry.gone.is_some() && gone.is_none();
            entry.gone = gone;
            entry.waits_until = None;
            if back {
                // Whoever was away may have lost what it had.
                entry.record.good_since = None;
                if let Some(failure) = &mut entry.record.failure {
                    failure.next_try = Timestamp::MIN;
                }
            }
        }
        self.agenda.everything();
        self.keep_off();
        self.forget_unused();
    }
}

fn say(group: &str, change: &Change) {
    match change {
        Change::New(schedd) => info!(group, schedd, "schedd found"),
        Change::Back(schedd) => info!(group, schedd, "the schedd is back"),
        Change::Drained(schedd) => info!(
            group,
            schedd,
            "the schedd no longer satisfies `constraint`; its jobs are served until none is left and its tokens have ended"
        ),
        Change::Gone(schedd) => warn!(
            group,
            schedd,
            "the collector does not know the schedd any more; it is waited for, and nothing is pushed there meanwhile"
        ),
        Change::Dropped(schedd) => info!(
            group,
            schedd,
            "the schedd was away for longer than its tokens live, and is not waited for any more"
        ),
    }
}
