//! What the demonstration shows: events as lines, and on a terminal below them a table with two
//! bars for each delivery. In a pipe only the lines.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::observe::Snapshot;
use super::story::{access_left, left, short};
use crate::chain::Lives;

/// Width of everything in a row but its two bars.
const REST: u16 = 2 + 9 + 16 + 2 * 13 + 1;
/// Narrowest and widest bar.
const BARS: (u16, u16) = (4, 24);
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// The screen, or the pipe.
pub struct Screen {
    started: Instant,
    lives: Lives,
    table: Option<Table>,
}

struct Table {
    lines: MultiProgress,
    rows: Vec<ProgressBar>,
}

impl Screen {
    /// A screen for tokens with these lives.
    #[must_use]
    pub fn new(lives: Lives) -> Self {
        let table = std::io::stdout().is_terminal().then(|| Table {
            lines: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            rows: Vec::new(),
        });
        Self {
            started: Instant::now(),
            lives,
            table,
        }
    }

    /// Shows one line, with the seconds since the start.
    pub fn line(&self, text: &str) {
        let line = format!("{:6.1} s  {text}", self.started.elapsed().as_secs_f64());
        match &self.table {
            Some(table) => {
                let colour = match text.split_whitespace().next() {
                    Some("GAP") => RED,
                    Some("bastion") => YELLOW,
                    Some("job") => CYAN,
                    _ => PLAIN,
                };
                // A terminal that is gone is noticed elsewhere.
                let _ = table.lines.println(format!("{colour}{line}{PLAIN}"));
            }
            // A pipe that was closed (`| head`) must not end in a panic.
            None => {
                let _ = writeln!(std::io::stdout(), "{line}");
            }
        }
    }

    /// Draws the table anew.
    pub fn draw(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let lives = self.lives;
        let Some(table) = &mut self.table else {
            return;
        };
        let (_, columns) = console::Term::stdout().size();
        let width = (columns.saturating_sub(REST) / 2).clamp(BARS.0, BARS.1);
        let mut texts = vec![
            String::new(),
            format!(
                "{BOLD}  {:<9}{:<16}{:<cell$} {}{PLAIN}",
                "account",
                "service",
                "vault token",
                "access token",
                cell = usize::from(width) + 13,
            ),
        ];
        for ((account, service), stored) in snapshot {
            let vault = stored.vault.as_ref().map(|vault| left(vault, now));
            let access = stored
                .access
                .as_ref()
                .map(|access| access_left(access, now));
            texts.push(format!(
                "  {account:<9}{service:<16}{} {}",
                cell(width, vault, lives.vault_token, lives.renew_below),
                cell(width, access, lives.access_token, lives.access_minimum),
            ));
        }
        while table.rows.len() < texts.len() {
            let row = table.lines.add(ProgressBar::new_spinner());
            // The template is fixed text that indicatif understands.
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                row.set_style(style);
            }
            table.rows.push(row);
        }
        for (row, text) in table.rows.iter().zip(texts) {
            row.set_message(text);
            row.tick();
        }
    }

    /// Leaves the table as it is and goes on below.
    pub fn finish(&mut self) {
        if let Some(table) = self.table.take() {
            for row in &table.rows {
                row.abandon();
            }
            // Whatever is said next stands apart from the table.
            let _ = writeln!(std::io::stdout());
        }
    }
}

/// A bar of the seconds left of a whole life: green while more than `renew_below` is left.
fn cell(width: u16, left: Option<i64>, whole: u64, renew_below: u64) -> String {
    let width = i64::from(width);
    let Some(left) = left else {
        return format!(
            "{:<cell$}",
            "none yet",
            cell = usize::try_from(width).unwrap_or(0) + 13
        );
    };
    let seconds = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let full = (left.saturating_mul(width) / seconds(whole).max(1)).clamp(0, width);
    let colour = match left {
        0 => RED,
        left if left < seconds(renew_below) => YELLOW,
        _ => GREEN,
    };
    let repeat = |c: &str, n: i64| c.repeat(usize::try_from(n).unwrap_or(0));
    format!(
        "{colour}{}{PLAIN}{} {:<12}",
        repeat("█", full),
        repeat("░", width - full),
        short(left)
    )
}
