//! `condor_credmon_htvault status`: reads the status file and answers, as a table or as JSON.
//!
//! It asks nobody and needs no privilege but to read the file. Exit code 0: what was asked for can
//! be used; 1: it cannot; 2: it cannot be told.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use crate::old::condor_config;
use crate::old::settings::Settings;
use crate::old::state::State;
use crate::old::status::{Judged, Question, Report, VaultStatus};
use crate::old::status_file;

/// Tells how the credentials are doing. Exit code 0: all that is asked for can be used; 1: it
/// cannot; 2: it cannot be told.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Only this account.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only this service.
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// What an access token must have left at least, such as 90s, 20m or 1h.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = seconds)]
    pub min_life: i64,
    /// Status file, instead of the configured one.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// A time: a number with `s`, `m`, `h` or `d`.
pub(crate) fn seconds(text: &str) -> Result<i64, &'static str> {
    const WORDS: &str = "a number with s, m, h or d is meant, such as 20m";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: i64 = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(WORDS),
    };
    let number: u32 = digits.parse().map_err(|_| WORDS)?;
    i64::from(number).checked_mul(unit).ok_or(WORDS)
}

/// Runs the command.
pub async fn run(daemon: &str, args: &StatusArgs, now: Timestamp) -> ExitCode {
    let unknown = |words: String| {
        eprintln!("condor_credmon_htvault: {words}");
        ExitCode::from(2)
    };
    let file = if let Some(file) = &args.file {
        Some(file.clone())
    } else {
        let (values, _) = condor_config::read(daemon).await;
        Settings::new(&values, daemon, "").0.views.status_file
    };
    let Some(file) = file else {
        return unknown(
            "no status file is configured: set CREDMON_HTVAULT_STATUS_FILE, or name one with --file"
                .to_owned(),
        );
    };
    let report = match ask(&file, args, now) {
        Ok(report) => report,
        Err(error) => {
            return unknown(format!(
                "the status file {} cannot be read: {error}; perhaps the credential monitor has \
                 never run here, or you may not read it",
                file.display()
            ));
        }
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        let width = console::Term::stdout().size_checked();
        table(&report, now, width.map(|(_, columns)| usize::from(columns)))
    };
    // Nobody reads on: that is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(!report.good))
}

fn ask(file: &Path, args: &StatusArgs, now: Timestamp) -> std::io::Result<Report> {
    let question = Question {
        user: args.user.clone(),
        service: args.service.clone(),
        min_life: args.min_life,
    };
    let (daemon, credentials) = status_file::read(file, |c| question.is_about(c))?;
    Ok(question.answer(daemon, credentials, now))
}

/// The report for eyes: a table, then what is wrong in words. On a terminal of so many columns each
/// credential has one line, which is cut if need be, and words are wrapped.
fn table(report: &Report, now: Timestamp, columns: Option<usize>) -> String {
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
    // The trouble of a Vault is told once, however many wait for it.
    let troubles = &report.daemon.troubled_vaults;
    let waits = |judged: &Judged, vault: &VaultStatus| judged.credential.why == vault.why;
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
    for words in vaults.chain(report.complaints.iter().cloned()) {
        text.push('\n');
        text.push_str(&wrapped(&words, columns));
    }
    text
}

/// What there is to say of a credential, in lines.
fn story(judged: &Judged, now: Timestamp) -> Option<String> {
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
    if !credential.advice.is_empty() && !credential.why.ends_with(&credential.advice) {
        // Writing to a string does not fail.
        let _ = write!(words, "\n  to do: {}", credential.advice);
    }
    Some(words)
}

/// A line of at most so many columns.
fn cut(line: &str, columns: Option<usize>) -> String {
    match columns {
        Some(columns) if line.chars().count() > columns => {
            let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
            format!("{kept}…")
        }
        _ => line.to_owned(),
    }
}

/// Lines of at most so many columns, as far as words allow; what goes on is indented.
fn wrapped(words: &str, columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(usize::MAX);
    let mut text = String::new();
    for line in words.lines() {
        let indent = line.len() - line.trim_start().len();
        text.push_str(&" ".repeat(indent));
        let mut used = indent;
        for (place, word) in line.split_whitespace().enumerate() {
            let width = word.chars().count();
            if place > 0 && used + 1 + width > columns {
                text.push_str("\n    ");
                used = 4;
            } else if place > 0 {
                text.push(' ');
                used += 1;
            }
            text.push_str(word);
            used += width;
        }
        text.push('\n');
    }
    text
}

fn row(judged: &Judged, now: Timestamp) -> [String; 8] {
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
    [
        credential.user.clone(),
        credential.service.clone(),
        credential.state.to_string(),
        left(judged.access_token_left, token.is_some()),
        vault,
        next,
        token
            .and_then(|token| token.id.clone())
            .unwrap_or_else(|| "-".to_owned()),
        token.map_or_else(|| "-".to_owned(), |token| token.scopes.0.clone()),
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
mod tests {
    use super::*;
    use crate::old::status::tests::{at, credential, daemon};

    #[test]
    fn times_are_read_and_told() {
        for (text, expected) in [
            ("90", 90),
            ("90s", 90),
            ("20m", 1200),
            ("1h", 3600),
            ("7d", 604_800),
        ] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "m", "1w", "-1s", "1.5h", "1 h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        let told: Vec<_> = [0, 59, 61, 3660, 90_000].map(span).into();
        assert_eq!(told, ["0s", "59s", "1m01s", "1h01m", "1d01h"]);
    }

    #[test]
    fn the_table_says_all_in_columns_and_what_to_do_below() {
        let mut bad = credential("crabtw", State::Dead, 900);
        bad.why = "lookup-self says that it is dead".to_owned();
        bad.advice = "store it again".to_owned();
        bad.next_renewal = None;
        bad.vault_token = None;
        let all = [credential("a", State::Fresh, 3600), bad];
        let report = Question::default().answer(daemon(), all, at(1000));
        assert_eq!(
            table(&report, at(1000), None),
            "\
USER    SERVICE  STATE  ACCESS  VAULT  NEXT   JTI   SCOPES
a       cms      fresh  43m20s  1d00h  3m20s  id-1  storage.read:/ openid
crabtw  cms      dead   ended   -      -      id-1  storage.read:/ openid

crabtw/cms: dead for 16m40s: lookup-self says that it is dead
  to do: store it again
"
        );
    }
    #[test]
    fn on_a_terminal_a_credential_has_one_line_and_words_are_wrapped() {
        let mut bad = credential("crabtw", State::Dead, 900);
        bad.why =
            "vault.test refuses the vault token, and lookup-self says that it is dead".to_owned();
        bad.advice = "store it again (the bastion does)".to_owned();
        let report = Question::default().answer(daemon(), [bad], at(1000));
        assert_eq!(
            table(&report, at(1000), Some(40)),
            "\
USER    SERVICE  STATE  ACCESS  VAULT  …
crabtw  cms      dead   ended   1d00h  …

crabtw/cms: dead for 16m40s: vault.test
    refuses the vault token, and
    lookup-self says that it is dead
  to do: store it again (the bastion
    does)
"
        );
        let narrow = table(&report, at(1000), Some(0));
        assert!(narrow.contains("lookup-self"), "{narrow}");
    }
    #[test]
    fn the_trouble_of_a_vault_is_told_once() {
        let why = "vault.test: no connection";
        let waiting = |user: &str| {
            let mut credential = credential(user, State::Degraded, 3600);
            credential.why = why.to_owned();
            credential
        };
        let mut daemon = daemon();
        daemon.troubled_vaults.push(VaultStatus {
            host: "vault.test".to_owned(),
            rests_until: None,
            why: why.to_owned(),
        });
        let report = Question::default().answer(daemon, [waiting("a"), waiting("b")], at(1000));
        let table = table(&report, at(1000), None);
        assert_eq!(table.matches(why).count(), 1, "{table}");
        let line = "\nVault vault.test (2 credentials above wait for it): vault.test: no";
        assert!(table.contains(line), "{table}");
    }
}
