//! A Vault, credds and credmons that behave, on tokio's clock, for component tests.
//!
//! Tokens really die, a child with its parent; a credmon serves only what a living token is for.

mod transport;
mod vault;
mod world;

use std::sync::{Arc, Mutex, MutexGuard};

use htvault::clock::Clock;
use jiff::Timestamp;

pub(crate) use self::world::{Stored, World};
use crate::engine::attempt::Parts;
use crate::store::Store;
use crate::vault::sessions::Sessions;

/// A shared world.
#[derive(Clone)]
pub(crate) struct Outside(Arc<Mutex<World>>);

pub(crate) use self::transport::FakeSchedds;

pub(crate) type FakeParts = Parts<Outside, FakeSchedds>;

impl Outside {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(World::new())))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn parts(&self) -> Arc<FakeParts> {
        self.parts_with(Store::default())
    }

    pub(crate) fn parts_with(&self, store: Store) -> Arc<FakeParts> {
        let sessions = self.sessions(store);
        let schedds = FakeSchedds::new(self.clone(), Arc::clone(&sessions));
        Arc::new(Parts::new(sessions, schedds))
    }

    pub(crate) fn sessions(&self, store: Store) -> Arc<Sessions<Self>> {
        let clock = Arc::new(self.clone());
        Arc::new(Sessions::new(self.clone(), clock, store))
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        self.lock().clock()
    }
}
