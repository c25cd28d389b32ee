//! What each command does, one file a command.

pub(crate) mod check;
pub(crate) mod schema;
