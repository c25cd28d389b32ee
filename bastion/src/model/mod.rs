//! Plain data: accounts, deliveries, problems, names, times.
//!
//! Always true: nothing here imports from other folders of the crate, and nothing has an effect.

pub mod delivery;
pub mod duration;
pub mod grants;
pub(crate) mod moment;
pub mod names;
pub mod problem;
pub mod records;
pub mod selection;
