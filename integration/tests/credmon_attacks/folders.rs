//! Ten thousand tiny folders, and folders and files whose names are made for terminals, logs and shells.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use htvault::text::printable;
use integration::hostile::{Answer, Site};

use super::{FAR, HOUR, MINUTES, Test};

const FOLDERS: usize = 10_000;

/// Names of folders and of files in them.
const ODD: [&[u8]; 14] = [
    b"new\nline",
    b"\x1b[2J\x1b]0;title\x07",
    b"\x1b[31mred",
    b"carriage\rreturn",
    b"back\x08\x08space",
    "\u{202e}txet".as_bytes(),
    "\u{200b}hidden".as_bytes(),
    b"\xff\xfe\x80",
    b"\xc3(",
    b"-rf",
    b"$(touch x)",
    b"'; rm -r .",
    b"%n%s{}",
    b"..x",
];

#[tokio::test]
async fn ten_thousand_folders_and_odd_names_delay_nobody_and_reach_no_terminal() -> Test {
    let site = Site::new()?;
    let server = site.server("good", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.good", &server.creds("cmsprod"))?;
    let directory = site.directory.path();
    for number in 0..FOLDERS {
        let folder = directory.join(format!("tiny{number}"));
        fs::create_dir(&folder)?;
        fs::write(folder.join("x.top"), "{}")?;
    }
    let longest = [b'n'; 255];
    for name in ODD.into_iter().chain([&longest[..]]) {
        let folder = directory.join(OsStr::from_bytes(name));
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o2700))?;
        for name in ODD {
            let top = [name, b".top"].concat();
            fs::write(folder.join(OsStr::from_bytes(&top)), "{}")?;
        }
    }
    let credmon = site.credmon().arg("-d").start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    // Whoever comes later is found among them, too.
    site.directory
        .store("crabtw", "cms", "s.new", &server.creds("crabtw"))?;
    site.directory.served("crabtw", "cms", FAR).await?;
    credmon.state("tiny9999", "x", &["dead"], MINUTES).await?;
    for user in ["cmsprod", "crabtw"] {
        credmon.state(user, "cms", &["fresh"], MINUTES).await?;
    }

    let status = credmon.setup.status(&[]).await?;
    let output = credmon.daemon.tail(1000);
    for text in [&credmon.log(), &status.text, &status.errors, &output] {
        for line in text.lines() {
            assert_eq!(
                printable(line, 5000),
                line,
                "a line that is not fit for a terminal"
            );
        }
    }
    let log = credmon.log();
    assert!(log.contains("is left alone"), "{}", credmon.tail());
    // Names are told up to a bound, and no file was made by one.
    assert!(
        log.matches("is left alone").count() <= 200,
        "{}",
        log.matches("is left alone").count()
    );
    let entries = fs::read_dir(directory)?.count();
    assert!(entries <= FOLDERS + ODD.len() + 1 + 2 + 5, "{entries}");
    Ok(())
}
