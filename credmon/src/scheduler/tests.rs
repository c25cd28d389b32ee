//! The scheduler alone, with observations and outcomes made by hand and time that is passed in.

mod clocks;
mod consistency;
mod dependencies;
mod hindrances;
mod issuers;
mod limits;
mod meanwhile;
mod random;
mod site;
mod states;
mod world;

use world::World;
