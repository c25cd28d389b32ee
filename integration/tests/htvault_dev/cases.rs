//! What has to be so that the server gives each recorded answer.

use std::time::Duration;

use integration::address::listen_async;
use integration::dev::Settings;
use integration::dev::node::Condition;
use tokio::net::TcpListener;

use crate::world::{World, crab};

/// The recordings that the server does not answer yet, and why.
pub const NOT_YET: [(&str, &str); 0] = [];

/// A world in which the recorded request meets the recorded circumstances.
pub struct Arranged {
    pub world: World,
    /// Stands for `s.<token>`.
    pub token: String,
    /// Stands for `<base64>`.
    pub principal: &'static str,
    /// Stands for `<refresh token>`.
    pub refresh_token: String,
    /// Stands for the state of an OIDC flow.
    pub state: String,
    /// Holds the issuer's port when the issuer hangs.
    pub _hung_issuer: Option<TcpListener>,
}

const READ: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";

/// Arranges the circumstances; none for a recording that is in [`NOT_YET`] or not known.
#[allow(clippy::too_many_lines, reason = "a table")]
pub async fn arrange(name: &str) -> Option<Arranged> {
    let mut settings = Settings::default();
    if name == "creds-read-issuer-hangs" {
        // Enough for the answer before, on a busy machine too.
        settings.issuer_timeout = Duration::from_secs(3);
    }
    let world = World::with(settings).await;
    let mut token = world.login("cmsprod");
    let mut principal = "cmsprod@TEST";
    let mut refresh_token = String::new();
    let mut hung_issuer = None;
    let mut state = String::new();
    let grant = |world: &World| world.server.seed_grant(&crab(), "cmsprod");
    let read = async |world: &World, query: &str| {
        let token = world.login("cmsprod");
        let answer = world
            .call("GET", &format!("{READ}{query}"), &token, "")
            .await;
        (answer.status, answer.body)
    };
    match name {
        "creds-none-stored"
        | "garbage-token"
        | "health"
        | "seal-status"
        | "login-bad-negotiate"
        | "login-krb5-mech"
        | "login-no-negotiate"
        | "login-no-such-mount"
        | "login-spnego"
        | "lookup-accessor-denied"
        | "lookup-self"
        | "no-token"
        | "oidc-auth-url"
        | "renew-self-denied"
        | "revoke-self"
        | "token-create"
        | "token-create-bad-ttl"
        | "token-create-batch"
        | "token-create-longer-than-max"
        | "unknown-path" => {}
        "login-principal-not-in-ldap" => principal = "cmsprod/bastion/ap.test@TEST",
        "creds-delete"
        | "creds-list"
        | "creds-read"
        | "creds-read-minimum-too-long"
        | "creds-read-other-role"
        | "creds-read-other-user"
        | "creds-read-with-audience"
        | "creds-store-denied-with-kerberos-token"
        | "sts-read-audiences"
        | "sts-read-scopes" => grant(&world),
        "creds-read-after-delete" => {
            grant(&world);
            assert_eq!(world.call("DELETE", READ, &token, "").await.status, 204);
        }
        "creds-read-after-onboarding" | "creds-store" | "oidc-creds-store" => {
            token = world.oidc_login("cmsprod");
            let given = world.server.issuer().grant(&crab(), "cmsprod");
            secrecy::ExposeSecret::expose_secret(&given).clone_into(&mut refresh_token);
            if name == "creds-read-after-onboarding" {
                let body = format!(r#"{{"server":"cms","refresh_token":"{refresh_token}"}}"#);
                assert_eq!(world.call("POST", READ, &token, &body).await.status, 204);
            }
        }
        "creds-read-cached" => {
            grant(&world);
            assert_eq!(read(&world, "").await.0, 200);
            world.wait(Duration::from_mins(1));
        }
        "creds-read-expired-token" | "lookup-self-expired" => {
            grant(&world);
            token = world.child(&token, r#"{"ttl":"2s"}"#).await;
            world.wait(Duration::from_secs(2));
        }
        "creds-read-revoked-token" | "lookup-self-revoked" => {
            grant(&world);
            token = world.child(&token, "").await;
            let revoke = "/v1/auth/token/revoke-self";
            assert_eq!(world.call("POST", revoke, &token, "").await.status, 204);
        }
        "lookup-self-parent-revoked" => {
            let parent = token;
            token = world.child(&parent, "").await;
            let revoke = "/v1/auth/token/revoke-self";
            assert_eq!(world.call("POST", revoke, &parent, "").await.status, 204);
        }
        "creds-read-issuer-down" | "creds-read-issuer-hangs" | "sts-read-issuer-down" => {
            grant(&world);
            assert_eq!(read(&world, "").await.0, 200);
            world.server.stop_issuer().await;
            world.wait(Duration::from_mins(1));
            if name == "creds-read-issuer-hangs" {
                let address = world.server.issuer_address();
                hung_issuer = Some(listen_async(address).await.unwrap());
            }
        }
        "creds-read-refresh-refused" | "creds-read-still-cached" => {
            grant(&world);
            assert_eq!(read(&world, "").await.0, 200);
            assert_eq!(world.server.issuer().revoke_grants(&crab(), "cmsprod"), 1);
            world.wait(Duration::from_mins(1));
            if name == "creds-read-still-cached" {
                assert_eq!(read(&world, "?minimum_seconds=3599").await.0, 400);
            }
        }
        "failover-create" | "failover-creds" | "failover-creds-new" | "failover-lookup" => {
            world.server.nodes()[0].set_condition(Condition::Leaderless);
        }
        "oidc-poll-done" | "oidc-poll-pending" | "oidc-poll-wrong-nonce" => {
            let flow = world.begin_oidc("nonce-from-client").await;
            if name == "oidc-poll-done" {
                world.approve(&flow, "cmsprod");
            }
            state = flow.state;
        }
        "login-ldap-down" => world.server.controls().set_ldap_down(true),
        "rate-limited" => {
            let quota = "1/5m/5m".parse().unwrap();
            world.server.controls().set_quota(Some(quota));
            assert_ne!(read(&world, "").await.0, 429);
        }
        "sealed-creds-read" | "sealed-health" | "sealed-login" => {
            world.server.nodes()[0].set_condition(Condition::Sealed);
        }
        "standby-creds-read"
        | "standby-health"
        | "standby-login"
        | "standby-lookup-self"
        | "standby-token-create" => {
            grant(&world);
            world.server.nodes()[0].set_condition(Condition::Standby);
        }
        "token-lookup-child" => {
            // Half a second later: the real server rounds the time, and says one second less.
            world.wait(Duration::from_millis(500));
            token = world
                .child(&token, r#"{"ttl":"604800s","renewable":"false"}"#)
                .await;
        }
        _ => return None,
    }
    Some(Arranged {
        world,
        token,
        principal,
        refresh_token,
        state,
        _hung_issuer: hung_issuer,
    })
}
