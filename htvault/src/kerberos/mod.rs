//! Kerberos: tickets from keytabs and Negotiate tokens, in memory only.
