//! The table: every situation, and what is expected.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use htvault::clock::{Clock as _, SystemClock};
use jiff::Timestamp;
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
mod launches;
mod names;
mod pool;
mod refusals;
mod routing;
mod schedule;
mod scopes;

pub use launches::LAUNCHES;
pub use pool::{POOL, PoolRow};

/// A good `.top`.
pub const TOP: &str = top!("creds/cms/cmsprod:default");

/// What one side alone has when it alone fetches an access token for `cms`.
pub(super) const FETCHED: &[&str] = &[
    "asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200",
    "cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes",
    "cms.use new, 0400 root:condor",
];

/// All groups of folders.
pub const GROUPS: &[&[Group]] = &[
    names::GROUPS,
    routing::GROUPS,
    scopes::GROUPS,
    broken::GROUPS,
    refusals::GROUPS,
    schedule::GROUPS,
];

/// An access token of an hour that ends so many seconds from now (nobody would take it), and when it
/// was issued. One that ends later was issued now.
#[must_use]
pub fn access_token(life: i64) -> (String, Timestamp) {
    let now = SystemClock.now();
    let end = now.as_second().saturating_add(life);
    let issued = now.as_second().min(end.saturating_sub(3600));
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = part(json!({"alg": "none"}));
    let claims = part(json!({"sub": "old", "jti": "old", "iat": issued, "exp": end}));
    let issued = Timestamp::from_second(issued).unwrap_or(now);
    (format!("{header}.{claims}.x\n"), issued)
}
