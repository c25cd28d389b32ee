//! Entry points for fuzzing: what HTCondor's tools print of collectors and credds.

#![allow(
    clippy::missing_panics_doc,
    reason = "a panic is how a broken law is told"
)]

use std::time::Duration;

use htvault::text::printable;
use jiff::Timestamp;

use super::collector;
use super::refusals;
use super::tool::ToolOutput;
use crate::config;
use crate::model::delivery::{Delivery, Method};
use crate::schedd::discovery::{CreddAd, FoundSchedds, ScheddAd, find_credd, with_credds};

/// Longest message about a tool's output: its line, and advice.
const LONGEST: usize = 2000;
const METHODS: [Method; 5] = [
    Method::Scitokens,
    Method::Idtokens,
    Method::Ssl,
    Method::Kerberos,
    Method::Fs,
];

/// An answer of `condor_status`: ads, or a failure. Names of schedds are fit for messages and for arguments, each is
/// there once, and none is found twice.
pub fn collector_answer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let output = output(&text);
    let (_, message) = collector::explain(&output, Some("cm.test"), "true");
    check(&message);
    let credds = collector::read::<CreddAd>(&text).unwrap_or_default();
    let schedds = match collector::read::<ScheddAd>(&text) {
        Ok(schedds) => with_credds(schedds, &credds),
        Err((_, message)) => return check(&message),
    };
    let mut found = FoundSchedds::default();
    let week = Duration::from_hours(7 * 24);
    let first = found.take(schedds.clone(), Timestamp::UNIX_EPOCH, week);
    assert_eq!(first.changes.len(), found.0.len());
    for (name, schedd) in &found.0 {
        assert!(
            !name.is_empty() && name.len() <= 511 && name.bytes().all(|b| b.is_ascii_graphic())
        );
        assert!(!schedd.ads.is_empty());
        find_credd(&credds, name);
    }
    // The same answer once more changes nothing.
    let before = found.clone();
    let second = found.take(schedds, Timestamp::UNIX_EPOCH, week);
    assert_eq!(second.changes, []);
    assert_eq!(found, before);
}

/// An answer of `condor_store_cred`: what is printed of it is bounded and printable, whatever the method.
pub fn credd_answer(data: &[u8]) {
    let Some(delivery) = delivery() else {
        return;
    };
    let output = output(&String::from_utf8_lossy(data));
    let observed = output.observed("cms_crab");
    assert!(observed.content.is_none() && observed.serves_until.is_none());
    output.user();
    for method in METHODS {
        let (_, message) = refusals::explain(&output, &delivery, method, None);
        check(&message);
    }
}

/// Standard output, then standard error, with a line of dashes between.
fn output(text: &str) -> ToolOutput {
    let (stdout, stderr) = text.split_once("\n---\n").unwrap_or((text, text));
    ToolOutput {
        success: false,
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    }
}

fn check(message: &str) {
    assert_eq!(printable(message, LONGEST), message);
}

fn delivery() -> Option<Delivery> {
    thread_local! {
        static DELIVERY: Option<Delivery> = config::fuzzing::delivery();
    }
    DELIVERY.with(Clone::clone)
}
