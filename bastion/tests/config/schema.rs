//! The JSON schema and the strict reader judge alike.

use serde_json::{Value, json};

use super::*;

fn schema() -> jsonschema::Validator {
    let schema = config::schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    jsonschema::draft202012::new(&schema).unwrap()
}

fn from_yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn the_examples_fit_the_schema() {
    for name in ["smallest.yaml", "full.yaml"] {
        let value = from_yaml(&fs::read_to_string(example(name)).unwrap());
        let errors: Vec<String> = schema()
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn the_full_example_has_every_key() {
    /// Keys of the schema that the value never has, wherever its part of the schema applies.
    fn unused(schema: &Value, values: &[&Value], path: &str, list: &mut Vec<String>) {
        let at = |key: &str| -> Vec<&Value> {
            let found = values.iter().filter_map(|value| value.get(key));
            found.collect()
        };
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            let found = at(key);
            let path = format!("{path}.{key}");
            if found.is_empty() {
                list.push(path);
            } else {
                unused(below, &found, &path, list);
            }
        }
        if schema["additionalProperties"].is_object() {
            let maps = values.iter().filter_map(|value| value.as_object());
            let all: Vec<&Value> = maps.flat_map(|map| map.values()).collect();
            unused(
                &schema["additionalProperties"],
                &all,
                &format!("{path}.*"),
                list,
            );
        }
    }
    let value = from_yaml(&fs::read_to_string(example("full.yaml")).unwrap());
    let mut list = Vec::new();
    unused(&config::schema(), &[&value], "", &mut list);
    // Any key of an account may stand in the defaults; two show how.
    list.retain(|path| !path.starts_with(".defaults."));
    assert_eq!(list, Vec::<String>::new(), "the example promises every key");
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    let good = from_yaml(GOOD);
    assert!(schema().is_valid(&good));
    for (pointer, value) in [
        ("/vaults", json!({})),
        ("/vault/adress", json!("https://x")),
        ("/vault/address", json!("http://vault.test")),
        ("/vault/requests", json!({"limit": 0, "per": "5m"})),
        ("/tokens", json!({"lifetime": "7 fortnights"})),
        ("/tokens", json!({"lifetime": 7})),
        ("/schedule", json!({"check": "every day"})),
        ("/listen", json!({"address": "0.0.0.0:80"})),
        ("/notify", json!([])),
        ("/schedds/here", json!({"directory": "creds"})),
        (
            "/schedds/here",
            json!({"credds": ["x"], "authenticate": "password"}),
        ),
        ("/schedds/h*", json!({"directory": "/x"})),
        ("/accounts/cmsprod/principal", json!("cmsprod")),
        ("/accounts/cmsprod/release_held", json!(true)),
        ("/accounts/cmsprod/credentials/cms", json!({"scope": "x"})),
        (
            "/accounts/cmsprod/credentials/cms_",
            json!({"issuer": "cms"}),
        ),
        (
            "/accounts/cmsprod/credentials/cms",
            json!({"at": {"x": {"grant": {}}}}),
        ),
        ("/accounts/a~1b", json!({})),
    ] {
        let mut broken = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/");
        broken.pointer_mut(parent).unwrap()[key] = value.clone();
        assert!(!schema().is_valid(&broken), "{pointer} {value}");
        // JSON is YAML.
        assert!(load(&broken.to_string()).is_err(), "{pointer} {value}");
    }
}

#[test]
fn every_key_is_explained_to_who_edits() {
    fn explained(schema: &Value, path: &str, count: &mut usize) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            assert!(below["description"].is_string(), "{path}.{key}");
            *count += 1;
            explained(below, &format!("{path}.{key}"), count);
        }
        if schema["additionalProperties"].is_object() {
            explained(&schema["additionalProperties"], &format!("{path}.*"), count);
        } else if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
        }
    }
    let mut count = 0;
    explained(&config::schema(), "", &mut count);
    assert!(count > 60, "{count}");
}

#[test]
fn the_manual_has_every_key() {
    fn names(schema: &Value, list: &mut Vec<String>) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            list.push(key.clone());
            names(below, list);
        }
        if schema["additionalProperties"].is_object() {
            names(&schema["additionalProperties"], list);
        }
    }
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let manual = fs::read_to_string(manual).unwrap();
    let mut list = Vec::new();
    names(&config::schema(), &mut list);
    for name in list {
        let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        assert!(
            manual.split(word).any(|w| w == name),
            "{name} is not in the manual"
        );
    }
}
