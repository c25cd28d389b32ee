//! Hindrances that keep a credential from being served, and their end.

use std::sync::Arc;

use super::world::{u_cms, with_account};
use crate::model::{Outcome, Rules, State, TopProblem};

#[test]
fn a_top_that_was_unreadable_and_is_replaced_is_served_at_once_and_else_its_token_is_fresh() {
    let unreadable = TopProblem::Unreadable("EIO".into());
    for is_replaced in [false, true] {
        let mut world = with_account();
        let known = world.scheduler.observed(&u_cms()).unwrap();
        world.remove(&u_cms());
        let mut spoilt = known.clone();
        Arc::make_mut(&mut spoilt.top).route = Err(unreadable.clone());
        world.observe(spoilt);
        world.pass(1);
        assert_eq!(world.status("u", "cms").state, State::Degraded);
        let before = world.elapsed();
        if is_replaced {
            world.store("u", "cms");
            world.pass(1);
        } else {
            world.observe(known);
        }
        assert_eq!(world.status("u", "cms").state, State::Fresh);
        assert_eq!(world.sent_by("u", before), usize::from(is_replaced));
    }
}

#[test]
fn a_credential_that_the_rules_let_be_served_again_is_fresh_with_its_token() {
    let mut world = with_account();
    for (host, state) in [("b", State::Dead), ("a", State::Fresh)] {
        let rules = Rules {
            trusted_hosts: Some(vec![host.to_owned()]),
            ..world.scheduler.rules().clone()
        };
        world.scheduler.reconsider(rules, world.now);
        assert_eq!(world.status("u", "cms").state, state);
    }
}

#[test]
fn a_credential_that_seemed_dead_once_and_is_not_trusted_any_more_has_no_dead_vault_token() {
    let mut world = with_account();
    world.step_time(40);
    world.plan();
    let rules = Rules {
        trusted_hosts: Some(vec!["b".to_owned()]),
        ..world.scheduler.rules().clone()
    };
    world.scheduler.reconsider(rules, world.now);
    world.end(0, Some(Outcome::TokenDead("dead".to_owned())));
    assert_eq!(world.status("u", "cms").state, State::Dead);
    assert!(!world.scheduler.is_dead(&u_cms()), "it would be deleted");
}
