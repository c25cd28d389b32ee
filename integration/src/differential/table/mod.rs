//! The table: every situation, and what is expected.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use htvault::clock::{Clock as _, SystemClock};
use serde_json::json;

use super::case::Group;

/// A `.top` with a token of this case and further fields, for a path below `secret/oauth/`.
macro_rules! top {
    ($path:literal $(, $more:literal)*) => {
        concat!(
            r#"{"vault_token":"$TOKEN","vault_url":"https://vault.test:8200/v1/secret/oauth/"#,
            $path, "\"", $(",", $more,)* "}"
        )
    };
}

/// A `.top` without token, as a handle has it.
macro_rules! child {
    ($path:literal $(, $more:literal)*) => {
        concat!(
            r#"{"vault_url":"https://vault.test:8200/v1/secret/oauth/"#,
            $path, "\"", $(",", $more,)* "}"
        )
    };
}

mod broken;
mod names;
mod refusals;
mod routing;
mod schedule;
mod scopes;

/// A good `.top`.
pub const TOP: &str = top!("creds/cms/cmsprod:default");

/// All groups of folders.
pub const GROUPS: &[&[Group]] = &[
    names::GROUPS,
    routing::GROUPS,
    scopes::GROUPS,
    broken::GROUPS,
    refusals::GROUPS,
    schedule::GROUPS,
];

/// An access token that ends so many seconds from now; nobody would take it.
#[must_use]
pub fn access_token(life: i64) -> String {
    let now = SystemClock.now().as_second();
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = part(json!({"alg": "none"}));
    let issued = (now + life - 3600).min(now);
    let claims = part(json!({"sub": "old", "jti": "old", "iat": issued, "exp": now + life}));
    format!("{header}.{claims}.x\n")
}
