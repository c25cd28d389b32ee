//! Client of HTVault.
pub mod clock;
#[cfg(feature = "kerberos")]
pub mod kerberos;
