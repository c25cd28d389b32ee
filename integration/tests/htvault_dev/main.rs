//! `htvault-dev` against the recorded exchanges of a real server, and what they do not show.

mod behaviour;
mod cases;
mod command;
mod conformance;
mod kerberos;
mod load;
mod recorded;
mod shape;
mod wire;
mod world;
