//! Schedds of one search, over time.
//!
//! Always true:
//! - Schedds that share a credd are one: a credential is stored there once. Its name in deliveries
//!   is the host's; a second credd of that host has its schedd's whole name.
//! - A name stays, whatever addresses and other schedds do.
//! - An answer that names no schedd changes nothing; names that cannot be printed are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::ScheddAd;
use crate::model::moment::until;

/// Most schedds of one search, many times those of a large pool: each gets all deliveries of its group.
pub(super) const MOST_SCHEDDS: usize = 2000;

/// Longest name of a schedd that is taken, in bytes.
const LONGEST_NAME: usize = 255;

/// Presence of a schedd in the collector's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheddState {
    /// It satisfies the constraint.
    Here,
    /// The collector knows it, and it does not satisfy the constraint any more; its jobs still need
    /// credentials.
    Drained(Timestamp),
    /// The collector does not know it any more.
    Gone(Timestamp),
}

/// A schedd, or several that share a credd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSchedd {
    /// Their last ads, in the order of names.
    pub ads: Vec<ScheddAd>,
    /// Presence in the last answer.
    pub state: ScheddState,
}

/// Change of a schedd's state, with its name in deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheddChange {
    /// Found for the first time.
    New(String),
    /// It satisfies the constraint again.
    Back(String),
    /// Still there, but it does not satisfy the constraint any more.
    Drained(String),
    /// The collector does not know it any more.
    Gone(String),
    /// Not waited for any longer.
    Dropped(String),
}

/// Result of an answer that was taken over.
#[derive(Debug, Default)]
pub struct Taken {
    /// Changes of schedds.
    pub changes: Vec<ScheddChange>,
    /// Number of schedds that satisfy the constraint and are not taken up: as many as there may be are known.
    pub left_out: usize,
}

/// The schedds of one search, by their name in deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundSchedds(pub BTreeMap<String, FoundSchedd>);

impl FoundSchedd {
    /// Time since when nothing can be pushed there.
    #[must_use]
    pub fn gone_since(&self) -> Option<Timestamp> {
        match self.state {
            ScheddState::Gone(since) => Some(since),
            ScheddState::Here | ScheddState::Drained(_) => None,
        }
    }

    fn has_jobs(&self) -> bool {
        self.ads.iter().any(|ad| ad.jobs > 0)
    }
}

impl FoundSchedds {
    /// Whole names of schedds that were found.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let ads = self.0.values().flat_map(|schedd| &schedd.ads);
        ads.map(|ad| ad.name.as_str())
    }

    /// Takes over a collector's answer. A schedd that is not there any more is waited for during `lifetime`:
    /// after that no token is valid there.
    pub fn take(&mut self, mut ads: Vec<ScheddAd>, now: Timestamp, lifetime: Duration) -> Taken {
        use ScheddState::{Drained, Gone, Here};
        let mut taken = Taken::default();
        ads.retain(|ad| is_name(&ad.name));
        if !ads.iter().any(|ad| ad.matches) {
            return taken;
        }
        let Taken { changes, left_out } = &mut taken;
        let mut seen = BTreeSet::new();
        for ads in by_credd(ads) {
            let Some(name) = self.name(&ads, &seen) else {
                continue;
            };
            let matches = ads.iter().any(|ad| ad.matches);
            let before = self.0.get(&name).map(|schedd| schedd.state);
            let state = match before {
                // It does not satisfy the constraint, and never did.
                None if !matches => continue,
                // One answer has no more, but those that are gone are still known.
                None if self.0.len() >= MOST_SCHEDDS => {
                    *left_out += ads.len();
                    continue;
                }
                _ if matches => Here,
                Some(Drained(since)) => Drained(since),
                _ => Drained(now),
            };
            changes.extend(match (before, state) {
                (None, _) => Some(ScheddChange::New(name.clone())),
                (Some(Here), Drained(_)) => Some(ScheddChange::Drained(name.clone())),
                (Some(Gone(_)), _) | (Some(Drained(_)), Here) => {
                    Some(ScheddChange::Back(name.clone()))
                }
                _ => None,
            });
            seen.insert(name.clone());
            self.0.insert(name, FoundSchedd { ads, state });
        }
        for (name, schedd) in &mut self.0 {
            if !seen.contains(name) && schedd.gone_since().is_none() {
                schedd.state = Gone(now);
                changes.push(ScheddChange::Gone(name.clone()));
            }
        }
        let is_over = |since| until(since, now) > lifetime;
        let dropped = self.0.extract_if(.., |_, schedd| match schedd.state {
            Here => false,
            Drained(since) => is_over(since) && !schedd.has_jobs(),
            Gone(since) => is_over(since),
        });
        changes.extend(dropped.map(|(name, _)| ScheddChange::Dropped(name)));
        taken
    }

    /// Name for schedds that share a credd: the one that they had, or a new one.
    fn name(&self, ads: &[ScheddAd], taken: &BTreeSet<String>) -> Option<String> {
        let had = self.0.iter().find(|(name, schedd)| {
            let shared = |ad: &ScheddAd| ads.iter().any(|new| new.name == ad.name);
            !taken.contains(*name) && schedd.ads.iter().any(shared)
        });
        if let Some((name, _)) = had {
            return Some(name.clone());
        }
        let hosts = ads.iter().map(|ad| host(&ad.name).to_owned());
        let whole = ads.iter().map(|ad| ad.name.clone());
        // A host's own schedd that comes after another one, as HTCondor would write it.
        let last = ads
            .iter()
            .map(|ad| format!("{}@{}", ad.name, host(&ad.name)));
        let mut free = hosts
            .chain(whole)
            .chain(last)
            .filter(|name| !name.is_empty() && !taken.contains(name) && !self.0.contains_key(name));
        free.next()
    }
}

/// `true` for a name that can be repeated in messages: printable, and no longer than a name of HTCondor's.
fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `HOST` of `NAME@HOST`.
fn host(name: &str) -> &str {
    name.rsplit_once('@').map_or(name, |(_, host)| host)
}

/// Groups of schedds that share a credd, each in the order of names; those whose ads do not say, by host.
fn by_credd(mut ads: Vec<ScheddAd>) -> Vec<Vec<ScheddAd>> {
    let place = |ad: &ScheddAd| (ad.name.contains('@'), ad.name.clone());
    // Those that say it come first: one that does not joins them, and no two credds by itself.
    ads.sort_by_cached_key(|ad| (ad.credd.is_none(), place(ad)));
    let mut groups: Vec<Vec<ScheddAd>> = Vec::new();
    for ad in ads {
        let together = groups.iter_mut().find(|group| {
            group.iter().any(|other| match (&other.credd, &ad.credd) {
                (Some(one), Some(two)) => one == two,
                _ => host(&other.name) == host(&ad.name),
            })
        });
        match together {
            Some(group) => group.push(ad),
            None => groups.push(vec![ad]),
        }
    }
    for ads in &mut groups {
        ads.sort_by_cached_key(place);
    }
    groups.sort_by_cached_key(|ads| ads.first().map(place));
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK: Duration = Duration::from_hours(7 * 24);

    fn ad(name: &str, credd: &str) -> ScheddAd {
        ScheddAd {
            name: name.to_owned(),
            machine: host(name).to_owned(),
            credd: Some(format!("<{credd}>")).filter(|_| !credd.is_empty()),
            is_of_host: false,
            jobs: 0,
            matches: true,
        }
    }

    fn drained(name: &str, jobs: u64) -> ScheddAd {
        ScheddAd {
            matches: false,
            jobs,
            ..ad(name, name)
        }
    }

    fn day(n: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + n * 86_400).unwrap()
    }

    fn names(known: &FoundSchedds) -> Vec<&str> {
        known.0.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_schedd_that_is_gone_is_waited_for_until_its_tokens_have_ended() {
        let mut known = FoundSchedds::default();
        let both = || vec![ad("a.test", "1"), ad("b.test", "2")];
        let new = |name: &str| ScheddChange::New(name.to_owned());
        assert_eq!(
            known.take(both(), day(0), WEEK).changes,
            [new("a.test"), new("b.test")]
        );
        let a = || vec![ad("a.test", "1")];
        assert_eq!(
            known.take(a(), day(1), WEEK).changes,
            [ScheddChange::Gone("b.test".to_owned())]
        );
        assert_eq!(known.0["b.test"].gone_since(), Some(day(1)));
        assert_eq!(known.take(a(), day(5), WEEK).changes, []);
        assert_eq!(known.0["b.test"].gone_since(), Some(day(1)));
        assert_eq!(
            known.take(both(), day(6), WEEK).changes,
            [ScheddChange::Back("b.test".to_owned())]
        );
        known.take(a(), day(7), WEEK);
        assert_eq!(
            known.take(a(), day(15), WEEK).changes,
            [ScheddChange::Dropped("b.test".to_owned())]
        );
        assert_eq!(names(&known), ["a.test"]);
    }

    #[test]
    fn a_drained_schedd_is_served_while_it_has_jobs() {
        let mut known = FoundSchedds::default();
        known.take(
            vec![ad("a.test", "1"), ad("b.test", "b.test")],
            day(0),
            WEEK,
        );
        let now = |jobs| vec![ad("a.test", "1"), drained("b.test", jobs)];
        assert_eq!(
            known.take(now(3), day(1), WEEK).changes,
            [ScheddChange::Drained("b.test".to_owned())]
        );
        assert_eq!(known.take(now(3), day(20), WEEK).changes, []);
        assert_eq!(known.0["b.test"].state, ScheddState::Drained(day(1)));
        assert_eq!(
            known.take(now(0), day(21), WEEK).changes,
            [ScheddChange::Dropped("b.test".to_owned())]
        );
        // What nobody asked for is not taken up.
        assert_eq!(known.take(now(3), day(22), WEEK).changes, []);
    }

    #[test]
    fn an_empty_answer_changes_nothing() {
        let mut known = FoundSchedds::default();
        known.take(vec![ad("a.test", "1")], day(0), WEEK);
        let before = known.clone();
        assert_eq!(known.take(Vec::new(), day(30), WEEK).changes, []);
        assert_eq!(
            known
                .take(vec![drained("a.test", 1)], day(30), WEEK)
                .changes,
            []
        );
        assert_eq!(known, before);
    }

    #[test]
    fn names_that_a_collector_invents_for_ever_are_bounded() {
        let mut known = FoundSchedds::default();
        for n in 0..4 {
            let named = |m| format!("ap{m}.test{n}");
            let ads = (0..MOST_SCHEDDS / 3).map(|m| ad(&named(m), &named(m)));
            known.take(ads.collect(), day(0), WEEK);
        }
        assert_eq!(known.0.len(), MOST_SCHEDDS);
    }

    #[test]
    fn names_that_cannot_be_printed_are_left_out() {
        let mut known = FoundSchedds::default();
        let long = "a".repeat(LONGEST_NAME + 1);
        let odd = [
            "",
            "a\n.test",
            "a\u{202e}.test",
            "\u{1b}[31m",
            long.as_str(),
        ];
        let ads = odd.map(|name| ad(name, name));
        assert_eq!(known.take(ads.to_vec(), day(0), WEEK).changes, []);
        let ads = [ad("crab3@ap_1.test", "1"), ad("a b", "2")];
        known.take(ads.to_vec(), day(0), WEEK);
        assert_eq!(names(&known), ["ap_1.test"]);
    }

    #[test]
    fn a_credd_is_one_whatever_its_schedds_are_called() {
        let mut known = FoundSchedds::default();
        let shared = vec![ad("two@a.test", "1"), ad("a.test", "1")];
        known.take(shared, day(0), WEEK);
        assert_eq!(names(&known), ["a.test"]);
        // It was started anew, and has another address.
        let moved = vec![ad("two@a.test", "9"), ad("a.test", "9")];
        assert_eq!(known.take(moved, day(0), WEEK).changes, []);
        assert_eq!(known.0["a.test"].ads[0].credd.as_deref(), Some("<9>"));
    }

    #[test]
    fn several_credds_of_one_host_have_names_that_stay() {
        let mut known = FoundSchedds::default();
        known.take(vec![ad("two@a.test", "2")], day(0), WEEK);
        assert_eq!(names(&known), ["a.test"]);
        known.take(vec![ad("two@a.test", "2"), ad("a.test", "1")], day(1), WEEK);
        assert_eq!(known.0["a.test"].ads[0].name, "two@a.test");
        assert_eq!(names(&known), ["a.test", "a.test@a.test"]);
    }

    #[test]
    fn a_schedd_without_an_address_joins_one_credd_of_its_host_and_merges_none() {
        let mut known = FoundSchedds::default();
        let ads = || {
            vec![
                ad("two@a.test", "2"),
                ad("a.test", ""),
                ad("one@a.test", "1"),
            ]
        };
        known.take(ads(), day(0), WEEK);
        let credds = |schedd: &FoundSchedd| {
            let credds = schedd.ads.iter().filter_map(|ad| ad.credd.clone());
            credds.collect::<BTreeSet<String>>()
        };
        let credds: Vec<_> = known.0.values().map(credds).collect();
        assert_eq!(
            credds,
            [["<1>"], ["<2>"]].map(|one| one.map(str::to_owned).into())
        );
        assert_eq!(known.0["a.test"].ads[0].name, "a.test");
    }

    proptest! {
        /// Whatever a collector answers, a schedd keeps its name while it is known.
        #[test]
        fn names_stay(answers in prop::collection::vec(prop::collection::vec((0..4_usize, 0..3_u8), 0..6), 1..8)) {
            const NAMES: [&str; 4] = ["a.test", "x@a.test", "b.test", "y@b.test"];
            let mut known = FoundSchedds::default();
            for (n, answer) in answers.into_iter().enumerate() {
                let mut ads: Vec<ScheddAd> = answer.iter().map(|(name, credd)| ad(NAMES[*name], &credd.to_string())).collect();
                ads.sort_by(|a, b| a.name.cmp(&b.name));
                ads.dedup_by(|a, b| a.name == b.name);
                let before: BTreeSet<String> = known.0.keys().cloned().collect();
                known.take(ads, day(i64::try_from(n).unwrap()), WEEK * 100);
                let after: BTreeSet<String> = known.0.keys().cloned().collect();
                prop_assert!(before.is_subset(&after));
            }
        }
    }
}
