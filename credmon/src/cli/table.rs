//! The report of `status` for people: a table, and what is wrong in words.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use textwrap::{Options, WordSplitter};

use crate::model::{JudgedCredential, Report, State, VaultStatus, WAITS, WAITS_SINCE};

/// Renders a report: a table, then what is wrong in words. On a terminal of so many columns each
/// credential has one line, which is cut if need be, and words are wrapped.
pub(super) fn render(report: &Report, now: Timestamp, columns: Option<usize>) -> String {
    let mut rows = vec![
        [
            "USER", "SERVICE", "STATE", "ACCESS", "VAULT", "NEXT", "JTI", "SCOPES",
        ]
        .map(str::to_owned),
    ];
    rows.extend(report.credentials.iter().map(|judged| row(judged, now)));
    let mut text = String::new();
    if report.credentials.is_empty() {
        text.push_str("no credentials\n");
    } else {
        let mut widths = [0; 8];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(&cut(line.trim_end(), columns));
            text.push('\n');
        }
    }
    // The trouble of a Vault or issuer is shown once, however many wait for it.
    let troubles = &report.daemon.troubled_vaults;
    let waits = |judged: &JudgedCredential, vault: &VaultStatus| {
        let why = judged.credential.why.strip_prefix(WAITS);
        let name = why.and_then(|why| Some(why.split_once(WAITS_SINCE)?.0));
        let rest = name.and_then(|name| vault.why.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with(' '))
    };
    let stories = report.credentials.iter();
    let own = stories.filter(|j| !troubles.iter().any(|vault| waits(j, vault)));
    for words in own.filter_map(|j| story(j, now)) {
        text.push('\n');
        text.push_str(&wrapped(&words, columns));
    }
    let vaults = troubles.iter().map(|vault| {
        let waiting = report
            .credentials
            .iter()
            .filter(|j| waits(j, vault))
            .count();
        let waiting = match waiting {
            0 => String::new(),
            1 => " (1 credential above waits for it)".to_owned(),
            many => format!(" ({many} credentials above wait for it)"),
        };
        format!("Vault {}{waiting}: {}", vault.host, vault.why)
    });
    let more = report.daemon.more_troubled_vaults;
    let more =
        (more > 0).then(|| format!("{more} more Vaults or issuers are down or limit requests"));
    for words in vaults.chain(more).chain(report.complaints.iter().cloned()) {
        text.push('\n');
        text.push_str(&wrapped(&words, columns));
    }
    text
}

/// Remarks on a credential, in lines.
fn story(judged: &JudgedCredential, now: Timestamp) -> Option<String> {
    let credential = &judged.credential;
    let id = format!("{}/{}", credential.user, credential.service);
    if credential.why.is_empty() {
        let error = credential.last_error.as_ref()?;
        let ago = age(now, error.at);
        return Some(format!("{id}: last error {ago} ago: {}", error.text));
    }
    let mut words = format!(
        "{id}: {} for {}: {}",
        credential.state,
        age(now, credential.since),
        credential.why
    );
    if !credential.advice.is_empty() && !credential.why.ends_with(&*credential.advice) {
        // Writing to a string does not fail.
        let _ = write!(words, "\n  to do: {}", credential.advice);
    }
    Some(words)
}

/// A line of at most so many columns.
fn cut(line: &str, columns: Option<usize>) -> Cow<'_, str> {
    columns.map_or(line.into(), |columns| {
        console::truncate_str(line, columns, "…")
    })
}

/// Lines of at most so many columns, as far as words allow; what goes on is indented.
fn wrapped(words: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return format!("{words}\n");
    };
    let options = Options::new(columns)
        .subsequent_indent("    ")
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    let lines = words
        .lines()
        .map(|line| textwrap::fill(line, &options) + "\n");
    lines.collect()
}

fn row(judged: &JudgedCredential, now: Timestamp) -> [String; 8] {
    let credential = &judged.credential;
    let token = credential.access_token.as_ref();
    let left = |left: Option<i64>, known: bool| match left {
        Some(0) => "ended".to_owned(),
        Some(left) => span(left),
        None if known => "unknown".to_owned(),
        None => "none".to_owned(),
    };
    let vault = match &credential.vault_token {
        Some(token) if token.expires.is_none() => "no end".to_owned(),
        Some(_) => left(judged.vault_token_left, true),
        None => "-".to_owned(),
    };
    let next = match credential.next_renewal {
        Some(_) if matches!(credential.state, State::Ignored) => "-".to_owned(),
        Some(at) => span(at.as_second().saturating_sub(now.as_second()).max(0)),
        None if matches!(credential.state, State::Renewing) => "now".to_owned(),
        None => "-".to_owned(),
    };
    let id = token.and_then(|token| token.id.as_deref());
    let scopes = token.map(|token| &*token.scopes);
    [
        credential.user.to_string(),
        credential.service.to_string(),
        credential.state.to_string(),
        left(judged.access_token_left, token.is_some()),
        vault,
        next,
        id.unwrap_or("-").to_owned(),
        scopes.unwrap_or("-").to_owned(),
    ]
    .map(|cell| cell.chars().filter(|c| !c.is_control()).collect())
}

fn age(now: Timestamp, since: Timestamp) -> String {
    span(now.as_second().saturating_sub(since.as_second()).max(0))
}

/// Seconds in at most two units.
fn span(seconds: i64) -> String {
    let (days, hours) = (seconds / 86_400, seconds % 86_400 / 3600);
    let (minutes, rest) = (seconds % 3600 / 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest:02}s"),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests;
