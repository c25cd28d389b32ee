//! A long life: months of outages, restarts and wrong clocks in seconds, on paused time.
//!
//! The laws: no delivery is ever without a living vault token; each is pushed as often as its life
//! asks for, and once more for a restart at most; requests to Vault stay within what they must be;
//! nothing that is kept grows.

use std::collections::BTreeMap;

use super::super::*;
use super::{DAY, credd, run_for};
use crate::fakes::{FakeSchedds, Outside};
use crate::fixtures::{config, delivery};
use crate::model::delivery::Delivery;
use crate::store::Store;

const HOUR: Duration = Duration::from_hours(1);

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    /// Less than `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        // A generator of Knuth's; its upper bits are good enough for dice.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Sizes of all that an engine keeps.
fn sizes(engine: &Engine<Outside, FakeSchedds>) -> BTreeMap<&'static str, usize> {
    let recorded = engine.parts().store.read(|content| {
        let names = content
            .deliveries
            .values()
            .map(|records| records.iter().count());
        (content.deliveries.len(), names.sum(), content.logins.len())
    });
    let others = |owner: &Owner| owner.status.borrow().other_accessors.len();
    BTreeMap::from([
        ("owners", engine.owners.len()),
        ("tasks", engine.tasks.len()),
        ("parked", engine.parked.len()),
        ("open breakers", engine.parts().limits.open()),
        ("recorded", recorded.0),
        ("names", recorded.1),
        ("logins", recorded.2),
        ("other tokens", engine.owners.values().map(others).sum()),
    ])
}

struct Life {
    accounts: usize,
    schedds: usize,
    days: u64,
    seed: u64,
    /// Something is down for at most so many hours at a time.
    longest: u64,
}

/// What is down for a while.
fn break_something(outside: &Outside, all: &[Delivery], dice: &mut Dice, what: u64) {
    let mut world = outside.lock();
    match what {
        0 => world.vault_down = true,
        1 => world.no_leader = true,
        2 => world.no_keytab = all.iter().map(|d| d.id.account.clone()).collect(),
        3 => world.schedds_down = all.iter().map(|d| d.id.schedd.clone()).collect(),
        // Up to four hours, in both directions.
        _ => world.clock_wrong_by = i64::try_from(dice.roll(8 * 3600)).unwrap() - 4 * 3600,
    }
}

fn mend_all(outside: &Outside) {
    let mut world = outside.lock();
    (world.vault_down, world.no_leader) = (false, false);
    world.no_keytab.clear();
    world.schedds_down.clear();
    world.clock_wrong_by = 0;
}

async fn live(life: Life) {
    let outside = Outside::new();
    let mut all = Vec::new();
    for n in 0..life.accounts {
        for schedd in (1..=life.schedds).map(|n| format!("ap{n}")) {
            all.push(delivery(&format!("a{n}"), "cms", &schedd, credd(&schedd)));
        }
    }
    let deliveries = u32::try_from(all.len()).unwrap();
    let mut config = config(all.clone());
    // What is looked at every ten minutes in a test of days is looked at every six hours here, and
    // proved as seldom.
    config.check = Cron::parse("0 */6 * * *").unwrap();
    config.vault.limit = Some(htvault::RequestLimit {
        limit: 6 * deliveries,
        per: 6 * HOUR,
    });
    // Access tokens of a day, so that a credmon that nobody sees for hours is no alarm.
    outside.lock().access_life = DAY;
    let start = |store| {
        let mut new = Engine::new(&config, outside.parts_with(store), TimeZone::UTC);
        new.longest_sleep = HOUR / 3;
        new
    };
    let mut dice = Dice(life.seed);
    let mut engine = start(Store::default());
    run_for(&mut engine, HOUR).await;
    assert!(engine.report().is_good(), "{:?}", engine.report().problems);
    let (first_calls, begin) = (outside.lock().calls, sizes(&engine));
    let mut vault_down = 0;
    for _ in 0..life.days / 4 {
        // Every four days something is down, for less than the margin of three.
        let hours = u32::try_from(1 + dice.roll(life.longest)).unwrap();
        match dice.roll(6) {
            5 => engine = start(engine.parts().store.clone()),
            what => {
                vault_down += if what < 2 { hours } else { 0 };
                break_something(&outside, &all, &mut dice, what);
            }
        }
        run_for(&mut engine, hours * HOUR).await;
        mend_all(&outside);
        run_for(&mut engine, (4 * DAY).saturating_sub(hours * HOUR)).await;
        assert!(engine.report().is_good(), "{:?}", engine.report().problems);
        let world = outside.lock();
        assert!(world.dark.is_empty(), "{:?}", world.dark);
        for delivery in &all {
            assert!(
                world.is_alive(&world.token_at(&delivery.id).unwrap()),
                "{}",
                delivery.id
            );
        }
    }
    let world = outside.lock();
    // A push each four days (a life of seven, a margin of three), up to seven when an outage delays
    // one, and sooner only for a clock.
    let per_delivery = f64::from(world.stores) / f64::from(deliveries);
    let periods = f64::from(u32::try_from(life.days / 4).unwrap());
    assert!(
        per_delivery <= periods * 1.15 + 2.0,
        "{per_delivery} pushes in {periods} periods"
    );
    assert!(
        per_delivery >= periods * 4.0 / 7.0,
        "{per_delivery} pushes in {periods} periods"
    );
    // Login, token, access token, what is revoked and what opens credds, for each push; a look and
    // a proof each six hours.
    let calls = f64::from(world.calls - first_calls - world.in_vain);
    let most = f64::from(world.stores) * 8.0 + f64::from(deliveries) * periods * 16.0 * 3.0;
    assert!(calls < most, "{calls} requests, {most} expected at most");
    // Two tries a minute find out for all whether Vault is back, and a few that had begun.
    let most = f64::from(vault_down) * 60.0 * 2.5 + periods * 50.0;
    let in_vain = f64::from(world.in_vain);
    assert!(
        in_vain < most,
        "{in_vain} requests in vain, {most} expected at most"
    );
    for (what, size) in sizes(&engine) {
        let room = match what {
            // Tokens of before the last restarts may still be named.
            "other tokens" => all.len() * 2,
            "names" | "logins" => begin[what] + all.len() * 2,
            _ => begin[what],
        };
        assert!(size <= room, "{what} grew from {} to {size}", begin[what]);
    }
    assert!(world.living_children() <= all.len() * 3);
}

#[tokio::test(start_paused = true)]
async fn a_year_of_a_few_deliveries() {
    live(Life {
        accounts: 2,
        schedds: 2,
        days: 364,
        seed: 1,
        longest: 60,
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_two_hundred_deliveries() {
    live(Life {
        accounts: 50,
        schedds: 4,
        days: 4,
        seed: 2,
        longest: 60,
    })
    .await;
}

/// Of 200 it takes two to three minutes without optimisation, for the same laws.
#[tokio::test(start_paused = true)]
async fn a_year_of_forty_deliveries_with_short_outages() {
    live(Life {
        accounts: 10,
        schedds: 4,
        days: 364,
        seed: 3,
        longest: 2,
    })
    .await;
}
