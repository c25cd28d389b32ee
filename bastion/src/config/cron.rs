//! Cron expressions of five fields, as crontab(5) reads them, in the host's time zone.
//!
//! Minute, hour, day of month, month, day of week; `*`, lists, ranges, steps, names of months and
//! days, Sunday as 0 or 7. When both days are restricted, either is enough.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

/// Which minutes match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days are restricted: one of them is enough.
    either_day: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field's name, bounds and names of values.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong, and how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!(
                "{text:?} is no cron expression: five fields are needed (minute, hour, day of \
                 month, month, day of week), as in \"*/10 * * * *\""
            ));
        };
        let read = |field: &str, name, low, high, names| {
            let field_of = Field {
                name,
                low,
                high,
                names,
            };
            field_of
                .read(field)
                .map_err(|why| format!("{text:?} is no cron expression: {why}"))
        };
        let weekdays = read(weekday, "day of week", 0, 7, &WEEKDAYS)?;
        let cron = Self {
            text: text.to_owned(),
            minutes: read(minute, "minute", 0, 59, &[])?,
            hours: read(hour, "hour", 0, 23, &[])?,
            days: read(day, "day of month", 1, 31, &[])?,
            months: read(month, "month", 1, 12, &MONTHS)?,
            // 7 is Sunday too.
            weekdays: weekdays | (weekdays >> 7 & 1),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        if cron.next_day_exists() {
            Ok(cron)
        } else {
            Err(format!(
                "{text:?} is no cron expression: there is no such day"
            ))
        }
    }

    /// The first matching minute after `after`, in the time zone `zone`.
    ///
    /// An hour that a change to summer time leaves out is left out; one that comes twice matches twice.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Timestamp {
        let start = after.to_zoned(zone.clone());
        let mut at = match start.round(
            jiff::ZonedRound::new()
                .smallest(jiff::Unit::Minute)
                .mode(jiff::RoundMode::Trunc),
        ) {
            Ok(minute) => minute.saturating_add(1.minute()),
            Err(_) => start.saturating_add(1.minute()),
        };
        // A day that matches comes within eight years (29 February over 2100).
        for _ in 0..10_000 {
            if !self.day_matches(&at) {
                match at.tomorrow().and_then(|day| day.start_of_day()) {
                    Ok(midnight) => at = midnight,
                    Err(_) => break,
                }
            } else if !has(self.hours, at.hour().into()) {
                let to_hour = i64::from(60 - at.minute());
                at = at.saturating_add(to_hour.minutes());
            } else if has(self.minutes, at.minute().into()) {
                return at.timestamp();
            } else {
                at = at.saturating_add(1.minute());
            }
        }
        Timestamp::MAX
    }

    fn day_matches(&self, at: &Zoned) -> bool {
        let day = has(self.days, at.day().into());
        let weekday = has(self.weekdays, at.weekday().to_sunday_zero_offset().into());
        has(self.months, at.month().into())
            && if self.either_day {
                day || weekday
            } else {
                day && weekday
            }
    }

    fn next_day_exists(&self) -> bool {
        self.either_day
            || (1..=12_i64).any(|month| {
                let longest = match month {
                    2 => 29,
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                has(self.months, month) && (1..=longest).any(|day| has(self.days, day))
            })
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn has(set: u64, value: i64) -> bool {
    u32::try_from(value).is_ok_and(|value| set >> value & 1 == 1)
}

impl Field {
    /// The values of a field as a set of bits.
    fn read(&self, text: &str) -> Result<u64, String> {
        let mut set = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                None => (part, None),
                Some((range, step)) => match step.parse::<u32>() {
                    Ok(step) if step > 0 => (range, Some(step)),
                    _ => return Err(self.refuse(part)),
                },
            };
            let (low, high) = if range == "*" {
                (self.low, self.high)
            } else if let Some((low, high)) = range.split_once('-') {
                (self.value(low, part)?, self.value(high, part)?)
            } else {
                let value = self.value(range, part)?;
                (value, if step.is_some() { self.high } else { value })
            };
            if low > high {
                return Err(self.refuse(part));
            }
            let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1);
            for value in (low..=high).step_by(step) {
                set |= 1 << value;
            }
        }
        Ok(set)
    }

    fn value(&self, text: &str, part: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        let named = self
            .names
            .iter()
            .position(|name| *name == lower)
            .and_then(|index| u32::try_from(index).ok())
            // Months count from 1, days of the week from 0, as the fields do.
            .map(|index| index + self.low);
        named
            .or_else(|| text.parse().ok())
            .filter(|value| (self.low..=self.high).contains(value))
            .ok_or_else(|| self.refuse(part))
    }

    fn refuse(&self, part: &str) -> String {
        format!(
            "{part:?} is no {}, which goes from {} to {}",
            self.name, self.low, self.high
        )
    }
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
    fn mistakes_are_named() {
        for (cron, part) in [
            ("* * * *", "five fields are needed"),
            ("60 * * * *", "\"60\" is no minute, which goes from 0 to 59"),
            ("* 5-3 * * *", "\"5-3\" is no hour"),
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
