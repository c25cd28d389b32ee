//! Schedds that a collector is asked for: what it answered, and what that means. Pure.
//!
//! What holds: a schedd that was found once is not forgotten because a collector does not know it
//! now. It is waited for, until its tokens have ended.

mod ads;
mod known;

pub use ads::{Ad, with_credds};
pub(crate) use ads::{CreddAd, address_of, credds, schedds};
pub use known::{Change, Known, Schedd, Standing};
