//! Durations as people write them: `7d`, `300s`, `1h30m`, `2 weeks`. Whole seconds, never zero.

use std::fmt::Write as _;
use std::time::Duration;

/// Ten years: longer is a slip of the finger.
const LONGEST: u64 = 10 * 365 * 86_400;

/// Reads a duration.
///
/// # Errors
/// What is wrong, and how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refuse = |why: &str| Err(format!("{text:?} is no duration: {why}"));
    let mut seconds: u64 = 0;
    let mut largest_unit = u64::MAX;
    let mut rest = text.trim();
    if rest.is_empty() {
        return refuse("write for example 7d, 1h30m or 300s");
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return refuse("write for example 7d, 1h30m or 300s");
        }
        let after = after.trim_start();
        let letters = after.len() - after.trim_start_matches(char::is_alphabetic).len();
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 604_800,
            "" => return refuse("the unit is missing, one of s, m, h, d, w"),
            _ => return refuse("the units are s, m, h, d, w"),
        };
        if unit >= largest_unit {
            return refuse("write larger units first and each once, as in 1h30m");
        }
        largest_unit = unit;
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        seconds = match part.and_then(|part| seconds.checked_add(part)) {
            Some(sum) if sum <= LONGEST => sum,
            _ => return refuse("it is longer than ten years"),
        };
        rest = after.trim_start();
    }
    if seconds == 0 {
        return refuse("it must be longer than zero");
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes a duration as [`parse`] reads it: `1h30m`; `0s` for less than a second.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    let mut text = String::new();
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        let count = seconds / length;
        seconds %= length;
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{count}{unit}");
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// Writes a duration in no more detail than people want: in its two largest units, days alone
/// from two weeks on.
#[must_use]
pub fn short(whole: Duration) -> String {
    let seconds = whole.as_secs();
    let unit = match seconds {
        0..3600 => 1,
        3600..86_400 => 60,
        86_400..1_209_600 => 3600,
        _ => 86_400,
    };
    format(Duration::from_secs(seconds - seconds % unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_told_in_two_units_at_most() {
        for (seconds, text) in [
            (59, "59s"),
            (3599, "59m59s"),
            (86_399, "23h59m"),
            (90_061, "1d1h"),
            (8439 * 86_400 + 5000, "8439d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn what_people_write_is_read() {
        for (text, seconds) in [
            ("7d", 604_800),
            ("300s", 300),
            ("5m", 300),
            ("1h30m", 5400),
            ("1w", 604_800),
            (" 3m ", 180),
            ("2 weeks", 1_209_600),
            ("1 day 12 hours", 129_600),
            ("5min", 300),
            ("1h 30m", 5400),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "write for example 7d, 1h30m or 300s"),
            ("soon", "write for example 7d, 1h30m or 300s"),
            ("-5m", "write for example 7d, 1h30m or 300s"),
            ("300", "the unit is missing, one of s, m, h, d, w"),
            ("7 ", "the unit is missing, one of s, m, h, d, w"),
            ("5months", "the units are s, m, h, d, w"),
            ("5M", "the units are s, m, h, d, w"),
            (
                "30m1h",
                "write larger units first and each once, as in 1h30m",
            ),
            (
                "1m1m",
                "write larger units first and each once, as in 1h30m",
            ),
            ("0s", "it must be longer than zero"),
            ("99999999999999999999d", "it is longer than ten years"),
            ("11000000w", "it is longer than ten years"),
        ] {
            assert_eq!(
                parse(text),
                Err(format!("{text:?} is no duration: {reason}")),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 1..LONGEST) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn nothing_panics(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}
