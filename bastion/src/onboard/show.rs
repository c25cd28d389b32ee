//! What a person sees who is to log in: the link, the code, and on a terminal a QR code of the link.

use std::fmt::Write as _;

use htvault::DeviceFlow;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::delivery::Credential;

/// Black on white, whatever the terminal's colours, so that every camera reads it.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const USUAL_COLOURS: &str = "\x1b[0m";

/// The invitation, for a terminal of so many columns; without a terminal there is no QR code.
#[must_use]
pub fn invitation(credential: &Credential, flow: &DeviceFlow, columns: Option<usize>) -> String {
    let person = credential.credkey.split('/').next().unwrap_or_default();
    let mut text = format!(
        "To onboard account {}, service {} ({} at issuer {}, role {}), log in as {person}:\n\n    {}\n",
        credential.identity.account,
        credential.service,
        credential.credkey,
        credential.issuer,
        credential.role,
        printable(&flow.url),
    );
    if let Some(code) = code(flow) {
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            text,
            "\nThe page asks for, or shows, the code {}\n",
            printable(&code)
        );
    }
    if let Some(qr) = columns.and_then(|columns| qr_code(&flow.url, columns)) {
        let _ = write!(text, "\n{qr}");
    }
    text.push('\n');
    text
}

/// The code that the person types or compares: as the server says, else the one in the link.
#[must_use]
pub fn code(flow: &DeviceFlow) -> Option<String> {
    flow.user_code.clone().or_else(|| {
        let url = url::Url::parse(&flow.url).ok()?;
        let (_, code) = url.query_pairs().find(|(key, _)| key == "user_code")?;
        Some(code.into_owned())
    })
}

/// A text from a server, on a terminal: without anything that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The text as a QR code of half blocks; `None` when it would not fit into the columns.
#[must_use]
pub fn qr_code(text: &str, columns: usize) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code.render::<Dense1x2>().build();
    let fits = drawn.lines().all(|line| line.chars().count() <= columns);
    fits.then(|| {
        let mut text = String::new();
        for line in drawn.lines() {
            let _ = writeln!(text, "{BLACK_ON_WHITE}{line}{USUAL_COLOURS}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://issuer.test:8443/device?user_code=D499B6CA";

    #[test]
    fn a_qr_code_fits_a_usual_terminal_and_is_left_out_in_a_narrow_one() {
        let drawn = qr_code(LINK, 80).unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines.len() <= 22, "{drawn}");
        assert!(lines.iter().all(|line| line.ends_with(USUAL_COLOURS)));
        assert_eq!(qr_code(LINK, 20), None);
    }

    #[test]
    fn a_qr_code_has_its_finder_patterns() {
        let plain = qr_code(LINK, 80)
            .unwrap()
            .replace(BLACK_ON_WHITE, "")
            .replace(USUAL_COLOURS, "");
        // Two module rows a line: the quiet zone, then the upper edges of both finder patterns.
        let top = plain.lines().nth(2).unwrap().trim();
        assert!(top.starts_with("█▀▀▀▀▀█"), "{plain}");
        assert!(top.ends_with("█▀▀▀▀▀█"), "{plain}");
    }

    #[test]
    fn nothing_of_a_server_moves_the_cursor() {
        assert_eq!(printable("https://x\x1b[2J\r\n/y"), "https://x[2J/y");
    }
}
