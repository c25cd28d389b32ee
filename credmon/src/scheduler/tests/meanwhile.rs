//! A `.use` that changes while a renewal of it is under way.

use std::sync::Arc;

use super::super::record::Record;
use super::site::token_of;
use super::world::id;
use super::*;
use crate::model::{CredentialId, InUse, Outcome, Rules, State, TokenInfo};

/// A credential that is well, and whose renewal has just begun.
fn renewing() -> (World, CredentialId) {
    let mut world = World::new();
    world.store("u", "cms");
    world.pass(60);
    let renew = |record: &mut Record, rules: &Rules| {
        record.retry_at = Some(world.now.mono);
        record.plan(rules.limits, world.now);
    };
    let cms = id("u", "cms");
    world.scheduler.change(&cms, world.now, renew);
    assert_eq!(world.plan(), 1);
    (world, cms)
}

/// Outcome of a renewal that has installed a token.
fn installed(world: &World, version: u64) -> (Outcome, Arc<TokenInfo>) {
    let second = world.right_second();
    let token = token_of(second, second + 3600, version);
    let outcome = Outcome::Renewed {
        token: token.clone(),
        shorter: None,
    };
    (outcome, token)
}

#[test]
fn one_that_vanishes_while_vault_says_that_there_is_no_better_one_is_fetched_at_once() {
    let (mut world, cms) = renewing();
    world.put_token(&cms, None);
    assert_eq!(
        world.status("u", "cms").state,
        State::Renewing,
        "it has no token"
    );
    world.end(0, Some(Outcome::Unchanged));
    world.pass(1);
    assert!(world.left("u", "cms") > 3000);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}

#[test]
fn one_that_somebody_replaces_as_soon_as_it_is_installed_is_fetched_at_once() {
    let (mut world, cms) = renewing();
    let (outcome, _) = installed(&world, 1_000_000);
    // The scan finds it before the renewal is over: perhaps it was there before ours, perhaps after it.
    world.put_token(&cms, None);
    world.end(0, Some(outcome));
    assert_eq!(world.plan(), 1, "it is asked for again");
    world.pass(1);
    assert!(world.left("u", "cms") > 3000);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}

#[test]
fn ours_that_is_seen_before_its_renewal_is_over_is_nobody_elses() {
    let (mut world, cms) = renewing();
    let (outcome, token) = installed(&world, 1_000_000);
    world.observe_other(&cms, |observed| observed.in_use = Some(InUse::Token(token)));
    world.end(0, Some(outcome));
    assert_eq!(world.plan(), 0);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}
