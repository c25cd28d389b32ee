//! A table of faulty files with everything that is said of them, so that no message gets worse unseen.
//!
//! A case of `faulty/*.txt` is a title (`===`), its files (`--- NAME`) and the messages (`--- messages`).
//! With `UPDATE_FAULTY=1` the messages are written as they are now, for a person to compare.

use std::fmt::Write as _;

use super::*;

/// Lines that begin a case, a file, and the messages.
const CASE: &str = "=== ";
const FILE: &str = "--- ";
const MESSAGES: &str = "messages";

/// One case: its title, and its files by name.
struct Case {
    title: String,
    files: Vec<(String, String)>,
}

fn cases(table: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in table.lines() {
        if let Some(title) = line.strip_prefix(CASE) {
            cases.push(Case {
                title: title.to_owned(),
                files: Vec::new(),
            });
        } else if let Some(name) = line.strip_prefix(FILE) {
            let files = &mut cases.last_mut().unwrap().files;
            files.push((name.to_owned(), String::new()));
        } else {
            let (_, text) = cases.last_mut().unwrap().files.last_mut().unwrap();
            writeln!(text, "{line}").unwrap();
        }
    }
    for case in &mut cases {
        case.files.retain(|(name, _)| name != MESSAGES);
    }
    cases
}

/// Everything that is said of a case, a line each.
fn messages(case: &Case) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in &case.files {
        write(dir.path(), name, text);
    }
    let messages: Vec<String> = match config::load(&dir.path().join("c.yaml")) {
        Ok(config) => {
            let warnings = config.warnings.iter();
            warnings.map(|fault| format!("warning: {fault}")).collect()
        }
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    };
    let messages = messages.iter().map(|line| format!("{line}\n"));
    let folder = format!("{}/", dir.path().display());
    messages.collect::<String>().replace(&folder, "")
}

fn rendered(cases: &[Case]) -> String {
    let mut table = String::new();
    for case in cases {
        writeln!(table, "{CASE}{}", case.title).unwrap();
        for (name, text) in &case.files {
            write!(table, "{FILE}{name}\n{text}").unwrap();
        }
        write!(table, "{FILE}{MESSAGES}\n{}", messages(case)).unwrap();
    }
    table
}

#[test]
fn every_faulty_file_is_explained_as_the_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/faulty");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let table = fs::read_to_string(&path).unwrap();
        let cases = cases(&table);
        count += cases.len();
        let now = rendered(&cases);
        if std::env::var_os("UPDATE_FAULTY").is_some() {
            fs::write(&path, now).unwrap();
        } else {
            let differs = table.lines().zip(now.lines()).find(|(a, b)| a != b);
            assert_eq!(differs, None, "{}", path.display());
            assert_eq!(table, now, "{}", path.display());
        }
    }
    assert!(count >= 50, "{count}");
}
