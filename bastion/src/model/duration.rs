//! Durations in the configuration and in output: `7d`, `300s`, `1h30m`, `2 weeks`. Whole seconds, never zero.

use std::time::Duration;

use jiff::fmt::friendly::{Spacing, SpanPrinter};
use jiff::{Span, SpanRelativeTo, SpanRound, Unit};

/// Ten years, in seconds: a longer duration is taken for a typing error.
const LONGEST: u64 = 10 * 365 * 86_400;

static PRINTER: SpanPrinter = SpanPrinter::new().spacing(Spacing::None);

/// Parses a duration.
///
/// # Errors
/// The fault, and the correct notation.
pub fn parse(text: &str) -> Result<Duration, String> {
    let why = match seconds(text.trim()) {
        Some(0) => "it must be longer than zero",
        Some(seconds) if seconds > LONGEST => "it is longer than ten years",
        Some(seconds) => return Ok(Duration::from_secs(seconds)),
        None => {
            "write whole numbers with units (w, d, h, m, s), larger ones first, as in 7d or 1h30m"
        }
    };
    Err(format!("{text:?} is not a duration: {why}"))
}

/// Parses whole numbers of units with a fixed length, in seconds; jiff accepts more.
fn seconds(text: &str) -> Option<u64> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c.is_whitespace());
    let span = text.parse::<Span>().ok().filter(|_| is_plain)?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let whole = (duration.subsec_nanos() == 0).then(|| duration.as_secs())?;
    u64::try_from(whole).ok()
}

/// Formats a duration as [`parse`] reads it: `1h30m`; `0s` for less than a second.
#[must_use]
pub fn format(duration: Duration) -> String {
    let days_and_less = SpanRound::new().largest(Unit::Day).days_are_24_hours();
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let span = Span::new().try_seconds(seconds);
    let span = span.and_then(|span| span.round(days_and_less));
    PRINTER.span_to_string(&span.unwrap_or_default())
}

/// Formats a duration in its two largest units, from two weeks on in days only.
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
    fn durations_are_shown_in_two_units_at_most() {
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
        let how =
            "write whole numbers with units (w, d, h, m, s), larger ones first, as in 7d or 1h30m";
        for (text, reason) in [
            ("", how),
            ("soon", how),
            ("-5m", how),
            ("300", how),
            ("7 ", how),
            ("5months", how),
            ("5M", how),
            ("30m1h", how),
            ("1m1m", how),
            ("1.5h", how),
            ("1h, 5m", how),
            ("5m ago", how),
            ("1:30:00", how),
            ("PT5M", how),
            ("5ms", how),
            ("1y", how),
            ("0s", "it must be longer than zero"),
            ("99999999999999999999d", how),
            ("1000000w", "it is longer than ten years"),
        ] {
            assert_eq!(
                parse(text),
                Err(format!("{text:?} is not a duration: {reason}")),
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
