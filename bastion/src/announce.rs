//! Each problem is logged once, however many deliveries suffer from it and however often it is tried.
//!
//! Always true: what was logged follows from the failures themselves. Nothing is remembered beside them,
//! so a problem that is gone, in whatever way, is new when it comes again.

use crate::problem::{Kind, Problem};

/// `true` when nobody fails with it yet; `known` are the problems of all deliveries before.
pub(crate) fn is_new<'a>(problem: &Problem, mut known: impl Iterator<Item = &'a Problem>) -> bool {
    // Words of a shared cause, and of a clock, differ from try to try and mean the same.
    let means_the_same = problem.cause.is_shared() || problem.kind == Kind::Clock;
    let is_known = |known: &Problem| {
        is_same(known, problem) && (means_the_same || known.message == problem.message)
    };
    !known.any(is_known)
}

/// `true` when nobody fails with it any more; `left` are the problems of all deliveries now.
pub(crate) fn is_over<'a>(problem: &Problem, mut left: impl Iterator<Item = &'a Problem>) -> bool {
    !left.any(|left| is_same(left, problem))
}

fn is_same(one: &Problem, other: &Problem) -> bool {
    one.cause == other.cause && one.kind == other.kind
}
