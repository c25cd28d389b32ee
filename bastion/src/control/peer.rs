//! Who may use the control socket: root, the service's own user, members of the socket's group.
//!
//! The socket's mode says the same, and the kernel enforces it. This holds still when somebody
//! changed the mode.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: Uid,
    /// Its primary group.
    pub gid: Gid,
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The service's user.
    pub own: Uid,
    /// The socket's group.
    pub group: Gid,
}

impl Admission {
    /// Whether a peer may. `groups` lists the groups of its user, and is asked last: that may take
    /// long.
    #[must_use]
    pub fn admits(&self, peer: Peer, groups: impl FnOnce(Uid) -> Vec<Gid>) -> bool {
        peer.uid.is_root()
            || peer.uid == self.own
            || peer.gid == self.group
            || groups(peer.uid).contains(&self.group)
    }
}

/// All groups of a user as this host knows them; none for a user that it does not know.
#[must_use]
pub fn groups_of(uid: Uid) -> Vec<Gid> {
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
    use super::*;

    fn may(uid: u32, gid: u32, groups: &[u32]) -> bool {
        let admission = Admission {
            own: Uid::from_raw(100),
            group: Gid::from_raw(7),
        };
        let peer = Peer {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
        };
        admission.admits(peer, |_| {
            groups.iter().copied().map(Gid::from_raw).collect()
        })
    }

    #[test]
    fn root_the_own_user_and_members_of_the_group_may() {
        assert!(may(0, 0, &[]));
        assert!(may(100, 100, &[]));
        assert!(may(1000, 7, &[]));
        assert!(may(1000, 1000, &[4, 7]));
    }

    #[test]
    fn others_may_not() {
        assert!(!may(1000, 1000, &[4, 8]));
        assert!(!may(7, 100, &[]));
    }

    #[test]
    fn root_is_in_its_group() {
        assert!(groups_of(Uid::from_raw(0)).contains(&Gid::from_raw(0)));
        assert_eq!(groups_of(Uid::from_raw(4_000_000_000)), []);
    }
}
