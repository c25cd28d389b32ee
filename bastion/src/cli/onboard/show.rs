//! Invitation to log in: the link, the code, and on a terminal a QR code of the link.

use htvault::DeviceFlow;
use htvault::text::printable;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::cli::table::{foreign, wrapped};
use crate::model::delivery::Credential;

/// Black on white, whatever the terminal's colours, so that every camera reads it.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const USUAL_COLOURS: &str = "\x1b[0m";

/// Lines below the QR code: the link, the code, and the progress line.
const BELOW: usize = 3;

/// Limit for a link, in characters: one that is cut is of no use, so it may be longer than other texts.
const LINK_LIMIT: usize = 4000;

/// Formats the invitation for a terminal with these rows and columns (`screen`); without a terminal there is no QR code.
/// The link and the code come last, so that a small terminal shows them.
pub(super) fn invitation(
    credential: &Credential,
    link: &str,
    code: Option<&str>,
    screen: Option<(u16, u16)>,
) -> String {
    let person = credential.credkey.split('/').next().unwrap_or_default();
    let invited = format!(
        "To onboard account {}, service {} ({} at issuer {}, role {}), log in as {person}:",
        credential.identity.account,
        credential.service,
        credential.credkey,
        credential.issuer,
        credential.role,
    );
    let invited = wrapped(&invited, screen.map(|(_, columns)| columns));
    let qr = screen.and_then(|screen| qr_code(link, screen));
    let link = printable(link, LINK_LIMIT);
    let code = code.map(|code| {
        let code = foreign(code);
        format!("The page asks for, or shows, the code {code}\n")
    });
    let (qr, code) = (qr.unwrap_or_default(), code.unwrap_or_default());
    format!("{invited}\n{qr}    {link}\n{code}")
}

/// Returns the code that the person types or compares: from the server's answer, else from the link.
pub(super) fn code(flow: &DeviceFlow) -> Option<String> {
    flow.user_code.clone().or_else(|| {
        let url = url::Url::parse(&flow.url).ok()?;
        let (_, code) = url.query_pairs().find(|(key, _)| key == "user_code")?;
        Some(code.into_owned())
    })
}

/// Draws a text as a QR code of half blocks; `None` when it does not fit.
fn qr_code(text: &str, (rows, columns): (u16, u16)) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code.render::<Dense1x2>().build();
    let fits = drawn.lines().count() + BELOW <= usize::from(rows)
        && drawn
            .lines()
            .all(|line| line.chars().count() <= usize::from(columns));
    let lines = drawn.lines();
    let lines = lines.map(|line| format!("{BLACK_ON_WHITE}{line}{USUAL_COLOURS}\n"));
    fits.then(|| lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://issuer.test:8443/device?user_code=D499B6CA";

    fn shown(screen: Option<(u16, u16)>) -> String {
        let credential = crate::fixtures::credential("cmsprod", "cms_crab");
        invitation(&credential, LINK, Some("D499B6CA"), screen)
    }

    /// Content of the QR code, as a camera reads it from the terminal: eight pixels a module, two modules a character.
    fn camera(screen: &str) -> Option<String> {
        const SIZE: usize = 8;
        let black_on_white = screen.lines().filter_map(|line| {
            line.strip_prefix(BLACK_ON_WHITE)?
                .strip_suffix(USUAL_COLOURS)
        });
        let mut modules: Vec<Vec<bool>> = Vec::new();
        for line in black_on_white {
            let half = |upper: bool| {
                line.chars()
                    .map(|c| match c {
                        '█' => true,
                        '▀' => upper,
                        '▄' => !upper,
                        ' ' => false,
                        other => panic!("{other:?}"),
                    })
                    .collect()
            };
            modules.extend([half(true), half(false)]);
        }
        let width = modules.first()?.len() * SIZE;
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(width, modules.len() * SIZE, |x, y| {
                if modules[y / SIZE][x / SIZE] { 0 } else { 255 }
            });
        let grids = image.detect_grids();
        Some(grids.first()?.decode().unwrap().1)
    }

    #[test]
    fn a_camera_reads_the_link_from_a_usual_terminal() {
        for screen in [(24, 80), (40, 120)] {
            let shown = shown(Some(screen));
            assert_eq!(camera(&shown).as_deref(), Some(LINK), "{shown}");
        }
    }

    #[test]
    fn a_small_terminal_shows_code_and_link_together_or_no_code() {
        let large = shown(Some((24, 80)));
        let first = large
            .lines()
            .position(|line| line.starts_with(BLACK_ON_WHITE));
        // And the progress line.
        let below = large.lines().count() - first.unwrap() + 1;
        assert!(below <= 24, "{below}");
        for screen in [Some((24, 20)), Some((12, 80)), None] {
            let shown = shown(screen);
            assert!(!shown.contains(BLACK_ON_WHITE), "{shown}");
            assert!(shown.contains(LINK) && shown.contains("the code D499B6CA"));
        }
    }

    #[test]
    fn lines_are_broken_between_words_at_80_columns() {
        let mut credential = crate::fixtures::credential("cmsprod", "cms_crab");
        credential.credkey = "cmsprod/token-bastion/bastion.example.org".to_owned();
        let shown = invitation(&credential, LINK, Some("D499B6CA"), Some((24, 80)));
        let words = shown
            .lines()
            .filter(|line| !line.starts_with(BLACK_ON_WHITE));
        for line in words {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let all = "(cmsprod/token-bastion/bastion.example.org at issuer cms, role crab), log in as cmsprod:";
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert!(words.join(" ").contains(all), "{shown}");
    }

    #[test]
    fn nothing_of_a_server_moves_the_cursor() {
        let credential = crate::fixtures::credential("cmsprod", "cms_crab");
        let shown = invitation(&credential, "https://x\x1b[2J\r\n/y", Some("\x1b[2J"), None);
        assert!(
            shown.contains(r"https://x\u{1b}[2J\r\n/y") && !shown.contains('\x1b'),
            "{shown}"
        );
    }
}
