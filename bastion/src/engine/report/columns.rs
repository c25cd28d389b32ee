//! A table for people, of words.

use std::fmt::Write as _;

/// Columns as wide as their widest word, two blanks between, none at the end.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    lines: impl Iterator<Item = [String; N]>,
) -> String {
    let lines: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(lines)
        .collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, word) in widths.iter_mut().zip(line) {
            *width = (*width).max(word.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (width, word) in widths.iter().zip(line) {
            // Writing to a string cannot fail.
            let _ = write!(row, "{word:<width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_words() {
        let lines = [
            ["a".to_owned(), "longer".to_owned()],
            ["bcd".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["X", "Y"], lines.into_iter()),
            "X    Y\na    longer\nbcd\n"
        );
    }
}
