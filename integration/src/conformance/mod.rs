//! Whether a server answers as the recorded exchanges of a real HTVault do.
//!
//! The comparison ([`recorded`], [`shape`], [`compare`]) is pure and serves the tests of
//! `htvault-dev` too.

pub mod compare;
pub mod recorded;
pub mod shape;
