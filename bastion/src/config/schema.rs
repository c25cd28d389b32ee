//! The JSON schema of the configuration (draft 2020-12) for editors, derived from the sections.
//!
//! Always true: whatever the reader accepts, the schema accepts.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::given::{ByName, Several};
use super::sections::FileSections;

pub(crate) const ACCOUNT: &str = "^[A-Za-z0-9_][A-Za-z0-9._-]*$";
pub(crate) const GROUP: &str = r"^[^!*?\[\s]+$";
pub(crate) const SERVICE: &str = "^[A-Za-z0-9+=]([A-Za-z0-9+=._-]*[A-Za-z0-9+=.-])?$";
pub(crate) const GLOB: &str = r"^[^!\s]\S*$";
const WORD: &str = r"^\S+$";
const CHOICE: &str = r"^!?[^!\s]\S*$";

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let settings = settings.with_transform(as_read);
    settings
        .into_generator()
        .into_root_schema_for::<FileSections>()
        .to_value()
}

/// Lets sections be empty and texts be numbers, as the reader does, and puts descriptions on one line.
fn as_read(schema: &mut Schema) {
    transform_subschemas(&mut as_read, schema);
    let mut rules = ["pattern", "enum", "const"].into_iter();
    let is_free = rules.all(|rule| schema.get(rule).is_none());
    let types = match schema.get("type").and_then(Value::as_str) {
        Some("object") => Some(["object", "null"]),
        // A name may be 1234, which is a number in YAML.
        Some("string") if is_free => Some(["string", "number"]),
        _ => None,
    };
    if let Some(types) = types {
        schema.insert("type".to_owned(), json!(types));
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// Rule for the names of sections.
pub(crate) fn names(pattern: &str) -> Value {
    json!({ "pattern": pattern })
}

/// A text that matches a pattern, or a number.
fn text_like(pattern: &str) -> Schema {
    json_schema!({"type": ["string", "number"], "pattern": pattern})
}

fn one_or_more(item: &Schema) -> Schema {
    json_schema!({"anyOf": [item, {"type": "array", "items": item}]})
}

pub(crate) fn word(_: &mut SchemaGenerator) -> Schema {
    text_like(WORD)
}

pub(crate) fn words(_: &mut SchemaGenerator) -> Schema {
    one_or_more(&text_like(WORD))
}

pub(crate) fn choices(_: &mut SchemaGenerator) -> Schema {
    one_or_more(&text_like(CHOICE))
}

pub(crate) fn service(_: &mut SchemaGenerator) -> Schema {
    text_like(SERVICE)
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Several_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        one_or_more(&T::json_schema(generator))
    }
}

impl<T: JsonSchema> JsonSchema for ByName<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("ByName_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let section = T::json_schema(generator);
        json_schema!({"type": "object", "additionalProperties": section})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something with each key's schema, named by its path.
    fn each(schema: &Value, path: &str, work: &mut impl FnMut(&str, &Value)) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            work(&path, below);
            each(below, &path, work);
            each(&below["additionalProperties"], &format!("{path}.*"), work);
        }
    }

    #[test]
    fn examples_and_defaults_fit_their_own_schema() {
        let mut count = 0;
        each(&schema(), "", &mut |path, key| {
            let validator = jsonschema::draft202012::new(key).unwrap();
            let examples = key["examples"].as_array().into_iter().flatten();
            for value in examples.chain(key.get("default")) {
                assert!(validator.is_valid(value), "{path}: {value}");
                count += 1;
            }
            let about = key["description"].as_str().unwrap();
            assert!(about.ends_with('.') && !about.contains('\n'), "{path}");
        });
        assert!(count > 40, "{count}");
    }

    #[test]
    fn what_the_reader_takes_the_patterns_take() {
        for (path, texts) in [
            (
                "/properties/tokens/properties/lifetime",
                ["7d", "1h30m", "2 weeks", " 300 s ", "1 hour 5 minutes"].as_slice(),
            ),
            (
                "/properties/listen/properties/address",
                &["127.0.0.1:9118", "127.8.0.1:1", "[::1]:1"],
            ),
            (
                "/properties/defaults/properties/credentials/propertyNames",
                &["cms", "cms_crab", "a", "5", "cms_x=y+z."],
            ),
            (
                "/properties/defaults/properties/schedds",
                &["crab*", "!ap1.test", "<10.0.0.1:9618?sock=x>"],
            ),
        ] {
            let schema = schema();
            let validator = jsonschema::draft202012::new(schema.pointer(path).unwrap()).unwrap();
            for text in texts {
                assert!(validator.is_valid(&json!(text)), "{path}: {text}");
            }
        }
    }
}
