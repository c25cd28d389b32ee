//! The table: every situation, and what is expected.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use htvault::clock::{Clock as _, SystemClock};
use jiff::Timestamp;
use serde_json::json;

use super::case::{Expected, Group};
use super::launch_run::Launch;
use crate::pool::Release;

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
mod older;
mod pool;
mod refusals;
mod routing;
mod schedule;
mod scopes;

pub use pool::PoolRow;

/// A good `.top`.
pub const TOP: &str = top!("creds/cms/cmsprod:default");

/// What one side alone has when it alone fetches an access token for `cms`.
pub(super) const FETCHED: &[&str] = &[
    "asks creds/cms/cmsprod:default?minimum_seconds=2400 → 200",
    "cms.use holds one line: a token of cmsprod, for https://wlcg.cern.ch/jwt/v1/any, with 9 scopes",
    "cms.use new, 0400 root:condor",
];

/// What both sides are put into on an HTCondor of one release.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Which HTCondor.
    pub release: Release,
    /// Groups of folders.
    pub groups: &'static [&'static [Group]],
    /// Starts.
    pub launches: &'static [Launch],
    /// What happens to a whole pool.
    pub pool: &'static [PoolRow],
    /// Groups of another part in which nothing is another here: run again, and not shown again.
    pub again: &'static [&'static [Group]],
    /// The same for starts.
    pub launches_again: &'static [Launch],
}

/// Groups that take long, and are not run again.
const SLOW: &[&str] = &["pipes", "hang", "issuer-down", "refresh-refused", "refresh"];

/// What HTCondor 25.14's part of the table holds.
pub const CURRENT: Part = Part {
    release: Release::Current,
    groups: &[
        names::GROUPS,
        routing::GROUPS,
        scopes::GROUPS,
        broken::GROUPS,
        refusals::GROUPS,
        schedule::GROUPS,
    ],
    launches: launches::LAUNCHES,
    pool: pool::POOL,
    again: &[],
    launches_again: &[],
};

/// What that of the older HTCondor holds.
pub const OLDER: Part = Part {
    release: Release::Older,
    groups: &[older::GROUPS],
    launches: older::LAUNCHES,
    pool: older::POOL,
    again: &[
        scopes::GROUPS,
        broken::GROUPS,
        refusals::GROUPS,
        schedule::GROUPS,
    ],
    launches_again: launches::LAUNCHES,
};

impl Part {
    /// Its groups of folders.
    pub fn groups(&self) -> impl Iterator<Item = &'static Group> {
        self.groups.iter().flat_map(|groups| groups.iter())
    }

    /// Groups of another part that are run again.
    pub fn groups_again(&self) -> impl Iterator<Item = &'static Group> {
        let all = self.again.iter().flat_map(|groups| groups.iter());
        all.filter(|group| !SLOW.contains(&group.name))
    }

    /// Starts of another part that are run again: not those with rows of their own here, nor those in
    /// which HTCondor's hangs, which take long.
    pub fn starts_again(&self) -> impl Iterator<Item = &'static Launch> {
        let own = self.launches;
        self.launches_again.iter().filter(move |launch| {
            launch.theirs_hangs.is_none() && own.iter().all(|own| own.name != launch.name)
        })
    }

    /// All that is expected.
    pub fn expected(&self) -> impl Iterator<Item = &'static Expected> {
        let cases = self.groups().flat_map(|group| group.cases);
        (cases.map(|case| &case.expected))
            .chain(self.launches.iter().map(|launch| &launch.expected))
            .chain(self.pool.iter().map(|row| &row.expected))
    }
}

/// An access token of an hour that ends so many seconds from now (nobody would take it), and when it
/// was issued. One that ends later was issued now.
#[must_use]
pub fn access_token(life: i64) -> (String, Timestamp) {
    let now = SystemClock.now();
    let end = now.as_second().saturating_add(life);
    let issued = now.as_second().min(end.saturating_sub(3600));
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = part(json!({"alg": "none"}));
    let claims = part(json!({
        "iss": crate::chain::ISSUER, "sub": "cmsprod", "jti": "old", "iat": issued, "exp": end,
    }));
    let issued = Timestamp::from_second(issued).unwrap_or(now);
    (format!("{header}.{claims}.x\n"), issued)
}
