//! Users that may use the control socket: root, the service's own user, members of the socket's group.
//!
//! Always true: other users are refused, even when somebody changed the mode of the socket.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use axum::Extension;
use axum::extract::Request;
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

/// Credentials of the process at the other end of a connection, and of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its user.
    pub(crate) uid: Uid,
    /// Its primary group.
    pub(crate) gid: Gid,
    /// The service's user.
    pub(crate) own: Uid,
    /// The socket's group.
    pub(crate) group: Gid,
}

impl Peer {
    /// Returns the reason why it may not use the socket. `groups` looks up the groups of its user, in time or not at
    /// all; it is called only when needed.
    async fn refusal<G: Future<Output = Option<Vec<Gid>>>>(
        self,
        groups: impl FnOnce(Uid) -> G,
    ) -> Option<String> {
        let Self {
            uid,
            gid,
            own,
            group,
        } = self;
        if uid.is_root() || uid == own || gid == group {
            return None;
        }
        match groups(uid).await {
            Some(groups) if groups.contains(&group) => None,
            Some(_) => Some(format!(
                "user {uid} may not use the control socket; become root or a member of group {group}"
            )),
            None => Some(format!(
                "the name service of this host does not answer, or fails, for the groups of user {uid}, who may use \
                 the control socket as a member of group {group} only; check it (for example sssd), or become root"
            )),
        }
    }
}

/// Refuses requests of other users.
pub(super) async fn require_member(
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Some(refusal) = peer.refusal(groups_in_time).await else {
        return next.run(request).await;
    };
    warn!("request refused at the control socket: {refusal}");
    ApiError::new(StatusCode::FORBIDDEN, refusal).into_response()
}

/// Groups of a user; `None` when the look-up takes too long, or fails.
async fn groups_in_time(uid: Uid) -> Option<Vec<Gid>> {
    let name = PathBuf::from(uid.to_string());
    let groups = timeout(LOOKUP, USERS.run(&name, move || groups_of(uid)));
    groups.await.ok()?.ok()?
}

/// All groups of a user on this host; none for an unknown user, `None` when the look-up fails.
fn groups_of(uid: Uid) -> Option<Vec<Gid>> {
    let Some(user) = User::from_uid(uid).ok()? else {
        return Some(Vec::new());
    };
    let name = CString::new(user.name).ok()?;
    getgrouplist(&name, user.gid).ok()
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn refusal(uid: u32, gid: u32, groups: Option<&[u32]>) -> Option<String> {
        let peer = Peer {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            own: Uid::from_raw(100),
            group: Gid::from_raw(7),
        };
        let groups = groups.map(|groups| groups.iter().copied().map(Gid::from_raw).collect());
        peer.refusal(|_| ready(groups)).await
    }

    #[tokio::test]
    async fn root_the_own_user_and_members_of_the_group_may() {
        assert_eq!(refusal(0, 0, None).await, None);
        assert_eq!(refusal(100, 100, None).await, None);
        assert_eq!(refusal(1000, 7, None).await, None);
        assert_eq!(refusal(1000, 1000, Some(&[4, 7])).await, None);
    }

    #[tokio::test]
    async fn others_may_not_and_whose_groups_are_not_known_is_told_that() {
        for (uid, gid) in [(1000, 1000), (7, 100)] {
            let refusal = refusal(uid, gid, Some(&[4, 8])).await.unwrap();
            assert!(refusal.ends_with("a member of group 7"), "{refusal}");
        }
        let refusal = refusal(1000, 1000, None).await.unwrap();
        assert!(
            refusal.contains("name service of this host does not answer, or fails"),
            "{refusal}"
        );
    }

    #[test]
    fn root_is_in_its_group() {
        let groups = groups_of(Uid::from_raw(0)).unwrap();
        assert!(groups.contains(&Gid::from_raw(0)));
        assert_eq!(groups_of(Uid::from_raw(4_000_000_000)), Some(Vec::new()));
    }
}
