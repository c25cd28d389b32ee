//! What differs between a recorded answer and one given now. Pure.
//!
//! Two measures: [`Measure::Exact`] for the development server, which must be taken for the real
//! one down to the order of its headers; [`Measure::Contract`] for any server, which may have
//! other names, lives and versions but must not surprise a client.

use std::net::SocketAddr;

use super::recorded::Answer;
use super::shape::Shape;

/// How much must be alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Status line, headers in their order and case, fields in their order, values.
    Exact,
    /// Status, the headers that clients act on, names and kinds of fields, error texts.
    Contract,
}

/// What differs, if anything does; never with a secret in it.
#[must_use]
pub fn difference(recorded: &Answer, given: &Answer, measure: Measure) -> Option<String> {
    match measure {
        Measure::Exact => exact(recorded, given),
        Measure::Contract => contract(recorded, given),
    }
}

fn exact(recorded: &Answer, given: &Answer) -> Option<String> {
    if (recorded.status, &recorded.reason) != (given.status, &given.reason) {
        return Some(status_difference(recorded, given));
    }
    let with_length = has_fixed_length(&recorded.body);
    let (ours, theirs) = (headers(given, with_length), headers(recorded, with_length));
    if ours != theirs {
        return Some(format!("headers {ours:?}, recorded {theirs:?}"));
    }
    let (ours, theirs) = match shapes(recorded, given) {
        Ok(Some(shapes)) => shapes,
        Ok(None) => return None,
        Err(words) => return Some(words),
    };
    let (ours, theirs) = (ours.reduced(), theirs.reduced());
    (ours != theirs).then(|| format!("body {ours:#?}, recorded {theirs:#?}"))
}

fn contract(recorded: &Answer, given: &Answer) -> Option<String> {
    if recorded.status != given.status {
        return Some(status_difference(recorded, given));
    }
    let mut found = Vec::new();
    for name in ["Cache-Control", "Content-Type", "WWW-Authenticate"] {
        let (ours, theirs) = (given.header(name), recorded.header(name));
        if ours != theirs {
            let [ours, theirs] = [ours, theirs].map(|value| value.unwrap_or("none"));
            found.push(format!("header {name}: {ours}, recorded {theirs}"));
        }
    }
    // When to come back: clients of the recorded server have to guess.
    if recorded.header("Retry-After").is_none() && given.header("Retry-After").is_some() {
        found.push("header Retry-After, which is not recorded".to_owned());
    }
    match shapes(recorded, given) {
        Ok(Some((ours, theirs))) => compare("", &theirs, &ours, &mut found),
        Ok(None) => {}
        Err(words) => found.push(words),
    }
    (!found.is_empty()).then(|| found.join("; "))
}

fn status_difference(recorded: &Answer, given: &Answer) -> String {
    let words = error_texts(given).map_or_else(String::new, |texts| format!(" {texts}"));
    format!(
        "status {}{words}, recorded {}",
        given.status, recorded.status
    )
}

/// The error texts or warnings of an answer: the only parts that are safe to show.
fn error_texts(answer: &Answer) -> Option<String> {
    let body = answer.json();
    ["errors", "warnings"].iter().find_map(|name| {
        let texts = body.get(name).filter(|texts| texts.is_array())?;
        Some(texts.to_string())
    })
}

/// Both bodies; none when both are empty.
fn shapes(recorded: &Answer, given: &Answer) -> Result<Option<(Shape, Shape)>, String> {
    match (given.body.trim().is_empty(), recorded.body.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err("the body is empty, recorded is one".to_owned()),
        (false, true) => Err("there is a body, recorded is none".to_owned()),
        (false, false) => Ok(Some((Shape::of(&given.body)?, Shape::of(&recorded.body)?))),
    }
}

/// The headers in their order, without the values that are another each time. The date is put
/// last: the one header whose place the HTTP library decides.
fn headers(answer: &Answer, with_length: bool) -> Vec<(&str, &str)> {
    let mut headers: Vec<(&str, &str)> = (answer.headers.iter())
        .map(|(name, value)| match name.as_str() {
            "Date" => (name.as_str(), "a date"),
            "Content-Length" if !with_length => (name.as_str(), "a length"),
            _ => (name.as_str(), value.as_str()),
        })
        .collect();
    headers.sort_by_key(|(name, _)| *name == "Date");
    headers
}

/// Whether the length of the body is always the same.
fn has_fixed_length(body: &str) -> bool {
    let varies = [
        "access_token",
        "auth_url",
        "expire_time",
        "dial tcp",
        "refresh_token",
    ];
    !varies.iter().any(|word| body.contains(word))
}

/// Compares names and kinds of fields, and the texts of errors and warnings.
fn compare(place: &str, recorded: &Shape, given: &Shape, found: &mut Vec<String>) {
    match (recorded, given) {
        (Shape::Fields(theirs), Shape::Fields(ours)) => {
            for (name, theirs) in theirs {
                let place = format!("{place}{name}");
                match ours.iter().find(|(known, _)| known == name) {
                    Some((_, ours)) if is_texts(&place) => texts(&place, theirs, ours, found),
                    Some((_, ours)) => compare(&format!("{place}."), theirs, ours, found),
                    None => found.push(format!("there is no field {place}")),
                }
            }
            for (name, _) in ours {
                if !theirs.iter().any(|(known, _)| known == name) {
                    found.push(format!("field {place}{name} is not recorded"));
                }
            }
        }
        (Shape::List(theirs), Shape::List(ours)) => {
            let kinds = |list: &[Shape]| -> Vec<&str> { list.iter().map(Shape::kind).collect() };
            let theirs = kinds(theirs);
            if let Some(strange) = kinds(ours).iter().find(|kind| !theirs.contains(kind)) {
                let place = place.trim_end_matches('.');
                found.push(format!("{place} holds {strange}, which is not recorded"));
            }
        }
        (theirs, ours) if theirs.kind() != ours.kind() => {
            let place = place.trim_end_matches('.');
            found.push(format!(
                "{place} is {}, recorded {}",
                ours.kind(),
                theirs.kind()
            ));
        }
        _ => {}
    }
}

fn is_texts(place: &str) -> bool {
    matches!(place, "errors" | "warnings")
}

/// Compares lists of texts, in which addresses and durations may differ.
fn texts(place: &str, recorded: &Shape, given: &Shape, found: &mut Vec<String>) {
    let [ours, theirs] = [given, recorded].map(|shape| match shape {
        Shape::List(list) => (list.iter())
            .map(|text| match text {
                Shape::Text(text) => general(text),
                other => other.kind().to_owned(),
            })
            .collect::<Vec<_>>(),
        other => vec![other.kind().to_owned()],
    });
    if ours != theirs {
        found.push(format!("{place} {ours:?}, recorded {theirs:?}"));
    }
}

/// A text without the URLs, addresses and durations in it, which are another at each site.
fn general(text: &str) -> String {
    let mut general = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_border = |c: char| c.is_whitespace() || c == '"';
        if is_border(first) {
            general.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let end = rest.find(is_border).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let bare = word.trim_end_matches([':', ',']);
        let kept = word.get(bare.len()..).unwrap_or_default();
        let quoted = general.ends_with('"') && after.starts_with('"');
        if bare.contains("://") {
            general.push_str("<url>");
        } else if bare.parse::<SocketAddr>().is_ok() {
            general.push_str("<address>");
        } else if quoted && is_duration(bare) {
            general.push_str("<duration>");
        } else {
            general.push_str(bare);
        }
        general.push_str(kept);
        rest = after;
    }
    general
}

/// Whether a text is a duration as Vault writes it: `2500h`, `1h30m0s`.
fn is_duration(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(['h', 'm', 's'])
        && (text.chars()).all(|c| c.is_ascii_digit() || matches!(c, '.' | 'h' | 'm' | 's'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            reason: "whatever".into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: body.into(),
        }
    }

    fn contract(recorded: &str, given: &str) -> String {
        let (recorded, given) = (answer(200, recorded), answer(200, given));
        difference(&recorded, &given, Measure::Contract).unwrap_or_default()
    }

    #[test]
    fn values_may_differ_but_names_and_kinds_may_not() {
        let recorded = r#"{"data":{"ttl":5,"meta":null},"policies":["a","b"]}"#;
        let other = r#"{"policies":["c"],"data":{"meta":null,"ttl":7}}"#;
        assert_eq!(contract(recorded, other), "");
        let wrong = r#"{"data":{"ttl":"7"},"policies":[1],"more":1}"#;
        assert_eq!(
            contract(recorded, wrong),
            "data.ttl is a text, recorded a number; there is no field data.meta; \
             policies holds a number, which is not recorded; field more is not recorded"
        );
    }

    #[test]
    fn error_texts_are_compared_and_addresses_in_them_are_not() {
        let recorded =
            r#"{"errors":["transient: Post \"https://a:1/t\": dial tcp 127.0.0.1:1: no"]}"#;
        let other = recorded
            .replace("https://a:1/t", "https://b/x")
            .replace("127.0.0.1:1:", "[::1]:99:");
        assert_eq!(contract(recorded, &other), "");
        let wrong = other.replace("no\"", "yes\"");
        assert!(contract(recorded, &wrong).contains("dial tcp <address>: yes"));
        let capped = r#"{"warnings":["TTL of \"2500h\" exceeded \"672h\""]}"#;
        assert_eq!(contract(capped, &capped.replace("672h", "168h0m0s")), "");
        let soon = r#"{"errors":["invalid duration \"soon\""]}"#;
        assert_ne!(contract(soon, &soon.replace("soon", "now")), "");
        assert_ne!(contract(r#"{"errors":[]}"#, soon), "");
    }

    #[test]
    fn another_status_is_told_with_its_words() {
        let recorded = answer(200, "{}");
        let given = answer(403, r#"{"errors":["permission denied"],"secret":"x"}"#);
        let words = difference(&recorded, &given, Measure::Contract).unwrap();
        assert_eq!(words, r#"status 403 ["permission denied"], recorded 200"#);
    }

    #[test]
    fn headers_that_clients_act_on_are_compared() {
        let recorded = answer(429, "");
        let mut given = recorded.clone();
        given.headers.push(("retry-after".into(), "5".into()));
        given.headers.push(("x-else".into(), "5".into()));
        let words = difference(&recorded, &given, Measure::Contract).unwrap();
        assert_eq!(words, "header Retry-After, which is not recorded");
        assert!(difference(&recorded, &given, Measure::Exact).is_some());
        assert!(difference(&given, &recorded, Measure::Contract).is_none());
    }
}
