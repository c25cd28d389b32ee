//! Cron expressions of five fields, as crontab(5) reads them, in the host's time zone.
//!
//! Minute, hour, day of month, month, day of week; `*`, lists, ranges, steps, names of months and days, Sunday as 0 or
//! 7. The `cron` crate parses the fields. It counts days of the week differently and requires both days to match where
//! crontab(5) requires either, so days are matched here.

use std::iter::successors;
use std::str::FromStr as _;
use std::time::Duration;

use cron::{Schedule, TimeUnitSpec as _};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use schemars::JsonSchema;
use serde::Deserialize;

/// Times at which something is done, to the minute.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^\s*\S+(\s+\S+){4}\s*$"))]
pub struct Cron {
    text: String,
    /// A schedule for each field, whose other fields are not restricted.
    minutes: Schedule,
    hours: Schedule,
    days: Schedule,
    months: Schedule,
    /// Days of the week, 0 to 7, as hours.
    weekdays: Schedule,
    /// Both days are restricted: a day matches when either does.
    either_day: bool,
}

/// Days in which every day of the calendar comes at least once, the 29th of February included.
const EVERY_DAY: usize = 8 * 366;
const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

impl TryFrom<String> for Cron {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Cron {
    /// Parses an expression.
    ///
    /// # Errors
    /// The fault, and the correct notation.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("{text:?} is not a cron expression: {why}");
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(refuse(
                "five fields are needed (minute, hour, day of month, month, day of week), as in \"*/10 * * * *\"",
            ));
        };
        // Each field alone: the crate's message does not name the wrong one.
        let valid = |name: &str, field: &str, parsed: Option<Schedule>| {
            let order = if field.contains('-') {
                "; a range begins with its lower end"
            } else {
                ""
            };
            parsed.ok_or_else(|| refuse(&format!("{field:?} is not a valid {name}{order}")))
        };
        // Some programs write `?` for a day that does not matter.
        let is_restricted = |day: &str| !day.starts_with(['*', '?']);
        let minutes = schedule([minute, "*", "*", "*"]);
        let hours = schedule(["*", hour, "*", "*"]);
        let days = schedule(["*", "*", day, "*"]);
        let months = schedule(["*", "*", "*", month]);
        let cron = Self {
            text: text.to_owned(),
            minutes: valid("minute (0 to 59)", minute, minutes)?,
            hours: valid("hour (0 to 23)", hour, hours)?,
            days: valid("day of month (1 to 31)", day, days)?,
            months: valid("month (1 to 12)", month, months)?,
            weekdays: valid("day of week (0 to 7)", weekday, weekdays(weekday))?,
            either_day: is_restricted(day) && is_restricted(weekday),
        };
        let has_days = cron.days(Date::ZERO).next().is_some();
        has_days
            .then_some(cron)
            .ok_or_else(|| refuse("there is no such day"))
    }

    /// The first matching minute after `after`, in the time zone `zone`.
    ///
    /// An hour that a change to summer time leaves out is left out; of one that comes twice the first counts.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Timestamp {
        let start = after.to_zoned(zone.clone()).datetime();
        let days = self.days(start.date());
        let minutes = days.flat_map(|day| self.times().map(move |time| day.to_datetime(time)));
        let later = minutes.skip_while(|minute| *minute <= start);
        let timestamps = later.filter_map(|minute| {
            let there = zone.to_ambiguous_timestamp(minute);
            let is_left_out = matches!(there.offset(), AmbiguousOffset::Gap { .. });
            there.earlier().ok().filter(|_| !is_left_out)
        });
        let mut timestamps = timestamps.filter(|found| *found > after);
        timestamps.next().unwrap_or(Timestamp::MAX)
    }

    /// The longest time between two matching minutes, in a time zone without summer time.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        let times: Vec<Time> = self.times().collect();
        let days: Vec<Date> = self.days(Date::ZERO).collect();
        let pauses = times.array_windows().map(|[a, b]| b.duration_since(*a));
        let within_day = pauses.max().unwrap_or_default();
        let pauses = days.array_windows().map(|[a, b]| b.duration_since(*a));
        let between_days = pauses.max().unwrap_or_default();
        // From the last time of a day to the first one of another.
        let active = times.first().zip(times.last());
        let active = active.map(|(first, last)| last.duration_since(*first));
        let over_night = between_days - active.unwrap_or_default();
        over_night.max(within_day).unsigned_abs()
    }

    /// Matching days from `start` on.
    fn days(&self, start: Date) -> impl Iterator<Item = Date> {
        let all = successors(Some(start), |day| day.tomorrow().ok()).take(EVERY_DAY);
        all.filter(|day| self.has_day(*day))
    }

    fn has_day(&self, date: Date) -> bool {
        let ordinal = |number: i8| u32::from(number.unsigned_abs());
        let number = ordinal(date.weekday().to_sunday_zero_offset());
        let weekdays = self.weekdays.hours();
        let weekday = weekdays.includes(number) || (number == 0 && weekdays.includes(7));
        let day = self.days.days_of_month().includes(ordinal(date.day()));
        let fits = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        fits && self.months.months().includes(ordinal(date.month()))
    }

    /// Matching times of a day, in order.
    fn times(&self) -> impl Iterator<Item = Time> {
        let number = |ordinal: u32| i8::try_from(ordinal).ok();
        self.hours.hours().iter().flat_map(move |hour| {
            let minutes = self.minutes.minutes().iter();
            minutes.filter_map(move |minute| Time::new(number(hour)?, number(minute)?, 0, 0).ok())
        })
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Minute, hour, day of month and month.
fn schedule(fields: [&str; 4]) -> Option<Schedule> {
    Schedule::from_str(&format!("0 {} *", fields.join(" "))).ok()
}

/// Days of the week as hours, whose field has the same notation and counts from 0.
fn weekdays(field: &str) -> Option<Schedule> {
    const SEPARATORS: [char; 3] = [',', '-', '/'];
    let mut numbers = String::new();
    for part in field.split_inclusive(SEPARATORS) {
        let (word, separator) = part.split_at(part.trim_end_matches(SEPARATORS).len());
        let word = word.to_lowercase();
        let is_day = |day: &str| word.len() >= 3 && day.starts_with(&word);
        match WEEKDAYS.iter().position(|day| is_day(day)) {
            Some(number) => numbers.push_str(&number.to_string()),
            None if word.parse().is_ok_and(|number: u32| number > 7) => return None,
            None => numbers.push_str(&word),
        }
        numbers.push_str(separator);
    }
    schedule(["0", &numbers, "*", "*"])
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
            // As other programs write a day that does not matter.
            (
                "0 12 ? * mon",
                "2026-11-23T12:00:00Z",
                "2026-11-30T12:00:00Z",
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
            ("60 * * * *", "\"60\" is not a valid minute (0 to 59)"),
            ("* 5-3 * * *", "\"5-3\" is not a valid hour"),
            ("* * * * 8", "\"8\" is not a valid day of week (0 to 7)"),
            (
                "* * * * 5-3",
                "\"5-3\" is not a valid day of week (0 to 7); a range begins with its lower end",
            ),
            ("*/0 * * * *", "\"*/0\" is not a valid minute"),
            ("* * 0 * *", "\"0\" is not a valid day of month"),
            ("* * * foo *", "\"foo\" is not a valid month"),
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
