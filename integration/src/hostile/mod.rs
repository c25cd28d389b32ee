//! Fixtures for attacks on the real programs: servers and fronts that misbehave, a credential directory
//! that is written as the credd does it, file systems that hang, and clocks that step.
//!
//! What always holds: each server has an address and a name of its own in the sandbox, so tests
//! run in parallel; everything lives in one [`Site`]'s folder and ends with it; no fixture prints a
//! vault token or an access token.

pub mod answer;
pub mod clock;
pub mod credmon;
pub mod directory;
pub mod file_system;
pub mod front;
pub mod kdc;
pub mod names;
pub mod server;
pub mod site;
pub mod token;
pub mod vault;

pub use answer::{Answer, Request};
pub use clock::FalseClock;
pub use credmon::{Credmon, Setup, Status};
pub use directory::CredentialDirectory;
pub use file_system::FileSystem;
pub use front::{Front, Handling};
pub use server::Server;
pub use site::Site;
pub use token::AccessToken;
pub use vault::Vault;
