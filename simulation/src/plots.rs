//! Pictures of the figures, as SVG files.

use std::path::Path;

use chart::{Chart, Line};

use crate::judge::Judged;
use crate::outages::{Down, Losses, Outage};
use crate::plan::{Kind, Plan};
use crate::reference::Reference;
use crate::{DAY, HOUR, MINUTE};

/// Time before an outage that is shown with it, in minutes.
const BEFORE: u64 = 4 * HOUR / MINUTE;
/// Name of the reference.
const REFERENCE: &str = "condor_credmon_vault and an hourly storer";
/// Minutes of a day.
const DAY_MINUTES: u64 = DAY / MINUTE;

/// Writes the pictures of a year into a folder: `lost-minutes.svg`, and `requests.svg` if there was an outage.
///
/// # Errors
/// A file cannot be written.
pub fn year(
    folder: &Path,
    plan: &Plan,
    judged: &Judged,
    reference: &Reference,
) -> anyhow::Result<()> {
    let ours = judged.every_minute.iter().map(|minute| minute.without);
    let theirs = reference.without.iter().copied();
    let lost = Chart {
        title: "Delivery minutes without a usable access token, added up".to_owned(),
        x: "day".to_owned(),
        y: "minutes".to_owned(),
        lines: vec![
            Line::new("ours", added_up(ours)),
            Line::new(
                "condor_credmon_vault and an hourly storer",
                added_up(theirs),
            ),
        ],
        spans: Vec::new(),
    };
    chart::write(&folder.join("lost-minutes.svg"), &[lost])?;
    match requests(plan, judged) {
        Some(requests) => chart::write(&folder.join("requests.svg"), &[requests]),
        None => Ok(()),
    }
}

/// Sum of all minutes until the end of each day.
fn added_up(minutes: impl Iterator<Item = usize>) -> Vec<(f64, f64)> {
    let minutes: Vec<usize> = minutes.collect();
    let mut sum = 0;
    let day = usize::try_from(DAY_MINUTES).unwrap_or(usize::MAX);
    let days = minutes.chunks(day).map(|day| {
        sum += day.iter().sum::<usize>();
        sum
    });
    let sums = [0].into_iter().chain(days).enumerate();
    sums.map(|(day, sum)| (number(day), number(sum))).collect()
}

/// Requests in each minute of a day with the longest outage of Vault or issuer.
fn requests(plan: &Plan, judged: &Judged) -> Option<Chart> {
    let outages = plan.of(|kind| matches!(kind, Kind::Cluster | Kind::Issuer(_)));
    let outage = outages.max_by_key(|fault| fault.end - fault.begin)?;
    let from = (outage.begin / MINUTE).saturating_sub(BEFORE);
    let skipped = usize::try_from(from).ok()?;
    let all = judged.every_minute.iter().enumerate().skip(skipped);
    let all = all.take(usize::try_from(DAY_MINUTES).ok()?);
    let hours = |minute: f64| minute / 60.0;
    let points =
        all.map(|(minute, all)| (hours(number(minute - skipped)), f64::from(all.requests)));
    let what = match outage.kind {
        Kind::Cluster => "all of Vault is down",
        Kind::Issuer(true) => "the issuer does not answer",
        _ => "the issuer gives nothing",
    };
    let after = |second: u64| {
        Some(hours(number(
            usize::try_from(second / MINUTE)
                .ok()?
                .checked_sub(skipped)?,
        )))
    };
    let minutes = (outage.end - outage.begin) / MINUTE;
    Some(Chart {
        title: format!(
            "Requests that Vault answered in each minute; grey: {what} for {minutes} min"
        ),
        x: "hours".to_owned(),
        y: "requests".to_owned(),
        lines: vec![Line::new("requests", points)],
        spans: vec![after(outage.begin)?..after(outage.end)?],
    })
}

/// Writes the picture of what outages cost by their length into a folder: `outages.svg`.
///
/// # Errors
/// The file cannot be written.
pub fn outages(folder: &Path, outages: &[Outage]) -> anyhow::Result<()> {
    let vault = || outages.iter().filter(|outage| outage.down == Down::Vault);
    let chart = |life: &str, pick: fn(&Outage) -> Losses| {
        let line = |name: &str, lost: fn(Losses) -> f64| {
            let minutes = |outage: &Outage| number(usize::try_from(outage.minutes).unwrap_or(0));
            let points = vault().map(|outage| (minutes(outage), lost(pick(outage))));
            Line::new(name, points)
        };
        Chart {
            title: format!(
                "Access tokens of {life}: minutes without one by one outage of Vault, mean"
            ),
            x: "length of the outage, minutes".to_owned(),
            y: "minutes".to_owned(),
            lines: vec![
                line("ours", |losses| losses.ours.mean),
                line(REFERENCE, |losses| losses.reference.mean),
            ],
            spans: Vec::new(),
        }
    };
    let charts = [
        chart("one hour", |outage| outage.one_hour),
        chart("six hours", |outage| outage.six_hours),
    ];
    chart::write(&folder.join("outages.svg"), &charts)
}

/// A count as a coordinate.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Minute;
    use crate::plan::Fault;

    #[test]
    fn minutes_are_added_up_by_day() {
        let points = added_up(std::iter::repeat_n(2, 3 * 1440));
        assert_eq!(
            points,
            [(0.0, 0.0), (1.0, 2880.0), (2.0, 5760.0), (3.0, 8640.0)]
        );
    }

    #[test]
    fn the_longest_outage_is_shown() {
        let fault = |begin, minutes| Fault {
            kind: Kind::Cluster,
            begin,
            end: begin + minutes * MINUTE,
        };
        let plan = Plan {
            faults: vec![fault(10 * HOUR, 15), fault(50 * HOUR, 20)],
        };
        let judged = Judged {
            every_minute: vec![Minute::default(); 5 * 1440],
            ..Judged::default()
        };
        let chart = requests(&plan, &judged).unwrap();
        assert_eq!(chart.spans, [4.0..4.0 + 1.0 / 3.0]);
        assert_eq!(chart.lines[0].points.len(), 1440);
    }
}
