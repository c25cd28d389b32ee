//! Client of HTVault.
#[cfg(feature = "kerberos")]
pub mod kerberos;
