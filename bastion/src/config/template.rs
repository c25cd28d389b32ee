//! Texts with places to be filled in: `{account}`, and `{service}` where there is one.

use super::faults::Faults;
use super::tree::Located;

/// Puts values where their names stand in braces; other braces are a fault.
pub(crate) fn fill(text: &Located<String>, values: &[(&str, &str)], faults: &mut Faults) -> String {
    let mut filled = text.value.clone();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    if filled.contains(['{', '}']) {
        let names: Vec<String> = values
            .iter()
            .map(|(name, _)| format!("{{{name}}}"))
            .collect();
        let what = format!(
            "only {} can be filled in, remove other braces",
            names.join(" and ")
        );
        text.fault(faults, what);
    }
    filled
}
