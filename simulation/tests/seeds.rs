//! Twenty days of each of ten seeds: no gap without an outage that explains it, and nothing said that is not so.
//!
//! Whole years are simulated by `integration/simulate`, which is built for speed.

#![allow(clippy::unwrap_used, reason = "a test")]

use simulation::plan::{Lengths, Plan};
use simulation::report::Report;
use simulation::{Site, reference, simulate};

const SITE: Site = Site {
    days: 20,
    accounts: 2,
    schedds: 1,
};

fn days(seed: u64) -> Report {
    let plan = Plan::draw(seed, SITE, Lengths::default());
    let judged = simulate(SITE, &plan, |_| ()).unwrap();
    Report::new(
        seed,
        SITE,
        &plan,
        &judged,
        &reference::simulate(SITE, &plan),
    )
}

fn check(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let report = days(seed);
        assert_eq!(report.unexplained, None, "{}", report.replay());
        assert!(report.said_good_without_token <= 6, "{}", report.replay());
        assert!(report.availability >= 0.9999, "{}", report.text());
        // All of it was simulated: a proof each five minutes or so, of every delivery with one-hour tokens.
        assert!(report.requests_mean > 0.2, "{}", report.text());
        assert!(report.faults > 10, "{}", report.text());
    }
}

#[test]
fn five_seeds_leave_no_gap_unexplained() {
    check(1..6);
}

#[test]
fn five_more_seeds_leave_no_gap_unexplained() {
    check(6..11);
}

#[test]
fn an_outage_that_is_longer_than_tokens_can_carry_is_seen() {
    let lengths = Lengths {
        issuer: 120,
        ..Lengths::default()
    };
    let site = Site {
        accounts: 1,
        schedds: 1,
        ..SITE
    };
    let lost = |seed| {
        let plan = Plan::draw(seed, site, lengths);
        let judged = simulate(site, &plan, |_| ()).unwrap();
        assert!(judged.unexplained.is_empty());
        judged.lost[0]
    };
    // Drawn between one hour and three, which no token of an hour carries.
    assert!((1..4).map(lost).sum::<u64>() > 0);
}
