//! Suggestions for misspelt names.

/// Returns `did you mean "NAME"?` with the name among `known` that is most similar to `typed`, if one is similar enough.
#[must_use]
pub fn suggestion<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let folded = typed.to_lowercase().replace('-', "_");
    let distances = known.into_iter();
    let distances = distances.map(|name| (strsim::osa_distance(&folded, name), name));
    let similar = distances.filter(|(distance, name)| *distance * 3 <= name.len().max(3));
    let (_, nearest) = similar.min()?;
    Some(format!("did you mean {nearest:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_are_recognised() {
        let known = ["lifetime", "renew_below", "keytab"];
        for (typed, meant) in [
            ("lifetme", Some("lifetime")),
            ("renew-below", Some("renew_below")),
            ("Keytab", Some("keytab")),
            ("ketyab", Some("keytab")),
            ("listen", None),
        ] {
            let meant = meant.map(|name| format!("did you mean {name:?}?"));
            assert_eq!(suggestion(typed, known), meant, "{typed}");
        }
    }
}
