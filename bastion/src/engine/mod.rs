//! The engine: what runs for deliveries, and under which limits.

pub(crate) mod limits;
pub(crate) mod resources;
