//! Durations as Vault reads and prints them.
//!
//! Owns the text form only. What is accepted: nothing (zero), plain seconds (`3600`), days
//! (`7d`), and units put together (`1h30m`, `604800s`, `1.5h`). Error texts are the server's own,
//! because clients see them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86400.0),
];

/// Reads a duration as the server does for `ttl` and `minimum_seconds`; it may be negative. The
/// error is what the server says.
pub fn parse(text: &str) -> Result<SignedDuration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(SignedDuration::ZERO);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(SignedDuration::from_secs(seconds));
    }
    let days = text.strip_suffix('d').and_then(|n| n.parse::<i64>().ok());
    if let Some(seconds) = days.and_then(|days| days.checked_mul(86400)) {
        return Ok(SignedDuration::from_secs(seconds));
    }
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let known = UNITS
            .iter()
            .find(|(name, _)| *name == unit && unit != "d")
            .ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        seconds += number * known.1;
        rest = after;
    }
    SignedDuration::try_from_secs_f64(sign * seconds).map_err(|_| invalid())
}

/// Reads a duration of the command line: as [`parse`], and longer than nothing.
pub fn parse_option(text: &str) -> Result<Duration, String> {
    let parsed = parse(text).map_err(|_| {
        format!("{text:?} is no duration: write a number with a unit, as 60s, 5m, 12h or 7d")
    })?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{text:?} must be longer than nothing")),
    }
}

/// Prints a duration in the server's short form: `672h`, `1h30m`, `90s` as `1m30s`.
#[must_use]
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (h, m, s) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, 0, 0) => format!("{h}h"),
        (h, m, 0) => format!("{h}h{m}m"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// The moment `duration` after `start`; the end of time where that cannot be said.
#[must_use]
pub fn after(start: Timestamp, duration: Duration) -> Timestamp {
    start.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Whole seconds from `now` until `end`, at least none. The real server rounds `now` to the nearest
/// second first, so that a token just made shows its whole life or one second less.
#[must_use]
pub fn seconds_left(now: Timestamp, end: Timestamp) -> u64 {
    let now = now.round(Unit::Second).unwrap_or(now);
    u64::try_from(now.duration_until(end).as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_server_reads() {
        for (text, seconds) in [
            ("", 0),
            ("3600", 3600),
            ("604800s", 604_800),
            ("7d", 604_800),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("-5s", -5),
        ] {
            assert_eq!(
                parse(text),
                Ok(SignedDuration::from_secs(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_in_the_words_of_the_server() {
        for (text, words) in [
            ("soon", "time: invalid duration \"soon\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("1h5", "time: missing unit in duration \"1h5\""),
            ("1d5h", "time: unknown unit \"d\" in duration \"1d5h\""),
        ] {
            assert_eq!(parse(text).unwrap_err(), words);
        }
    }

    #[test]
    fn an_option_is_longer_than_nothing() {
        assert_eq!(parse_option("5m"), Ok(Duration::from_mins(5)));
        assert!(parse_option("0s").is_err());
        assert!(parse_option("-5s").is_err());
        assert!(parse_option("x").unwrap_err().contains("60s, 5m"));
    }

    #[test]
    fn prints_short() {
        for (seconds, text) in [
            (9_000_000, "2500h"),
            (5400, "1h30m"),
            (61, "1m1s"),
            (5, "5s"),
        ] {
            assert_eq!(print(Duration::from_secs(seconds)), text);
        }
    }
}
