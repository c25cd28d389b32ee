//! Entry point for fuzzing: the text of a configuration.

#![allow(
    clippy::missing_panics_doc,
    reason = "a panic is how a broken law is told"
)]

use std::sync::Arc;

use htvault::text::printable;

use super::faults::{Fault, Faults};
use super::load::of_trees;
use super::{Config, yaml};
use crate::model::delivery::Delivery;

/// Longest fault: place, path of keys, words.
const LONGEST: usize = 2000;

/// A configuration: it is good as a whole, or each fault has a place and is fit for a terminal.
pub fn configuration(data: &[u8]) {
    // Files that are not UTF-8 are refused before.
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match of_text("token-bastion.yaml", text) {
        Err(faults) => {
            assert!(!faults.is_empty(), "it is refused without a word");
            faults.iter().for_each(check);
        }
        Ok(config) => {
            config.warnings.iter().for_each(check);
            for delivery in &config.deliveries {
                assert!(delivery.renew_below < delivery.lifetime, "{delivery:?}");
                let id = &delivery.id;
                for name in [&id.account, &id.service, &id.schedd] {
                    assert!(
                        !name.is_empty() && printable(name, LONGEST) == *name,
                        "{name:?}"
                    );
                }
                assert!(
                    !id.account.contains('/') && !id.service.contains('/'),
                    "{id:?}"
                );
            }
        }
    }
}

fn of_text(name: &str, text: &str) -> Result<Config, Faults> {
    let mut faults = Faults::default();
    let tree = yaml::parse(&Arc::from(name), text, &mut faults);
    of_trees(name, Vec::from_iter(tree), faults)
}

fn check(fault: &Fault) {
    let text = fault.to_string();
    assert!(text.starts_with("token-bastion.yaml"), "{text}");
    assert_eq!(printable(&text, LONGEST), text);
}

/// A delivery, for input that is about one.
pub(crate) fn delivery() -> Option<Delivery> {
    const TEXT: &str = "vault: {address: \"https://vault.test:8200\"}\n\
        schedds: {here: {credds: [ap.test]}}\n\
        accounts: {cmsprod: {principal: cmsprod@TEST, keytab: /k, schedds: [here], credentials: {cms_crab: {}}}}\n";
    let config = of_text("x", TEXT).ok()?;
    config.deliveries.first().map(|first| (**first).clone())
}
