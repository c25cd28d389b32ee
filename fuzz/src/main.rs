//! One program for all targets; `FUZZ_TARGET` names the one.

#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.into_iter().find(|(known, _)| *known == name);
    target.unwrap_or_else(|| panic!("FUZZ_TARGET={name}: there are {:?}", TARGETS.map(|(known, _)| known)))
});

fuzz_target!(|data: &[u8]| TARGET.1(data));
