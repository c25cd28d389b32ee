//! Long lines for a terminal, broken at blanks.

/// Words in a column narrower than this are hard to read; they go below what they are about then.
const NARROW: usize = 36;
/// Between what words are about and the words.
const GAP: usize = 2;

/// A line for each of `rows`, of what it is about and words behind that. The words stay in a column of
/// their own; where that is narrow they follow at once or, where they do not fit, go below, set in by
/// `below`. Without a width none is broken.
pub(crate) fn rows<'a>(
    rows: impl IntoIterator<Item = (String, &'a str)>,
    below: usize,
    width: Option<usize>,
) -> String {
    let rows: Vec<(String, &str)> = rows.into_iter().collect();
    let lengths = rows.iter().map(|(about, _)| about.chars().count());
    let longest = lengths.max().unwrap_or(0);
    let column = longest + GAP;
    let is_narrow = width.is_some_and(|width| width < column + NARROW);
    let mut text = String::new();
    for (about, words) in rows {
        let behind = about.chars().count() + GAP;
        let fits = width.is_none_or(|width| behind + words.chars().count() <= width);
        let (begin, at, indent) = if !is_narrow {
            (format!("{about:<column$}"), column, column)
        } else if fits {
            (format!("{about:<behind$}"), behind, below)
        } else {
            (format!("{}\n{:below$}", about.trim_end(), ""), below, below)
        };
        text.push_str(&begin);
        text.push_str(&wrapped(words, at, indent, width));
    }
    text
}

/// `words` behind what stands in the first `at` columns of a line already; every further line is set
/// in by `indent`. No line is wider than `width`, but for a word that is wider alone.
pub(crate) fn wrapped(words: &str, mut at: usize, indent: usize, width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let mut text = String::new();
    // Behind what stands there already a blank is no gap.
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

    proptest! {
        #[test]
        fn rows_keep_their_words_and_are_no_wider_than_they_must_be(
            abouts in proptest::collection::vec("[a-z]{1,20}", 1..5),
            words in proptest::collection::vec("[a-z]{1,12}", 1..30),
            below in 0_usize..8,
            width in 30_usize..90,
        ) {
            let line = words.join(" ");
            let text = rows(abouts.iter().map(|about| (about.clone(), line.as_str())), below, Some(width));
            let found: Vec<&str> = text.split_whitespace().collect();
            let all = abouts.iter().flat_map(|about| std::iter::once(about).chain(&words));
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
