//! For tests: credentials, tokens and statuses that are made by hand.

use htvault::ErrorKind;
use jiff::Timestamp;

use super::{
    AccessTokenStatus, CredentialStatus, DaemonStatus, Failure, STATUS_VERSION, State,
    VaultTokenStatus,
};

/// The time that lies so many seconds after 1970.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A failure of that kind. Its text names the path, as htvault's errors do; its words do not.
pub(crate) fn failure(kind: ErrorKind, path: &str) -> Failure {
    Failure::of(kind, format!("{path}: {kind:?}"), format!("{kind:?}"))
}

/// Status of a daemon that runs, written at second 1000.
pub(crate) fn daemon() -> DaemonStatus {
    DaemonStatus {
        version: STATUS_VERSION,
        program: "x".to_owned(),
        process: 1,
        running: true,
        written: at(1000),
        directory: Some("/c".to_owned()),
        problem: None,
        troubled_vaults: Vec::new(),
        more_troubled_vaults: 0,
        count: 1,
    }
}

/// Status of a credential whose access token expires then.
pub(crate) fn credential(user: &str, state: State, expires: i64) -> CredentialStatus {
    CredentialStatus {
        user: user.into(),
        service: "cms".into(),
        state,
        since: at(0),
        why: "".into(),
        advice: "".into(),
        vault: Some("vault.test".into()),
        access_token: Some(AccessTokenStatus {
            issued: Some(at(0)),
            expires: Some(at(expires)),
            id: Some("id-1".into()),
            issuer: None,
            scopes: "storage.read:/ openid".into(),
        }),
        vault_token: Some(VaultTokenStatus {
            expires: Some(at(90_000)),
        }),
        last_success: Some(at(0)),
        next_renewal: Some(at(1200)),
        last_error: None,
    }
}
