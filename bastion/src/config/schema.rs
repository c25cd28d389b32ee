//! The JSON schema of the configuration (draft 2020-12), for editors: what may stand where, and
//! what it means. Made from the table of [`super::keys`], which the strict reader uses too.

use serde_json::{Map, Value, json};

use super::keys::{Form, Key, Kind, TOP};

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut whole = section(TOP);
    whole.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    whole.insert("title".to_owned(), json!("token-bastion"));
    whole.insert(
        "description".to_owned(),
        json!("Configuration of token-bastion, and files of config.d beside it."),
    );
    Value::Object(whole)
}

/// Keys with fixed names and no others; none at all is allowed too.
fn section(keys: &[Key]) -> Map<String, Value> {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| (key.name.to_owned(), Value::Object(one(key))))
        .collect();
    object(json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    }))
}

fn one(key: &Key) -> Map<String, Value> {
    let mut schema = match &key.kind {
        Kind::Text(form) => text(*form),
        Kind::Texts(form) => object(json!({
            "anyOf": [text(*form), {"type": "array", "items": text(*form)}],
        })),
        Kind::Choice(words) => object(json!({"enum": words})),
        Kind::Count => object(json!({"type": "integer", "minimum": 1})),
        Kind::Section(keys) => section(keys),
        Kind::Named(form, keys) => {
            let mut names = object(json!({
                "type": ["object", "null"],
                "additionalProperties": section(keys),
            }));
            if let Some(pattern) = form.pattern() {
                names.insert("propertyNames".to_owned(), json!({"pattern": pattern}));
            }
            names
        }
    };
    schema.insert("description".to_owned(), json!(key.about));
    if !key.examples.is_empty() {
        let examples = key.examples.iter().map(|text| value(text));
        schema.insert("examples".to_owned(), examples.collect());
    }
    if let Some(default) = key.default {
        schema.insert("default".to_owned(), value(default));
    }
    schema
}

fn text(form: Form) -> Map<String, Value> {
    // YAML takes 1234 for a number, and where a name stands it is one.
    let kind = if form.may_be_number() {
        json!(["string", "number"])
    } else {
        json!("string")
    };
    let mut schema = object(json!({"type": kind}));
    if let Some(pattern) = form.pattern() {
        schema.insert("pattern".to_owned(), json!(pattern));
    }
    schema
}

impl Form {
    fn may_be_number(self) -> bool {
        matches!(
            self,
            Self::Any | Self::Word | Self::Service | Self::Choosing
        )
    }

    /// A regular expression for what is allowed, as ECMA-262 has them; the reader may be stricter,
    /// and is never laxer.
    fn pattern(self) -> Option<&'static str> {
        Some(match self {
            Self::Any => return None,
            Self::Word => r"^\S+$",
            Self::Duration => {
                r"^\s*(\d+\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)\s*)+$"
            }
            Self::Cron => r"^\s*\S+(\s+\S+){4}\s*$",
            Self::Path => r"^/",
            Self::PathTemplate => r"^(/|\{account\})",
            Self::Principal => r"^\S+@\S+$",
            Self::Server => r"^[hH][tT][tT][pP][sS]://",
            Self::Loopback => r"^(127(\.\d{1,3}){3}|\[::1\]):\d{1,5}$",
            Self::Account => r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
            Self::Service => r"^[A-Za-z0-9+=]([A-Za-z0-9+=._-]*[A-Za-z0-9+=.-])?$",
            Self::Group => r"^[^!*?\[\s]+$",
            Self::Choosing => r"^!?[^!\s]\S*$",
            Self::Glob => r"^[^!\s]\S*$",
        })
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The table has JSON only, which a test proves.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::faults::Faults;
    use super::super::{raw, tree};
    use super::*;

    /// Every key of the table, with the path that leads to it.
    fn all(keys: &'static [Key], path: &str, list: &mut Vec<(String, &'static Key)>) {
        for key in keys {
            let path = format!("{path}{}", key.name);
            list.push((path.clone(), key));
            match &key.kind {
                Kind::Section(below) => all(below, &format!("{path}."), list),
                Kind::Named(_, below) => all(below, &format!("{path}.some."), list),
                _ => {}
            }
        }
    }

    fn table() -> Vec<(String, &'static Key)> {
        let mut list = Vec::new();
        all(TOP, "", &mut list);
        list
    }

    /// `a.b.c` with a value, as YAML.
    fn yaml(path: &str, value: &str) -> String {
        let parts: Vec<&str> = path.split('.').collect();
        let open: Vec<String> = parts.iter().map(|part| format!("{{{part}: ")).collect();
        format!("{}{value}{}", open.concat(), "}".repeat(parts.len()))
    }

    /// The faults of what stands at a path.
    fn faults_at(path: &str, value: &str) -> Vec<String> {
        let mut faults = Faults::default();
        let root = tree::parse("f", &yaml(path, value), &mut faults).unwrap();
        raw::read(&[root], &mut faults);
        let faults = faults.iter().map(ToString::to_string);
        faults
            .filter(|fault| fault.contains(&format!(": {path}: ")))
            .collect()
    }

    #[test]
    fn every_key_of_the_table_is_read() {
        let table = table();
        assert!(table.len() > 60, "{}", table.len());
        for (path, key) in table {
            let wrong = match key.kind {
                Kind::Section(_) | Kind::Named(..) => "word",
                _ => "{}",
            };
            // Whoever reads a key minds what stands there; a key that is let pass is no fault.
            let told = faults_at(&path, wrong);
            assert!(
                told.iter().any(|fault| fault.contains("must stand here")),
                "{path} is in the table and nobody reads it: {told:?}"
            );
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_refused_in_every_section() {
        let mut sections = vec![String::new()];
        for (path, key) in table() {
            match key.kind {
                Kind::Section(_) => sections.push(format!("{path}.")),
                Kind::Named(..) => sections.push(format!("{path}.some.")),
                _ => {}
            }
        }
        for section in sections {
            let path = format!("{section}unheard_of");
            let told = faults_at(&path, "1");
            assert!(told[0].contains("unknown key"), "{told:?}");
        }
    }

    #[test]
    fn examples_and_defaults_of_the_table_fit_its_own_schema() {
        for (path, key) in table() {
            let schema = jsonschema::draft202012::new(&Value::Object(one(key))).unwrap();
            for text in key.examples.iter().chain(&key.default) {
                let value: Value = serde_json::from_str(text).unwrap();
                assert!(schema.is_valid(&value), "{path}: {text}");
            }
            assert!(key.about.ends_with('.'), "{path}: {}", key.about);
        }
    }

    #[test]
    fn what_the_reader_takes_the_patterns_take() {
        for (form, texts) in [
            (
                Form::Duration,
                ["7d", "1h30m", "2 weeks", " 300 s ", "1 hour 5 minutes"].as_slice(),
            ),
            (
                Form::Loopback,
                &["127.0.0.1:9118", "127.8.0.1:1", "[::1]:1"],
            ),
            (Form::Service, &["cms", "cms_crab", "a", "5", "cms_x=y+z."]),
            (
                Form::Choosing,
                &["crab*", "!ap1.test", "<10.0.0.1:9618?sock=x>"],
            ),
        ] {
            let schema = jsonschema::draft202012::new(&Value::Object(text(form))).unwrap();
            for text in texts {
                assert!(schema.is_valid(&json!(text)), "{form:?}: {text}");
            }
        }
    }
}
