//! What jobs have, minute by minute: judged by what stands in the files of the schedds, at the true time.
//!
//! Always true: what the bastion says of a delivery is compared with that, and never believed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bastion::engine::Reports;
use bastion::policy::plan::State;

use crate::plan::{Kind, Plan};
use crate::world::World;
use crate::year::START;
use crate::{HOUR, LifeClass, MINUTE, account_number, schedd_number};

/// A token with so many seconds left will do for the next step of a job.
const COMFORT: u64 = 10 * MINUTE;
/// Outages that follow each other within this time are one: programs find out that the first is over by retries.
const RETRIES: u64 = 2 * MINUTE;

/// Account and schedd.
type Delivery = (usize, usize);

/// A time without a usable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Account.
    pub account: usize,
    /// Schedd.
    pub schedd: usize,
    /// Second of its first minute.
    pub begin: u64,
    /// Minutes.
    pub minutes: u64,
}

/// What was counted in a year.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Minutes of all deliveries, while they were wanted.
    pub minutes: u64,
    /// Those of them without a usable token, by accounts with one-hour tokens and with six-hour tokens.
    pub lost: [u64; 2],
    /// Minutes with a usable token that lives ten minutes more.
    pub comfortable: u64,
    /// All gaps.
    pub gaps: Vec<Gap>,
    /// Gaps that no outage explains that is longer than the tokens could carry.
    pub unexplained: Vec<Gap>,
    /// Longest time for which "good" was said of a delivery without a usable token, in minutes.
    pub said_good: u64,
    /// Mean of the requests a minute at Vault.
    pub mean_requests: f64,
    /// Most requests in a minute.
    pub peak_requests: u32,
    /// Second of that minute.
    pub peak_at: u64,
    /// Every minute from the start on.
    pub every_minute: Vec<Minute>,
}

/// One minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Requests that Vault answered.
    pub requests: u32,
    /// Deliveries without a usable token at its end.
    pub without: usize,
}

/// The judge.
pub(crate) struct Judge {
    world: World,
    judged: Judged,
    unwanted: BTreeSet<Delivery>,
    /// First minutes of the gaps under way.
    open: BTreeMap<Delivery, u64>,
    /// Minutes since which "good" is said of those.
    said_good: BTreeMap<Delivery, u64>,
}

impl Judge {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            judged: Judged::default(),
            unwanted: BTreeSet::new(),
            open: BTreeMap::new(),
            said_good: BTreeMap::new(),
        }
    }

    /// From now on a delivery counts, or not.
    pub(crate) fn want(&mut self, account: usize, schedd: usize, is_wanted: bool) {
        if is_wanted {
            self.unwanted.remove(&(account, schedd));
        } else {
            self.unwanted.insert((account, schedd));
        }
    }

    /// Judges one minute.
    pub(crate) fn minute(&mut self, reports: Option<&Reports>) {
        let second = self.world.second();
        if second < START {
            return;
        }
        let now = self.world.now();
        let mut without: BTreeSet<Delivery> = BTreeSet::new();
        for (number, schedd) in self.world.schedds().iter().enumerate() {
            let mut served = vec![false; self.world.site().accounts];
            schedd.files.visit(|account, expires| {
                let Some(account) = account_number(account) else {
                    return;
                };
                let left = expires.map(|expires| expires.duration_since(now).as_secs());
                let left = left.and_then(|left| u64::try_from(left).ok()).unwrap_or(0);
                if let Some(served) = served.get_mut(account) {
                    *served = left > 0;
                }
                let is_comfortable = left >= COMFORT && !self.unwanted.contains(&(account, number));
                self.judged.comfortable += u64::from(is_comfortable);
            });
            let missing = served.iter().enumerate().filter(|(_, served)| !**served);
            without.extend(missing.map(|(account, _)| (account, number)));
        }
        let deliveries = self.world.site().accounts * self.world.site().schedds;
        self.judged.minutes += count(deliveries) - count(self.unwanted.len());
        without.retain(|delivery| !self.unwanted.contains(delivery));
        let minute = usize::try_from(second / MINUTE).unwrap_or(usize::MAX);
        self.judged.every_minute.resize(minute, Minute::default());
        if let Some(last) = self.judged.every_minute.last_mut() {
            last.without = without.len();
        }
        for (account, _) in &without {
            self.lose(*account);
        }
        self.close_gaps(&without, second);
        for delivery in &without {
            self.open.entry(*delivery).or_insert(second);
        }
        self.compare(&without, reports, second);
    }

    fn lose(&mut self, account: usize) {
        let life = LifeClass::of_account(account);
        *life.of_mut(&mut self.judged.lost) += 1;
    }

    fn close_gaps(&mut self, without: &BTreeSet<Delivery>, second: u64) {
        let gaps = &mut self.judged.gaps;
        self.open.retain(|delivery, begin| {
            let goes_on = without.contains(delivery);
            if !goes_on {
                gaps.push(Gap {
                    account: delivery.0,
                    schedd: delivery.1,
                    begin: *begin,
                    minutes: (second - *begin) / MINUTE,
                });
            }
            goes_on
        });
    }

    /// Compares what the bastion says of those without a token.
    fn compare(&mut self, without: &BTreeSet<Delivery>, reports: Option<&Reports>, second: u64) {
        if without.is_empty() {
            return self.said_good.clear();
        }
        let Some(Ok(report)) = reports.map(Reports::now) else {
            return self.said_good.clear();
        };
        let good = report
            .deliveries
            .iter()
            .filter(|line| line.state == State::Good);
        let names = good.filter_map(|line| {
            let account = account_number(&line.wanted.account)?;
            Some((account, schedd_number(&line.wanted.schedd)?))
        });
        let wrong: BTreeSet<Delivery> = names.filter(|name| without.contains(name)).collect();
        self.said_good
            .retain(|delivery, _| wrong.contains(delivery));
        for delivery in wrong {
            let since = *self.said_good.entry(delivery).or_insert(second);
            let minutes = (second - since) / MINUTE + 1;
            self.judged.said_good = self.judged.said_good.max(minutes);
        }
    }

    /// Ends the year.
    pub(crate) fn end(mut self, plan: &Plan, requests: &[u32]) -> Judged {
        let second = self.world.second();
        self.close_gaps(&BTreeSet::new(), second);
        let start = usize::try_from(START / MINUTE).unwrap_or(usize::MAX);
        let judged = &mut self.judged;
        let counted = requests.iter().enumerate().skip(start);
        let sum: u64 = counted
            .clone()
            .map(|(_, requests)| u64::from(*requests))
            .sum();
        judged.mean_requests = ratio(sum, count(requests.len().saturating_sub(start)));
        let peak = counted.max_by_key(|(_, requests)| **requests);
        if let Some((minute, peak)) = peak {
            judged.peak_requests = *peak;
            judged.peak_at = count(minute) * MINUTE;
        }
        for (minute, requests) in judged.every_minute.iter_mut().zip(requests) {
            minute.requests = *requests;
        }
        let carried = |gap: &Gap| LifeClass::of_account(gap.account).carried();
        let unexplained = judged.gaps.iter();
        let unexplained = unexplained.filter(|gap| !is_explained(plan, gap, carried(gap)));
        judged.unexplained = unexplained.copied().collect();
        self.judged
    }
}

/// A gap is explained when what a renewal needs was missing for longer than the tokens could carry (`carried`, in
/// seconds), before the gap or around its begin.
fn is_explained(plan: &Plan, gap: &Gap, carried: u64) -> bool {
    let is_needed = |kind: Kind| match kind {
        Kind::Cluster | Kind::Issuer(_) => true,
        Kind::Schedd(schedd) | Kind::RateLimit(Some(schedd)) => schedd == gap.schedd,
        Kind::GrantLost(account) => account == gap.account,
        _ => false,
    };
    let mut outages: Vec<(u64, u64)> = Vec::new();
    for fault in plan.of(is_needed) {
        // The time until somebody notices a lost refresh token comes before the time that a person takes.
        let notice = if matches!(fault.kind, Kind::GrantLost(_)) {
            6 * HOUR
        } else {
            0
        };
        let (begin, end) = (fault.begin, fault.end + notice);
        match outages.last_mut() {
            Some(last) if begin <= last.1 + RETRIES => last.1 = last.1.max(end),
            _ => outages.push((begin, end)),
        }
    }
    let around = |&(begin, end): &(u64, u64)| begin < gap.begin && gap.begin <= end + RETRIES;
    outages
        .iter()
        .filter(|outage| around(outage))
        .any(|(begin, _)| gap.begin - begin >= carried)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// `part / whole`; 0 for nothing.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    Duration::from_secs(part).as_secs_f64() / Duration::from_secs(whole.max(1)).as_secs_f64()
}
