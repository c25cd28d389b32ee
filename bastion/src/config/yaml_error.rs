//! Faults of YAML in the words of people who write configurations, not of the parser's callers.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, UserMessageFormatter};

/// Description of an error and advice, on one line and without its place.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => words(error),
        Error::MultipleDocuments { .. } => {
            "a second document begins here, and a file is one; remove the line `---`, or write another file in config.d"
                .to_owned()
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{key:?} stands twice, keep one of them")
        }
        Error::DuplicateMappingKey { key: None, .. } => {
            "a key stands twice, keep one of them".to_owned()
        }
        Error::NullIntoString { .. } => "a name must stand here, write one".to_owned(),
        Error::Unexpected { .. } | Error::SerdeInvalidType { .. } | Error::InvalidScalar { .. } => {
            "a name or a plain value must stand here, write one".to_owned()
        }
        Error::UnsupportedTag { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. } => "tags (`!…`) are not known here, remove them".to_owned(),
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => "it is nested too deeply, write it flat".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "it is too long or has too many references (`*NAME`) for one file, divide it into files in config.d"
                .to_owned()
        }
        error => of_parser(error),
    }
}

/// The parser's own words, those for its users.
fn of_parser(error: &Error) -> String {
    let text = error.render_with_options(serde_saphyr::render_options! {
        formatter: &UserMessageFormatter,
        snippets: serde_saphyr::SnippetMode::Off,
    });
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::faults::Faults;
    use super::super::tree;

    fn told(text: &str) -> String {
        let mut faults = Faults::default();
        assert!(tree::parse("f", text, &mut faults).is_none(), "{text}");
        faults.iter().next().unwrap().to_string()
    }

    #[test]
    fn faults_of_yaml_name_no_parts_of_the_library() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let long = format!("a: [{}]", "1,".repeat(300_000));
        let nine = |n: u32| vec![format!("*{n}"); 9].join(",");
        let lines = (1..10).map(|n| format!("{n}: &{n} [{}]", nine(n - 1)));
        let wide = lines.collect::<Vec<_>>().join("\n");
        for (text, words) in [
            ("a: 1\n---\nb: 2\n", "a second document begins here"),
            (
                "a: 1\na: 2\n",
                "f:2:1: this is no correct YAML: \"a\" stands twice, keep one of them",
            ),
            ("~: 1\n", "a name must stand here, write one"),
            ("? [a]\n: 1\n", "must stand here, write one"),
            ("a: !!binary \"%%\"\n", "remove them"),
            (&deep, "it is nested too deeply, write it flat"),
            (&long, "it is too long or has too many references"),
            (
                &format!("0: &0 [x]\n{wide}"),
                "it is too long or has too many references",
            ),
            ("a: *none\n", ""),
            ("a: [\n", ""),
            ("a: b: c", ""),
            ("a: \"\\q\"", ""),
            ("a: .nan", ""),
        ] {
            let told = told(text);
            assert!(told.contains(words), "{told}");
            for foreign in [
                "Option",
                "from_str",
                "budget",
                "Nodes",
                "Policy",
                "deserialize",
                "&str",
                "serde",
                "_",
                "replay",
            ] {
                assert!(!told.contains(foreign), "{foreign}: {told}");
            }
        }
    }
}
