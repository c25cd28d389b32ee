//! The fake credds and credmons: what is stored is served after a while, as real ones do.
//!
//! What holds: two things at once for one delivery fail the test, and so does a dead token that is
//! pushed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use htvault::AccessToken;
use jiff::Timestamp;
use secrecy::SecretString;

use super::{Outside, Stored, World};
use crate::config::Search;
use crate::model::delivery::{Delivery, DeliveryId};
use crate::model::moment::{after, until};
use crate::model::problem::{Cause, Kind, Problem};
use crate::schedd::discovery::{FoundSchedds, ScheddAd};
use crate::schedd::opener::Openers;
use crate::schedd::top_file;
use crate::schedd::{Observation, Transport};
use crate::vault::sessions::Sessions;

/// Credmons make a new access token this often.
const SERVES_EVERY: Duration = Duration::from_mins(5);
/// What is done for a delivery; two at once are a broken law.
struct Busy(Outside, DeliveryId);

impl Busy {
    fn begin(outside: &Outside, id: &DeliveryId) -> Self {
        let mut world = outside.lock();
        let is_alone = world.busy.insert(id.clone());
        assert!(is_alone || world.two_services, "two tries at once for {id}");
        drop(world);
        Self(outside.clone(), id.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.lock().busy.remove(&self.1);
    }
}

/// The credds and credmons. Those that need an access token are opened by one.
pub(crate) struct FakeSchedds {
    outside: Outside,
    openers: Openers<Outside>,
    /// Names of the schedds whose addresses it knows.
    pub(crate) learned: Mutex<Vec<String>>,
}

impl FakeSchedds {
    pub(super) fn new(outside: Outside, sessions: Arc<Sessions<Outside>>) -> Self {
        let openers = Openers::new(sessions);
        Self {
            outside,
            openers,
            learned: Mutex::default(),
        }
    }

    /// Begins work for a delivery, with an access token where one is needed, whose expiry is returned.
    async fn begin(&self, delivery: &Delivery) -> Result<(Busy, Option<i64>), Problem> {
        let opener = self.openers.of(delivery).await?;
        let busy = Busy::begin(&self.outside, &delivery.id);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let expires = |token: &AccessToken| token.expose().rsplit('.').next()?.parse().ok();
        Ok((busy, opener.as_ref().and_then(expires)))
    }
}

impl Transport for FakeSchedds {
    async fn observe(&self, delivery: &Delivery) -> Result<Observation, Problem> {
        let (_busy, opener_expires) = self.begin(delivery).await?;
        let hangs = self
            .outside
            .lock()
            .schedds_hang
            .contains(&delivery.id.schedd);
        if hangs {
            tokio::time::sleep(Duration::from_mins(1)).await;
            return Err(Problem::new(
                Cause::credd(delivery),
                Kind::CreddDown,
                "no answer",
            ));
        }
        up(&self.outside.lock(), delivery)?;
        let now = self.outside.lock().now().as_second();
        if opener_expires.is_some_and(|expires| now >= expires) {
            self.openers.forget(delivery).await;
            return Err(Problem::new(
                Cause::schedd(delivery),
                Kind::CreddRefused,
                "too old",
            ));
        }
        let mut world = self.outside.lock();
        let alive = world
            .token_at(&delivery.id)
            .is_some_and(|token| world.is_alive(&token));
        let (now, credmons, takes) = (world.now(), world.credmons, world.credmon_takes);
        let every = SERVES_EVERY.min(world.access_life / 3).as_secs();
        let wants = world.access_life / 3 * 2;
        let credkey = &delivery.credential.credkey;
        let ends = world
            .gives(credkey, wants)
            .or_else(|| world.gives(credkey, Duration::ZERO));
        let Some(stored) = world.stored.get_mut(&delivery.id) else {
            return Ok(Observation::default());
        };
        // The credmon serves what is stored, and again every five minutes while the token lives.
        let first = after(stored.at, takes);
        if credmons && alive && now >= first && ends.is_some() {
            let again = until(first, now).as_secs() / every * every;
            let last = after(first, Duration::from_secs(again));
            if stored.is_new {
                (stored.served, stored.ends) = (Some(now), ends);
                stored.is_new = false;
            } else if stored.served.is_none_or(|served| served < last) {
                (stored.served, stored.ends) = (Some(last), ends);
            }
        }
        let readable = delivery.target.is_readable();
        // A credd tells whole seconds.
        let told = |time: Timestamp| {
            if readable {
                time
            } else {
                Timestamp::from_second(time.as_second()).unwrap()
            }
        };
        Ok(Observation {
            stored: Some(told(stored.at)),
            served: stored.served.map(told),
            serves_until: stored.ends.filter(|_| readable),
            content: readable.then(|| stored.top.clone()),
        })
    }

    async fn store(&self, delivery: &Delivery, top: &SecretString) -> Result<(), Problem> {
        let _begun = self.begin(delivery).await?;
        let mut world = self.outside.lock();
        up(&world, delivery)?;
        if world.stores_refused {
            let cause = Cause::schedd(delivery);
            return Err(Problem::new(cause, Kind::CreddRefused, "its disk is full"));
        }
        world.stores += 1;
        if let Some(state) = world.state.as_ref().filter(|state| state.is_dir()) {
            let text = std::fs::read_to_string(state.join("state.json")).unwrap();
            let token = top_file::token_of(&delivery.credential, top).unwrap();
            let accessor = token.expose().replace("s.secret", "accessor");
            assert!(
                text.contains(&format!("\"{accessor}\"")),
                "a token leaves the process before the disk names it"
            );
        }
        let there = world.token_at(&delivery.id);
        if there.is_some_and(|there| !world.is_alive(&there)) {
            world.dark.insert(delivery.id.clone());
        }
        // Jobs keep the access token of before until the credmon makes another.
        let before = world.stored.get(&delivery.id);
        let (served, ends) = before.map_or((None, None), |stored| (stored.served, stored.ends));
        let stored = Stored {
            top: top.clone(),
            at: world.now(),
            served,
            ends,
            is_new: true,
        };
        world.stored.insert(delivery.id.clone(), stored);
        let token = world.token_at(&delivery.id).unwrap();
        assert!(world.is_alive(&token), "a dead token was pushed");
        if world.stores_unanswered {
            let cause = Cause::credd(delivery);
            return Err(Problem::new(cause, Kind::CreddDown, "no answer"));
        }
        Ok(())
    }

    async fn delete(&self, delivery: &Delivery) -> Result<bool, Problem> {
        self.observe(delivery).await?;
        let _begun = self.begin(delivery).await?;
        let mut world = self.outside.lock();
        up(&world, delivery)?;
        Ok(world.stored.remove(&delivery.id).is_some())
    }

    async fn find(&self, search: &Search, _: &FoundSchedds) -> Result<Vec<ScheddAd>, Problem> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let world = self.outside.lock();
        let found = world.pools.get(&search.group).cloned();
        let panics = world.panics.contains(&search.group);
        // Others need the lock.
        drop(world);
        assert!(!panics, "a fault of this program");
        found.ok_or_else(|| {
            let cause = Cause::Group(search.group.clone());
            Problem::new(cause, Kind::CollectorDown, "refused")
        })
    }

    fn learn(&self, _: &Search, found: &FoundSchedds) {
        let names = found.0.keys().cloned();
        self.learned.lock().unwrap().extend(names);
    }
}

fn up(world: &World, delivery: &Delivery) -> Result<(), Problem> {
    if world.schedds_down.contains(&delivery.id.schedd) {
        return Err(Problem::new(
            Cause::credd(delivery),
            Kind::CreddDown,
            "refused",
        ));
    }
    Ok(())
}
