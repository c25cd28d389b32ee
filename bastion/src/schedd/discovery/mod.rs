//! Schedds that a collector is asked for: their ads, and what becomes of them over time. Pure.
//!
//! Always true: a schedd that was found once is not forgotten because a collector does not know it now. It is
//! waited for, until its tokens have expired.

mod ads;
mod found;
mod query;

pub(crate) use ads::{CreddAd, credd_named, credd_of_host, find_credd};
pub use ads::{ScheddAd, with_credds};
pub use found::{FoundSchedd, FoundSchedds, ScheddChange, ScheddState, Taken};
pub(crate) use query::{Collector, DEADLINE, IS_CREDD, QueryFailure, find};
