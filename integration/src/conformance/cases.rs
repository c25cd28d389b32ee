//! What each recorded exchange takes: a token, a ticket, a state of the server.
//!
//! A table, in the order in which the cases run: first what disturbs nobody, then what brings the
//! server into another state, last what leaves something changed. A test sees to it that every
//! recording is in it, once.

use super::ticket::Mechanism;

/// The token that a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// None, or the one that the recording has.
    Recorded,
    /// That of the login by keytab.
    Login,
    /// A child of it.
    Child,
    /// A child that has expired.
    Expired,
    /// A child that was revoked.
    Revoked,
    /// A child whose parent was revoked.
    ParentRevoked,
    /// That of a login by OIDC in this run.
    Oidc,
}

/// A state of the server that no client can bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no key to its storage.
    Sealed,
    /// It is a standby.
    Standby,
    /// A new leader is being elected.
    Leaderless,
    /// The LDAP server that logins dial is down.
    LdapDown,
    /// The token issuer refuses connections.
    IssuerDown,
    /// The token issuer takes connections and does not answer.
    IssuerHangs,
    /// The quota is used up.
    RateLimited,
    /// The token issuer refuses the refresh token.
    RefreshRefused,
}

impl State {
    /// Why it cannot be had from outside.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Sealed => "the server would have to be sealed",
            Self::Standby => "the server is no standby (give the URL of one to run this)",
            Self::Leaderless => "a new leader would have to be elected just now",
            Self::LdapDown => "the LDAP server would have to be down",
            Self::IssuerDown => "the token issuer would have to be down",
            Self::IssuerHangs => "the token issuer would have to hang",
            Self::RateLimited => "would use up the quota: give --destructive",
            Self::RefreshRefused => "the token issuer would have to refuse the refresh token",
        }
    }
}

/// What else must be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// The node leads, or is alone.
    Active,
    /// A refresh token is stored.
    Stored,
    /// None is stored.
    NoneStored,
    /// The same, because it was deleted.
    Deleted,
    /// Scopes for reduced tokens were given.
    Scopes,
    /// Scopes and audience were given.
    Audience,
    /// A robot's keytab was given.
    Robot,
    /// An OIDC flow has begun.
    Flow,
    /// A person approved one.
    Approved,
    /// The server is in a state.
    State(State),
    /// The same, and a refresh token is stored.
    StoredAnd(State),
    /// A refused refresh was tried already.
    RefusedBefore,
}

/// A recorded exchange and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The recording.
    pub name: &'static str,
    /// The token.
    pub bearer: Bearer,
    /// The form of the ticket, where the request has one.
    pub mechanism: Mechanism,
    /// The rest.
    pub needs: Needs,
    /// What it changes that is not undone, if anything.
    pub destroys: Option<&'static str>,
    /// What only the oauthapp plugin does, if the answer shows that.
    pub plugin: Option<&'static str>,
}

const fn case(name: &'static str, bearer: Bearer, needs: Needs) -> Case {
    Case {
        name,
        bearer,
        mechanism: Mechanism::Kerberos,
        needs,
        destroys: None,
        plugin: None,
    }
}

impl Case {
    const fn spnego(mut self) -> Self {
        self.mechanism = Mechanism::Spnego;
        self
    }

    const fn plugin(mut self, what: &'static str) -> Self {
        self.plugin = Some(what);
        self
    }

    const fn destroys(mut self, what: &'static str) -> Self {
        self.destroys = Some(what);
        self
    }
}

const TOKEN: &str = "revokes a token (of its own): give --destructive";
const STORED: &str = "deletes the stored refresh token: give --destructive";
const REPLACED: &str = "stores another refresh token: give --destructive";
const KILLED: &str = "makes the stored refresh token useless: give --destructive";

const COMPARES: &str = "without the plugin nobody compares the life that is asked for";
const LISTS: &str = "only the plugin refuses lists";
const EXCHANGES: &str = "only the plugin exchanges tokens";
const ASKS: &str = "without the plugin a read does not ask the issuer";
const STORES: &str = "without the plugin the issuer is not asked at once for what was stored";

/// All cases, in their order.
#[rustfmt::skip]
pub const CASES: &[Case] = {
    use Bearer::{Child, Expired, Login, Oidc, ParentRevoked, Recorded, Revoked};
    use Needs::{
        Active, Approved, Audience, Deleted, Flow, NoneStored, Nothing, RefusedBefore, Robot, Scopes,
        Stored, StoredAnd,
    };
    const fn in_state(name: &'static str, bearer: Bearer, state: State) -> Case {
        case(name, bearer, Needs::State(state))
    }
    &[
        case("health", Recorded, Active),
        case("seal-status", Recorded, Nothing),
        case("login-krb5-mech", Recorded, Nothing),
        case("login-spnego", Recorded, Nothing).spnego(),
        case("login-no-negotiate", Recorded, Nothing),
        case("login-bad-negotiate", Recorded, Nothing),
        case("login-no-such-mount", Recorded, Nothing),
        case("login-principal-not-in-ldap", Recorded, Robot),
        case("lookup-self", Login, Nothing),
        case("token-create", Login, Nothing),
        case("token-create-batch", Login, Nothing),
        case("token-create-longer-than-max", Login, Nothing),
        case("token-create-bad-ttl", Login, Nothing),
        case("token-lookup-child", Child, Nothing),
        case("renew-self-denied", Login, Nothing),
        case("lookup-accessor-denied", Login, Nothing),
        case("unknown-path", Login, Nothing),
        case("no-token", Recorded, Nothing),
        case("garbage-token", Recorded, Nothing),
        case("lookup-self-expired", Expired, Nothing),
        case("creds-read-expired-token", Expired, Nothing),
        case("creds-read", Login, Stored),
        case("creds-read-cached", Login, Stored),
        case("creds-read-with-audience", Login, Stored),
        case("creds-read-minimum-too-long", Login, Stored).plugin(COMPARES),
        case("creds-read-other-role", Login, Nothing),
        case("creds-read-other-user", Login, Nothing),
        case("creds-list", Login, Nothing).plugin(LISTS),
        case("creds-store-denied-with-kerberos-token", Login, Nothing),
        case("creds-none-stored", Login, NoneStored),
        case("sts-read-scopes", Login, Scopes).plugin(EXCHANGES),
        case("sts-read-audiences", Login, Audience).plugin(EXCHANGES),
        case("oidc-auth-url", Recorded, Nothing),
        case("oidc-poll-pending", Recorded, Flow),
        case("oidc-poll-wrong-nonce", Recorded, Flow),

        in_state("standby-health", Recorded, State::Standby),
        in_state("standby-login", Recorded, State::Standby),
        in_state("standby-lookup-self", Login, State::Standby),
        in_state("standby-token-create", Login, State::Standby),
        case("standby-creds-read", Login, StoredAnd(State::Standby)),
        in_state("sealed-health", Recorded, State::Sealed),
        in_state("sealed-login", Recorded, State::Sealed),
        in_state("sealed-creds-read", Login, State::Sealed),
        in_state("failover-lookup", Login, State::Leaderless),
        in_state("failover-create", Login, State::Leaderless),
        in_state("failover-creds", Login, State::Leaderless),
        in_state("failover-creds-new", Login, State::Leaderless),
        in_state("login-ldap-down", Recorded, State::LdapDown),
        case("creds-read-issuer-down", Login, StoredAnd(State::IssuerDown)).plugin(ASKS),
        case("sts-read-issuer-down", Login, StoredAnd(State::IssuerDown)).plugin(EXCHANGES),
        case("creds-read-issuer-hangs", Login, StoredAnd(State::IssuerHangs)).plugin(ASKS),

        case("revoke-self", Child, Nothing).destroys(TOKEN),
        case("lookup-self-revoked", Revoked, Nothing).destroys(TOKEN),
        case("creds-read-revoked-token", Revoked, Nothing).destroys(TOKEN),
        case("lookup-self-parent-revoked", ParentRevoked, Nothing).destroys(TOKEN),
        case("creds-read-refresh-refused", Login, StoredAnd(State::RefreshRefused)).destroys(KILLED).plugin(ASKS),
        case("creds-read-still-cached", Login, RefusedBefore).destroys(KILLED).plugin(ASKS),
        case("creds-delete", Login, Stored).destroys(STORED),
        case("creds-read-after-delete", Login, Deleted).destroys(STORED),
        case("oidc-poll-done", Recorded, Approved),
        case("oidc-creds-store", Oidc, Nothing).destroys(REPLACED),
        case("creds-store", Oidc, Nothing).destroys(REPLACED),
        case("creds-read-after-onboarding", Oidc, Stored).destroys(REPLACED).plugin(STORES),
        in_state("rate-limited", Login, State::RateLimited),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::recorded::RECORDINGS;

    #[test]
    fn every_recording_has_one_case() {
        let mut cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        cases.sort_unstable();
        let mut recordings: Vec<&str> = RECORDINGS.iter().map(|(name, _)| *name).collect();
        recordings.sort_unstable();
        assert_eq!(cases, recordings);
    }
}
