//! What jobs lose by one outage, by its length: which outages the tokens carry.
//!
//! Each length is tried several times, after another time without outages each, so that tokens of every age meet it.
//! Nothing else goes wrong.

use std::fmt::Write as _;

use serde::Serialize;

use crate::judge::ratio;
use crate::plan::{Fault, Kind, Plan};
use crate::{DAY, HOUR, LifeClass, MINUTE, Site, reference, simulate};

/// Lengths that are tried, in minutes.
pub const LENGTHS: [u64; 9] = [10, 20, 30, 40, 50, 60, 90, 120, 240];
/// Outages of each length.
const EACH: u64 = 8;
/// The site.
const SITE: Site = Site {
    days: EACH + 2,
    accounts: 20,
    schedds: 2,
};
/// Begin of the first of a length, in seconds from the start.
const FIRST: u64 = 4 * HOUR;
/// So much more than a day lies between the first two; so much more than that between the next two, and so on. All
/// tokens are new after an outage: the next one meets them at another age each, up to nearly six hours.
const LATER: u64 = 44 * MINUTE;

/// What is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// The issuer; every other time it does not answer at all.
    Issuer,
    /// All servers of the Vault.
    Vault,
}

/// Minutes lost by an outage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lost {
    /// Mean of all deliveries.
    pub mean: f64,
    /// Longest gap.
    pub longest: u64,
}

/// Minutes lost with tokens of one life.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Losses {
    /// With ours.
    pub ours: Lost,
    /// With HTCondor's own credmon and an hourly storer.
    pub reference: Lost,
}

/// What outages of one length cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outage {
    /// What is down.
    pub down: Down,
    /// Length, in minutes.
    pub minutes: u64,
    /// With tokens of an hour.
    pub one_hour: Losses,
    /// With tokens of six hours.
    pub six_hours: Losses,
    /// Gaps of ours though the tokens could have carried the outage: each is a fault.
    pub unexplained: usize,
}

/// Simulates outages of these lengths. `progress` hears of each that is over.
///
/// # Errors
/// The simulation cannot be set up.
pub fn all(lengths: &[u64], mut progress: impl FnMut()) -> anyhow::Result<Vec<Outage>> {
    let mut outages = Vec::new();
    for down in [Down::Issuer, Down::Vault] {
        for minutes in lengths {
            outages.push(one(down, *minutes)?);
            progress();
        }
    }
    Ok(outages)
}

fn one(down: Down, minutes: u64) -> anyhow::Result<Outage> {
    let faults = (0..EACH).map(|number| {
        let begin = FIRST + number * DAY + number * (number + 1) / 2 * LATER;
        Fault {
            kind: match down {
                Down::Issuer => Kind::Issuer(number.is_multiple_of(2)),
                Down::Vault => Kind::Cluster,
            },
            begin,
            end: begin + minutes * MINUTE,
        }
    });
    let plan = Plan {
        faults: faults.collect(),
    };
    let judged = simulate(SITE, &plan, |_| ())?;
    let reference = reference::simulate(SITE, &plan);
    let losses = |life: LifeClass| {
        let of_life = |account: &usize| LifeClass::of_account(*account) == life;
        let accounts = (0..SITE.accounts).filter(of_life).count();
        let deliveries = u64::try_from(accounts * SITE.schedds).unwrap_or(u64::MAX);
        let mean = |lost: &[u64; 2]| ratio(*life.of(lost), deliveries * EACH);
        let gaps = judged.gaps.iter().filter(|gap| of_life(&gap.account));
        Losses {
            ours: Lost {
                mean: mean(&judged.lost),
                longest: gaps.map(|gap| gap.minutes).max().unwrap_or(0),
            },
            reference: Lost {
                mean: mean(&reference.lost),
                longest: *life.of(&reference.longest_gap),
            },
        }
    };
    Ok(Outage {
        down,
        minutes,
        one_hour: losses(LifeClass::Short),
        six_hours: losses(LifeClass::Long),
        unexplained: judged.unexplained.len(),
    })
}

/// The table for a page of the documentation.
#[must_use]
pub fn table(outages: &[Outage]) -> String {
    let mut text =
        "| outage | one-hour tokens: ours | reference | six-hour tokens: ours | reference |\n\
                    |---|---:|---:|---:|---:|\n"
            .to_owned();
    for outage in outages {
        let down = match outage.down {
            Down::Issuer => "issuer",
            Down::Vault => "Vault",
        };
        let lost = |lost: Lost| match lost.longest {
            0 => "0".to_owned(),
            longest => format!("{:.1} ({longest})", lost.mean),
        };
        let [one, six] = [outage.one_hour, outage.six_hours]
            .map(|losses| format!("{} | {}", lost(losses.ours), lost(losses.reference)));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {down} {} min | {one} | {six} |", outage.minutes);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_fifty_minutes_is_carried_by_six_hour_tokens() {
        let outage = one(Down::Vault, 50).unwrap();
        assert_eq!(outage.unexplained, 0);
        assert_eq!(outage.six_hours.ours.longest, 0);
        let one_hour = outage.one_hour;
        assert!(one_hour.ours.longest > 0, "{one_hour:?}");
        assert!(one_hour.ours.mean < one_hour.reference.mean, "{one_hour:?}");
        let row = format!("| Vault 50 min | {:.1} (", one_hour.ours.mean);
        assert!(table(&[outage]).contains(&row), "{}", table(&[outage]));
    }
}
