//! The figures of a simulated year.

use serde::Serialize;

use crate::judge::{Gap, Judged, ratio};
use crate::plan::{Kind, Plan};
use crate::reference::Reference;
use crate::{HOUR, LifeClass, MINUTE, Site};

/// Least share of all minutes with a usable token.
const AVAILABILITY: f64 = 0.9999;
/// Longest time for which "good" may be said of a delivery without one, in minutes: a tenth of an hour.
const SAID_GOOD: u64 = 6;
/// Most requests in a minute, as a multiple of the mean.
const PEAK: f64 = 3.0;
/// Deliveries from which on that is judged: with few the mean of a minute says nothing.
const MANY: usize = 200;

/// The figures of a simulated year. Shares are of 1; times in minutes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Seed of the faults.
    pub seed: u64,
    /// Days.
    pub days: u64,
    /// Accounts.
    pub accounts: usize,
    /// Schedds.
    pub schedds: usize,
    /// Faults and orders that were drawn.
    pub faults: usize,
    /// Minutes of all deliveries, while they were wanted.
    pub delivery_minutes: u64,
    /// Share of them with a usable access token.
    pub availability: f64,
    /// Share of them with one that lives ten minutes more.
    pub availability_ten_minutes: f64,
    /// Minutes without one.
    pub lost_minutes: u64,
    /// Those of accounts with one-hour tokens.
    pub lost_minutes_one_hour: u64,
    /// Those of accounts with six-hour tokens.
    pub lost_minutes_six_hours: u64,
    /// Longest gap.
    pub longest_gap: u64,
    /// Number of gaps.
    pub gaps: usize,
    /// Outages that are shorter than this are to leave no gap with one-hour tokens.
    pub carried_one_hour: u64,
    /// The same with six-hour tokens.
    pub carried_six_hours: u64,
    /// Number of gaps that no longer outage explains: each is a fault of ours.
    pub unexplained_gaps: usize,
    /// The first of them, in words.
    pub unexplained: Option<String>,
    /// Longest time for which the bastion said "good" of a delivery without a usable token.
    pub said_good_without_token: u64,
    /// Mean of the requests a minute at Vault.
    pub requests_mean: f64,
    /// Most requests in a minute.
    pub requests_peak: u32,
    /// Minute of that, from the start.
    pub requests_peak_at: u64,
    /// What went wrong or was ordered in that minute or the hour before, in words.
    pub requests_peak_after: String,
    /// Share with a usable access token with HTCondor's own credmon and an hourly storer.
    pub reference_availability: f64,
    /// Minutes without one, with these.
    pub reference_lost_minutes: u64,
    /// Longest gap with these.
    pub reference_longest_gap: u64,
}

impl Report {
    /// Puts the figures together.
    #[must_use]
    pub fn new(seed: u64, site: Site, plan: &Plan, judged: &Judged, reference: &Reference) -> Self {
        let [one_hour, six_hours] = judged.lost;
        let lost = one_hour + six_hours;
        let reference_lost = reference.lost.iter().sum();
        Self {
            seed,
            days: site.days,
            accounts: site.accounts,
            schedds: site.schedds,
            faults: plan.faults.len(),
            delivery_minutes: judged.minutes,
            availability: 1.0 - ratio(lost, judged.minutes),
            availability_ten_minutes: ratio(judged.comfortable, judged.minutes),
            lost_minutes: lost,
            lost_minutes_one_hour: one_hour,
            lost_minutes_six_hours: six_hours,
            longest_gap: judged.gaps.iter().map(|gap| gap.minutes).max().unwrap_or(0),
            gaps: judged.gaps.len(),
            carried_one_hour: LifeClass::Short.carried() / MINUTE,
            carried_six_hours: LifeClass::Long.carried() / MINUTE,
            unexplained_gaps: judged.unexplained.len(),
            unexplained: judged.unexplained.first().map(|gap| explain(plan, gap)),
            said_good_without_token: judged.said_good,
            requests_mean: judged.mean_requests,
            requests_peak: judged.peak_requests,
            requests_peak_at: judged.peak_at / MINUTE,
            requests_peak_after: words(plan, judged.peak_at + MINUTE - 1, HOUR, |_| true),
            reference_availability: 1.0 - ratio(reference_lost, reference.minutes),
            reference_lost_minutes: reference_lost,
            reference_longest_gap: reference.longest_gap.into_iter().max().unwrap_or(0),
        }
    }
}

/// A gap in words, with what happened before it.
fn explain(plan: &Plan, gap: &Gap) -> String {
    let concerns = |kind: Kind| match kind {
        Kind::Schedd(schedd) | Kind::CreddCrash(schedd, _) | Kind::RateLimit(Some(schedd)) => {
            schedd == gap.schedd
        }
        Kind::Clock(schedd, _) => schedd.is_none_or(|schedd| schedd == gap.schedd),
        Kind::GrantLost(account) | Kind::Wrongful403(account, _) | Kind::Push(account) => {
            account == gap.account
        }
        Kind::Revoke(account, schedd) => (account, schedd) == (gap.account, gap.schedd),
        _ => true,
    };
    let before = words(plan, gap.begin, 7 * HOUR, concerns);
    format!(
        "account {} at schedd {}, minute {}, for {} min; before it: {}",
        gap.account,
        gap.schedd,
        gap.begin / 60,
        gap.minutes,
        before
    )
}

/// Faults and orders that are under way at a second, or ended less than `past` seconds before it.
fn words(plan: &Plan, second: u64, past: u64, concerns: impl Fn(Kind) -> bool) -> String {
    let before = plan.of(concerns);
    let before = before.filter(|fault| fault.begin <= second && second < fault.end + past);
    let before: Vec<String> = before
        .map(|fault| {
            let at = (second - fault.begin) / MINUTE;
            let length = (fault.end - fault.begin) / MINUTE;
            format!("{:?} {at} min before, for {length} min", fault.kind)
        })
        .collect();
    before.join("; ")
}

impl Report {
    /// Goals that this year missed, in words; none is good.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if let Some(gap) = &self.unexplained {
            missed.push(format!(
                "{} gaps that no outage explains, the first: {gap}",
                self.unexplained_gaps
            ));
        }
        if self.availability < AVAILABILITY {
            missed.push(format!(
                "availability {:.6} is below {AVAILABILITY}",
                self.availability
            ));
        }
        if 10 * self.lost_minutes > self.reference_lost_minutes {
            missed.push(format!(
                "{} lost minutes are more than a tenth of the reference's {}",
                self.lost_minutes, self.reference_lost_minutes
            ));
        }
        if self.said_good_without_token > SAID_GOOD {
            missed.push(format!(
                "good was said for {} min of a delivery without a token",
                self.said_good_without_token
            ));
        }
        let is_large = self.accounts * self.schedds >= MANY;
        if is_large && f64::from(self.requests_peak) > PEAK * self.requests_mean {
            missed.push(format!(
                "{} requests in minute {} are more than {PEAK} times the mean, {:.1}; before it: {}",
                self.requests_peak,
                self.requests_peak_at,
                self.requests_mean,
                self.requests_peak_after
            ));
        }
        missed
    }

    /// The command that simulates the same year.
    #[must_use]
    pub fn replay(&self) -> String {
        format!(
            "integration/simulate --seed {} --days {} --accounts {} --schedds {}",
            self.seed, self.days, self.accounts, self.schedds
        )
    }

    /// The figures for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            seed,
            days,
            accounts,
            schedds,
            faults,
            ..
        } = self;
        let percent = |share: f64| format!("{:.4} %", share * 100.0);
        let rows = [
            (
                "with a usable access token",
                percent(self.availability),
                percent(self.reference_availability),
            ),
            (
                "with ten minutes left",
                percent(self.availability_ten_minutes),
                "-".to_owned(),
            ),
            (
                "minutes without one",
                self.lost_minutes.to_string(),
                self.reference_lost_minutes.to_string(),
            ),
            (
                "longest gap, minutes",
                self.longest_gap.to_string(),
                self.reference_longest_gap.to_string(),
            ),
            (
                "gaps no outage explains",
                self.unexplained_gaps.to_string(),
                "-".to_owned(),
            ),
            (
                "said good without, minutes",
                self.said_good_without_token.to_string(),
                "-".to_owned(),
            ),
            (
                "requests a minute, mean",
                format!("{:.1}", self.requests_mean),
                "-".to_owned(),
            ),
            (
                "requests a minute, peak",
                self.requests_peak.to_string(),
                "-".to_owned(),
            ),
        ];
        let rows =
            rows.map(|(name, ours, reference)| format!("  {name:28}{ours:>12}{reference:>14}\n"));
        format!(
            "seed {seed}: {days} days, {accounts} accounts at {schedds} schedds, {faults} faults and orders\n  {:28}{:>12}{:>14}\n{}",
            "",
            "ours",
            "reference",
            rows.concat()
        )
    }
}
