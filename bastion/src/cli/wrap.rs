//! Line wrapping for terminals, at blanks.

use console::Term;

/// Least readable width of a text column; texts go below their labels when there is less.
const NARROW: usize = 36;
/// Blanks between a label and its text.
const GAP: usize = 2;

/// Width of a terminal in columns; `None` where there is none. One that does not report its size has 80.
pub(crate) fn width(terminal: &Term) -> Option<usize> {
    terminal.is_term().then(|| usize::from(terminal.size().1))
}

/// Wraps each line of a text; its further lines are indented by two more than itself.
pub(crate) fn lines(text: &str, width: Option<usize>) -> String {
    let line = |line: &str| {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        format!(
            "{:indent$}{}",
            "",
            wrapped(words, indent, indent + 2, width)
        )
    };
    text.lines().map(line).collect()
}

/// Formats pairs of a label and a text, one row for each. Texts are in a column of their own. When that is too narrow,
/// they directly follow the label or, if they do not fit, go below it, indented by `below`. Without a width no line is
/// broken.
pub(crate) fn rows<'a>(
    rows: impl IntoIterator<Item = (String, &'a str)>,
    below: usize,
    width: Option<usize>,
) -> String {
    let rows: Vec<(String, &str)> = rows.into_iter().collect();
    let lengths = rows.iter().map(|(label, _)| label.chars().count());
    let longest = lengths.max().unwrap_or(0);
    let column = longest + GAP;
    let is_narrow = width.is_some_and(|width| width < column + NARROW);
    let mut text = String::new();
    for (label, words) in rows {
        let used = label.chars().count() + GAP;
        let fits = width.is_none_or(|width| used + words.chars().count() <= width);
        let (begin, at, indent) = if !is_narrow {
            (format!("{label:<column$}"), column, column)
        } else if fits {
            (format!("{label:<used$}"), used, below)
        } else {
            (format!("{}\n{:below$}", label.trim_end(), ""), below, below)
        };
        text.push_str(&begin);
        text.push_str(&wrapped(words, at, indent, width));
    }
    text
}

/// Wraps `words` that start at column `at` of a line; further lines are indented by `indent`. No line is wider than
/// `width`, except for a single word that is wider.
pub(crate) fn wrapped(words: &str, mut at: usize, indent: usize, width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let mut text = String::new();
    // No blank before the first word.
    let mut first = true;
    for word in words.split(' ') {
        let length = word.chars().count();
        let gap = usize::from(!first);
        if at > indent && at.saturating_add(gap + length) > width {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            at = indent;
        } else if !first {
            text.push(' ');
            at += 1;
        }
        first = false;
        text.push_str(word);
        at += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_broken_at_blanks_and_set_in() {
        let words = "it went wrong; put it right";
        assert_eq!(wrapped(words, 0, 2, None), format!("{words}\n"));
        assert_eq!(
            wrapped(words, 0, 2, Some(14)),
            "it went wrong;\n  put it right\n"
        );
        assert_eq!(
            wrapped(words, 10, 2, Some(14)),
            "it\n  went wrong;\n  put it right\n"
        );
        assert_eq!(
            wrapped("Vault https://vault.example.org:8200 down", 0, 2, Some(20)),
            "Vault\n  https://vault.example.org:8200\n  down\n"
        );
    }

    #[test]
    fn each_line_of_a_text_is_broken_for_itself() {
        let text = "account a: onboarded\n  tried with the keytab\n";
        assert_eq!(lines(text, None), text);
        assert_eq!(
            lines(text, Some(14)),
            "account a:\n  onboarded\n  tried with\n    the keytab\n"
        );
    }

    proptest! {
        #[test]
        fn rows_keep_their_words_and_are_no_wider_than_they_must_be(
            labels in proptest::collection::vec("[a-z]{1,20}", 1..5),
            words in proptest::collection::vec("[a-z]{1,12}", 1..30),
            below in 0_usize..8,
            width in 30_usize..90,
        ) {
            let line = words.join(" ");
            let text = rows(labels.iter().map(|label| (label.clone(), line.as_str())), below, Some(width));
            let found: Vec<&str> = text.split_whitespace().collect();
            let all = labels.iter().flat_map(|label| std::iter::once(label).chain(&words));
            prop_assert_eq!(found, all.collect::<Vec<_>>());
            for line in text.lines() {
                prop_assert!(line.chars().count() <= width, "{}", text);
                prop_assert_eq!(line, line.trim_end());
            }
        }

        #[test]
        fn no_word_is_lost_and_no_line_is_wider_than_it_must_be(
            words in proptest::collection::vec("[a-z]{1,12}", 0..30),
            at in 0_usize..30,
            indent in 0_usize..14,
            width in 30_usize..60,
        ) {
            let line = words.join(" ");
            let text = wrapped(&line, at, indent, Some(width));
            let found: Vec<&str> = text.split_whitespace().collect();
            prop_assert_eq!(found, words);
            for (number, line) in text.lines().enumerate() {
                let before = if number == 0 { at } else { 0 };
                prop_assert!(before + line.chars().count() <= width, "{}", text);
            }
        }
    }
}
