//! Advice about credds and collectors, the same in whatever way they are reached. Pure.
//!
//! Names in braces are filled in by [`fill`].

pub(super) const UNTRUSTED_VAULT: &str =
    "add {vault} to TRUSTED_VAULT_HOSTS in the schedd's configuration";

pub(super) const CONFIGURATION: &str = "the schedd's credential directory is missing or not set: check \
    SEC_CREDENTIAL_DIRECTORY_OAUTH there (mode 2770, root:condor)";

pub(super) const NO_SUPERUSER: &str = "who is told in CredLog at the schedd may not store for {account}: add that \
    name, without a domain, to CRED_SUPER_USERS there, or remove `superuser_for` here";

/// A token whose bearer may not write.
pub(super) const DENIED: &str = "the access token needs a scope that may write: condor:/WRITE, or compute.create with \
    compute.modify, compute.cancel and compute.read; name a credential that has it in `authorize_with`; else the \
    credd's ALLOW_WRITE leaves this host or account out";

/// A token that the credd does not take; it says no reason.
pub(super) const TOKEN_REFUSED: &str = "see the CredLog at the schedd: where it says nothing behind `using SCITOKENS` \
    the map file lacks a line `SCITOKENS ^{bearer}$ {account}`; where it says `SCITOKENS:2` and that it cannot connect, \
    that a certificate is not OK, or `negative cache`, the credd cannot get the issuer's keys: mend network or trust \
    there, then wait 10 minutes or remove /run/condor/cache/scitokens and restart the credd; where it says `'aud' claim \
    verification failed` SCITOKENS_SERVER_AUDIENCE must allow one of the token's audiences; of those \
    `https://wlcg.cern.ch/jwt/v1/any` counts in tokens with the claim `wlcg.ver` only";

pub(super) const NOT_OFFERED: &str =
    "the credd does not offer {method}: add it to SEC_DEFAULT_AUTHENTICATION_METHODS at the schedd";

pub(super) const CERTIFICATE_TIMES: &str = "the credd's host certificate (AUTH_SSL_SERVER_CERTFILE there) or that of \
    its authority is outside its validity: renew it at the schedd, or compare the clocks";

pub(super) const CERTIFICATE_NAME: &str = "the credd's host certificate (AUTH_SSL_SERVER_CERTFILE there) is for another \
    name: have one issued for the name by which the credd is asked for, or correct that name here";

pub(super) const NO_TLS: &str = "the credd cannot use its host certificate, or has no version of TLS in common with this \
    host: check AUTH_SSL_SERVER_CERTFILE, AUTH_SSL_SERVER_KEYFILE (it must be that certificate's key) and \
    AUTH_SSL_SERVER_CAFILE at the schedd; its CredLog says why";

pub(super) const NO_ADDRESS: &str =
    "check the host's name, that its credd runs, and the collector; it is tried again";

pub(super) const NO_CONNECTION: &str =
    "check that the credd runs and the network; it is tried again";

/// This host cannot make the connection.
pub(super) const LOCAL: &str = "this host cannot connect, whatever the credd does: raise the limits of the \
    service (descriptors, memory, ports), or correct the firewall here; it is tried again";

pub(super) const NO_CREDD: &str =
    "the address is not that of a credd, or it restarts; it is tried again";

/// An answer of a credd that cannot be read, after it let us in.
pub(super) const UNREADABLE: &str = "either {account} has too many credentials there (the list of all of them has at \
    most 10,000 entries and 1 MiB, with two entries for each): delete those in its credential directory that nobody \
    needs; or the credd's version of HTCondor is not supported: set `transport: condor` for its group";

pub(super) const CONSTRAINT: &str = "`constraint: {constraint}` is no expression that HTCondor takes; try it with \
    `condor_status -schedd -constraint`";

pub(super) const COLLECTOR_SILENT: &str = "the collector {collector} does not answer; check that it runs, the port, and \
    that it lets this host read (ALLOW_READ); schedds that are known are served as before, and it is tried again";

pub(super) const COLLECTOR_NOT_ASKED: &str = "the collector {collector} cannot be asked by this host: raise the limits of \
    the service (descriptors, memory, ports), or correct the firewall here; schedds that are known are served as before, \
    and it is tried again";

/// An advice with values in place of the names in braces.
pub(super) fn fill(advice: &str, values: &[(&str, &str)]) -> String {
    let fill = |text: String, (name, value): &(&str, &str)| text.replace(name, value);
    values.iter().fold(advice.to_owned(), fill)
}
