//! Plain data: accounts, deliveries, problems, names, times. Knows nothing of the rest.

pub mod delivery;
pub mod duration;
pub mod grants;
pub(crate) mod moment;
pub mod names;
pub mod note;
pub mod problem;
pub mod selection;
