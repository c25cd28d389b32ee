//! Users that may use the control socket: root, the service's own user, members of the socket's group.
//!
//! Always true: other users are refused, even when somebody changed the mode of the socket.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use tokio::time::timeout;
use tracing::warn;

use super::bodies::ApiError;
use crate::system::files::USERS;

/// Deadline for a user's groups: a directory service may be asked for them, and hang.
const LOOKUP: Duration = Duration::from_secs(5);

/// Credentials of the process at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its user.
    pub(crate) uid: Uid,
    /// Its primary group.
    pub(crate) gid: Gid,
}

/// The users that may use the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerAccess {
    /// The service's user.
    pub(crate) own: Uid,
    /// The socket's group.
    pub(crate) group: Gid,
}

impl PeerAccess {
    /// Returns true when a peer may use the socket. `groups` returns the groups of its user; it is called only when needed.
    async fn admits<G: Future<Output = Vec<Gid>>>(
        &self,
        peer: Peer,
        groups: impl FnOnce(Uid) -> G,
    ) -> bool {
        peer.uid.is_root()
            || peer.uid == self.own
            || peer.gid == self.group
            || groups(peer.uid).await.contains(&self.group)
    }
}

/// Refuses requests of other users.
pub(super) async fn require_member(
    State(access): State<PeerAccess>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if access.admits(peer, groups_in_time).await {
        return next.run(request).await;
    }
    let (uid, group) = (peer.uid, access.group);
    warn!(%uid, "user refused at the control socket");
    let message = format!(
        "user {uid} may not use the control socket; become root or a member of group {group}"
    );
    ApiError::new(StatusCode::FORBIDDEN, message).into_response()
}

/// Groups of a user; none when the look-up takes too long.
async fn groups_in_time(uid: Uid) -> Vec<Gid> {
    let name = PathBuf::from(uid.to_string());
    let groups = timeout(LOOKUP, USERS.run(&name, move || groups_of(uid)));
    let groups = groups.await.ok().and_then(Result::ok);
    groups.unwrap_or_default()
}

/// All groups of a user on this host; none for an unknown user.
fn groups_of(uid: Uid) -> Vec<Gid> {
    let Ok(Some(user)) = User::from_uid(uid) else {
        return Vec::new();
    };
    CString::new(user.name)
        .ok()
        .and_then(|name| getgrouplist(&name, user.gid).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn may(uid: u32, gid: u32, groups: &[u32]) -> bool {
        let access = PeerAccess {
            own: Uid::from_raw(100),
            group: Gid::from_raw(7),
        };
        let peer = Peer {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
        };
        let groups = groups.iter().copied().map(Gid::from_raw).collect();
        access.admits(peer, |_| ready(groups)).await
    }

    #[tokio::test]
    async fn root_the_own_user_and_members_of_the_group_may() {
        assert!(may(0, 0, &[]).await);
        assert!(may(100, 100, &[]).await);
        assert!(may(1000, 7, &[]).await);
        assert!(may(1000, 1000, &[4, 7]).await);
    }

    #[tokio::test]
    async fn others_may_not() {
        assert!(!may(1000, 1000, &[4, 8]).await);
        assert!(!may(7, 100, &[]).await);
    }

    #[test]
    fn root_is_in_its_group() {
        assert!(groups_of(Uid::from_raw(0)).contains(&Gid::from_raw(0)));
        assert_eq!(groups_of(Uid::from_raw(4_000_000_000)), []);
    }
}
