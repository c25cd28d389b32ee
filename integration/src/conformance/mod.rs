//! Whether a server answers as the recorded exchanges of a real HTVault do: the command
//! `conformance`, for `htvault-dev` and for any other.
//!
//! The comparison ([`recorded`], [`shape`], [`compare`], [`names`]) is pure and serves the tests of
//! `htvault-dev` too. [`cases`] says what each exchange takes, [`stage`] brings it about, [`run`]
//! goes through them.

pub mod admin;
pub mod cases;
pub mod command;
pub mod compare;
pub mod names;
pub mod recorded;
pub mod run;
pub mod server;
pub mod shape;
pub mod stage;
pub mod ticket;
