//! Foreign text made fit for messages: one line, printable, bounded.

/// Longest text of a server or library in a message, in characters.
const LIMIT: usize = 500;

/// The text on one line of at most 500 characters. Control characters, and invisible ones that change
/// the direction or the look of text, are escaped; a text that was cut ends in `…`.
pub(crate) fn printable(text: &str) -> String {
    // A little more than the limit is enough to see that something was cut.
    let bounded: String = text.chars().take(4 * LIMIT).collect();
    let words: Vec<&str> = bounded.split_whitespace().collect();
    let line = words.join(" ");
    let mut escaped = line.chars().flat_map(|c| {
        let (plain, code) = if is_plain(c) {
            (Some(c), None)
        } else {
            (None, Some(c.escape_default()))
        };
        plain.into_iter().chain(code.into_iter().flatten())
    });
    let mut out: String = escaped.by_ref().take(LIMIT).collect();
    if escaped.next().is_some() && out.pop().is_some() {
        out.push('…');
    }
    out
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

    #[test]
    fn text_is_one_bounded_printable_line() {
        assert_eq!(
            printable("a\u{1b}[2J\n\0\u{202e}z"),
            r"a\u{1b}[2J \u{0}\u{202e}z"
        );
        assert_eq!(printable(&"x".repeat(10_000)).chars().count(), LIMIT);
    }
}
