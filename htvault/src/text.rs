//! Foreign text made fit for messages, logs and terminals.

/// Longest text of a server or library in a message, in characters.
pub const LIMIT: usize = 500;

/// Escapes control characters visibly and cuts the text to `max_chars` characters.
///
/// Control characters, and the invisible characters that change the direction or the look of text,
/// appear as `\n`, `\u{1b}` and the like. A text that was cut ends in `…`, which counts as one of
/// the `max_chars` characters.
///
/// ```
/// use htvault::text::printable;
///
/// assert_eq!(printable("red: \u{1b}[31m", 500), r"red: \u{1b}[31m");
/// assert_eq!(printable("a long text", 7), "a long…");
/// ```
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    // Nearly all texts are such.
    if text.len() <= max_chars && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut escaped = text.chars().flat_map(|c| {
        let (plain, code) = if is_plain(c) {
            (Some(c), None)
        } else {
            (None, Some(c.escape_default()))
        };
        plain.into_iter().chain(code.into_iter().flatten())
    });
    let mut out: String = escaped.by_ref().take(max_chars).collect();
    if escaped.next().is_some() && out.pop().is_some() {
        out.push('…');
    }
    out
}

/// A text on one line: white space of any kind becomes one space; bounded by [`LIMIT`].
pub(crate) fn one_line(text: &str) -> String {
    // A little more than the limit is enough to see that something was cut.
    let bounded: String = text.chars().take(4 * LIMIT).collect();
    let words: Vec<&str> = bounded.split_whitespace().collect();
    printable(&words.join(" "), LIMIT)
}

fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_characters_and_changes_of_direction_are_shown() {
        assert_eq!(
            printable("a\u{1b}[2J\u{9b}\n\0\u{202e}z", 99),
            r"a\u{1b}[2J\u{9b}\n\u{0}\u{202e}z"
        );
        assert_eq!(printable("Zürich – 東京", 99), "Zürich – 東京");
    }

    #[test]
    fn only_what_is_too_long_is_cut() {
        assert_eq!(printable("four", 4), "four");
        assert_eq!(printable("fives", 4), "fiv…");
        assert_eq!(printable("x", 0), "");
        assert_eq!(one_line(&"x".repeat(10_000)).chars().count(), LIMIT);
        assert_eq!(one_line(" 1 error:\n\t* denied\n\n"), "1 error: * denied");
    }

    proptest! {
        #[test]
        fn never_a_control_character_and_never_too_long(text in "\\PC{0,20}[\\x00-\\xff]{0,20}", max in 0_usize..30) {
            let out = printable(&text, max);
            prop_assert!(out.chars().count() <= max);
            prop_assert!(out.chars().all(is_plain));
        }
    }
}
