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
use crate::push::Parts;
use crate::store::Store;

/// A shared world.
#[derive(Clone)]
pub(crate) struct Outside(Arc<Mutex<World>>);

pub(crate) type FakeParts = Parts<Outside, Outside>;

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
        let clock = Arc::new(self.clone());
        Arc::new(Parts::new(self.clone(), self.clone(), clock, store))
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        self.lock().clock()
    }
}
