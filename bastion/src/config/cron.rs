//! Cron expressions of five fields, as crontab(5) reads them, in the host's time zone.
//!
//! Minute, hour, day of month, month, day of week; `*`, lists, ranges, steps, names of months and
//! days, Sunday as 0 or 7. The `cron` crate does the work; here is what makes its six fields those
//! of crontab(5): days of the week are named to it (it counts Sunday as 1), and when both days are
//! restricted, either is enough (it wants both).

use std::str::FromStr as _;
use std::time::Duration;

// Only because the crate's own times are of this kind.
use chrono::{DateTime, Utc};
use cron::Schedule;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, civil};
use schemars::JsonSchema;
use serde::Deserialize;

/// Times at which something is done, to the minute.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^\s*\S+(\s+\S+){4}\s*$"))]
pub struct Cron {
    text: String,
    /// A minute matches when one of these has it.
    schedules: Vec<Schedule>,
}

/// Seconds of a day.
const DAY: i64 = 86_400;
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// The bounds of the fields that are numbers only, for messages.
const BOUNDS: [(&str, u32, u32); 5] = [
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
];

impl TryFrom<String> for Cron {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// The fault, and how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: String| format!("{text:?} is no cron expression: {why}");
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(refuse(
                "five fields are needed (minute, hour, day of month, month, day of week), as in \
                 \"*/10 * * * *\""
                    .to_owned(),
            ));
        };
        let named = weekdays(weekday).map_err(refuse)?;
        let all = [minute, hour, day, month, named.as_str()];
        // Field by field first: the crate's own message names none.
        for (index, ((name, low, high), field)) in BOUNDS.into_iter().zip(all).enumerate() {
            let mut alone = ["*"; 5];
            if let Some(place) = alone.get_mut(index) {
                *place = field;
            }
            schedule(alone).ok_or_else(|| {
                let typed = fields.get(index).unwrap_or(&field);
                refuse(format!(
                    "{typed:?} is no {name}, which goes from {low} to {high}"
                ))
            })?;
        }
        let either = !day.starts_with('*') && !weekday.starts_with('*');
        let choices = if either {
            vec![
                [minute, hour, day, month, "*"],
                [minute, hour, "*", month, &named],
            ]
        } else {
            vec![all]
        };
        let schedules: Vec<Schedule> = choices.into_iter().filter_map(schedule).collect();
        let cron = Self {
            text: text.to_owned(),
            schedules,
        };
        if cron.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC) == Timestamp::MAX {
            return Err(refuse("there is no such day".to_owned()));
        }
        Ok(cron)
    }

    /// The first matching minute after `after`, in the time zone `zone`.
    ///
    /// An hour that a change to summer time leaves out is left out; of one that comes twice the
    /// first counts.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Timestamp {
        let next = |schedule| next_of(schedule, after, zone);
        self.schedules
            .iter()
            .filter_map(next)
            .min()
            .unwrap_or(Timestamp::MAX)
    }

    /// The longest time between two matching minutes, where no clock is changed for summer.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        // Matching days all match at the same times: one of them, and the days, are enough.
        let start = Timestamp::from_second(-1).unwrap_or(Timestamp::UNIX_EPOCH);
        let next = |after| self.next(after, &TimeZone::UTC);
        let day_of = |at: Timestamp| at.as_second().div_euclid(DAY);
        let first = next(start);
        let (mut last, mut longest) = (first, 0);
        loop {
            let then = next(last);
            if day_of(then) != day_of(first) {
                break;
            }
            longest = longest.max(then.as_second() - last.as_second());
            last = then;
        }
        let active = last.as_second() - first.as_second();
        let mut day = day_of(first);
        if self.text.split_whitespace().skip(2).all(|days| days == "*") {
            return Duration::from_secs(longest.max(DAY - active).unsigned_abs());
        }
        // Eight years have a leap day, whatever year it begins in.
        while day < day_of(first) + 8 * 366 {
            let Ok(midnight) = Timestamp::from_second((day + 1) * DAY - 1) else {
                break;
            };
            let following = day_of(next(midnight));
            longest = longest.max((following - day) * DAY - active);
            day = following;
        }
        Duration::from_secs(longest.unsigned_abs())
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The crate reads wall-clock time as if it were UTC; what that is in the zone, jiff knows.
fn next_of(schedule: &Schedule, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let wall = after.to_zoned(zone.clone()).datetime();
    let wall = wall.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let start = DateTime::<Utc>::from_timestamp(wall.as_second(), 0)?;
    schedule.after(&start).find_map(|at| {
        let wall = Timestamp::from_second(at.timestamp()).ok()?;
        let wall: civil::DateTime = wall.to_zoned(TimeZone::UTC).datetime();
        let there = zone.to_ambiguous_timestamp(wall);
        let timestamp = match there.offset() {
            AmbiguousOffset::Gap { .. } => None,
            _ => there.earlier().ok(),
        };
        timestamp.filter(|found| *found > after)
    })
}

fn schedule(fields: [&str; 5]) -> Option<Schedule> {
    Schedule::from_str(&format!("0 {}", fields.join(" "))).ok()
}

/// The field for days of the week with its numbers replaced by names.
fn weekdays(field: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        if !low.starts_with(|c: char| c.is_ascii_digit()) {
            parts.push(part.to_owned());
            continue;
        }
        let number = |text: &str| text.parse::<usize>().ok().filter(|day| *day <= 7);
        let high = if low == high && part.contains('/') {
            "6"
        } else {
            high
        };
        let step = step.parse::<usize>().ok().filter(|step| *step > 0);
        let (Some(low), Some(high), Some(step)) = (number(low), number(high), step) else {
            return Err(format!(
                "{part:?} is no day of week, which goes from 0 to 7"
            ));
        };
        if low > high {
            return Err(format!("{part:?} is no day of week: it goes backwards"));
        }
        let days = (low..=high).step_by(step);
        parts.extend(
            days.filter_map(|day| WEEKDAYS.get(day % 7))
                .map(|&day| day.to_owned()),
        );
    }
    Ok(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(cron: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        Cron::parse(cron)
            .unwrap()
            .next(after, &TimeZone::UTC)
            .to_string()
    }

    #[test]
    fn the_next_minute_is_found() {
        for (cron, after, expected) in [
            (
                "*/10 * * * *",
                "2026-11-22T08:05:30Z",
                "2026-11-22T08:10:00Z",
            ),
            (
                "*/10 * * * *",
                "2026-11-22T08:10:00Z",
                "2026-11-22T08:20:00Z",
            ),
            ("0 0 29 2 *", "2026-11-22T00:00:00Z", "2028-02-29T00:00:00Z"),
            (
                "30 6 * * mon-fri",
                "2026-11-21T06:31:00Z",
                "2026-11-23T06:30:00Z",
            ),
            ("0 12 * * 7", "2026-11-22T08:00:00Z", "2026-11-22T12:00:00Z"),
            (
                "0 12 * * 1-5/2",
                "2026-11-23T12:00:00Z",
                "2026-11-25T12:00:00Z",
            ),
            (
                "0 12 1 * sun",
                "2026-11-23T00:00:00Z",
                "2026-11-29T12:00:00Z",
            ),
            (
                "59 23 31 dec *",
                "2026-11-22T08:00:00Z",
                "2026-12-31T23:59:00Z",
            ),
            (
                "5,7 3/12 * * *",
                "2026-11-22T03:05:00Z",
                "2026-11-22T03:07:00Z",
            ),
        ] {
            assert_eq!(next(cron, after), expected, "{cron} after {after}");
        }
    }

    #[test]
    fn summer_time_neither_repeats_nor_stops_it() {
        let zone = TimeZone::get("Europe/Zurich").unwrap();
        let cron = Cron::parse("30 2 * * *").unwrap();
        // 29 March 2026: 02:30 does not exist; the next one is on the 30th.
        let after: Timestamp = "2026-03-28T12:00:00Z".parse().unwrap();
        assert_eq!(cron.next(after, &zone).to_string(), "2026-03-30T00:30:00Z");
    }

    #[test]
    fn the_longest_pause_is_found_wherever_it_is() {
        for (cron, hours) in [
            ("*/30 * * * *", 0.5),
            ("0 6 * * *", 24.0),
            ("0 6,8 * * *", 22.0),
            ("*/10 8-16 * * mon-fri", 48.0 + 15.0 + 1.0 / 6.0),
            ("0 0 1 * *", 31.0 * 24.0),
            ("0 0 29 2 *", (4.0 * 365.0 + 1.0) * 24.0),
        ] {
            let pause = Cron::parse(cron).unwrap().longest_pause();
            assert_eq!(
                pause,
                Duration::from_secs_f64((hours * 3600.0_f64).round()),
                "{cron}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (cron, part) in [
            ("* * * *", "five fields are needed"),
            ("60 * * * *", "\"60\" is no minute, which goes from 0 to 59"),
            ("* 5-3 * * *", "\"5-3\" is no hour"),
            (
                "* * * * 8",
                "\"8\" is no day of week, which goes from 0 to 7",
            ),
            ("* * * * 5-3", "it goes backwards"),
            ("*/0 * * * *", "\"*/0\" is no minute"),
            ("* * 0 * *", "\"0\" is no day of month"),
            ("* * * foo *", "\"foo\" is no month"),
            ("0 0 30 feb *", "there is no such day"),
        ] {
            let error = Cron::parse(cron).unwrap_err();
            assert!(error.contains(part), "{cron}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_matching_minute_is_left_out(start in 1_700_000_000_i64..1_900_000_000, step in 1_u32..30, hour in 0_u32..24) {
            let cron = Cron::parse(&format!("*/{step} {hour}-23 * * *")).unwrap();
            let after = Timestamp::from_second(start).unwrap();
            let found = cron.next(after, &TimeZone::UTC);
            let matches = |second: i64| {
                let at = Timestamp::from_second(second).unwrap().to_zoned(TimeZone::UTC);
                second % 60 == 0
                    && u32::try_from(at.minute()).unwrap() % step == 0
                    && u32::try_from(at.hour()).unwrap() >= hour
            };
            prop_assert!(matches(found.as_second()));
            let first = (start / 60 + 1) * 60;
            for second in (first..found.as_second()).step_by(60) {
                prop_assert!(!matches(second), "{second}");
            }
        }

        #[test]
        fn nothing_panics(text in "[0-9*/,a-z -]{0,24}") {
            if let Ok(cron) = Cron::parse(&text) {
                let _ = cron.next(Timestamp::from_second(1_800_000_000).unwrap(), &TimeZone::UTC);
            }
        }
    }
}
