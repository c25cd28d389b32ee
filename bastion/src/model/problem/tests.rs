//! Whom a failure is charged to.

use super::*;
use crate::fixtures::{SERVER, credential};

#[test]
fn what_one_credential_cannot_send_is_not_charged_to_vault() {
    let credential = credential("a", "cms");
    let charged = |scope| {
        let error = (ErrorKind::Configuration, scope);
        Problem::charge(&credential, error, Request::AccessToken)
    };
    let (cause, kind) = charged(FailureScope::Credential);
    assert_eq!(cause, Cause::credential(&credential));
    assert_eq!(kind, Kind::Forbidden);
    let (cause, kind) = charged(FailureScope::Local);
    assert_eq!(cause, Cause::vault(&SERVER.parse().unwrap()));
    assert_eq!(kind, Kind::VaultUntrusted);
}
