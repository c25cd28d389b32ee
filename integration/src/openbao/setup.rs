//! Mounts and policies of a real Vault as htvault-config describes them: a Kerberos mount for each
//! issuer and role, an OIDC mount for each issuer, and policies by which everybody has what is
//! stored under their own name.
//!
//! What always holds: `secret/oauth` is a key-value store of version 1 in place of the oauthapp
//! plugin; the paths of it are the same, and so are the policies.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::api::Api;
use super::ldap;
use crate::dev::settings::RoleName;
use crate::kdc::REALM;

/// Lifetime of the token of a login, and the longest of any.
const MONTH: &str = "672h";

/// A token issuer, as the OIDC mount is told of it.
pub struct Issuer<'a> {
    /// Its name at the Vault.
    pub name: &'a str,
    /// Its URL.
    pub url: &'a str,
    /// The Vault's client there.
    pub client_id: &'a str,
    /// The secret of it.
    pub client_secret: &'a SecretString,
    /// How its tokens are signed, as `ES256`.
    pub algorithm: &'a str,
    /// The claim that says whose credential it is.
    pub credkey_claim: &'a str,
    /// Its roles, with their scopes.
    pub roles: Vec<(RoleName, Vec<String>)>,
}

/// Enables a login mount; gives its accessor, by which policies name it.
async fn enable(api: &Api, mount: &str, kind: &str, config: Value) -> anyhow::Result<String> {
    let asked = json!({"type": kind, "config": config});
    api.write(&format!("sys/auth/{mount}"), asked).await?;
    let mounts = api.read("sys/auth").await?.unwrap_or_default();
    let accessor = mounts.get(format!("{mount}/"));
    let accessor = accessor.and_then(|mount| mount.get("accessor"));
    let accessor = accessor.and_then(Value::as_str);
    (accessor.map(str::to_owned)).with_context(|| format!("{mount} has no accessor"))
}

async fn policy(api: &Api, name: &str, rules: &str) -> anyhow::Result<()> {
    let path = format!("sys/policies/acl/{name}");
    // The names of robots have slashes; without this they may do nothing.
    let asked = json!({"policy": rules, "allow_slashes_in_identity_templates": true});
    api.write(&path, asked).await.map(drop)
}

/// The rules for what is stored under the name of a mount's entity, with and without the realm, and
/// below the name, where robots are.
fn own(mount: &str, role: &RoleName, store: &str) -> String {
    let RoleName { issuer, role } = role;
    let name = format!("{{{{identity.entity.aliases.{mount}.name}}}}");
    let mut rules = String::new();
    for name in [
        format!("{name}:{role}"),
        format!("{name}@{REALM}:{role}"),
        format!("{name}/*"),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(
            rules,
            "path \"secret/oauth/creds/{issuer}/{name}\" {{ capabilities = [\"read\", \"list\", \
             \"delete\"{store}] }}\n\
             path \"secret/oauth/sts/{issuer}/{name}\" {{ capabilities = [\"read\", \"list\"] }}\n"
        );
    }
    rules
}

/// Makes the mount in place of the plugin, and the policy that each login has.
pub async fn secrets(api: &Api) -> anyhow::Result<()> {
    let mount = json!({"type": "kv", "options": {"version": "1"}});
    api.write("sys/mounts/secret/oauth", mount).await?;
    policy(
        api,
        "tokenops",
        "path \"auth/token/create\" { capabilities = [\"update\"] }\n\
         path \"auth/token/lookup-self\" { capabilities = [\"read\", \"update\"] }\n\
         path \"auth/token/revoke-self\" { capabilities = [\"update\"] }\n",
    )
    .await
}

/// Makes the Kerberos mounts of an issuer; `service` is the principal in the keytab.
pub async fn kerberos(
    api: &Api,
    roles: &[(RoleName, Vec<String>)],
    keytab: &Path,
    service: &str,
) -> anyhow::Result<()> {
    let keytab = std::fs::read(keytab)
        .with_context(|| format!("cannot read the keytab {}", keytab.display()))?;
    let keytab = STANDARD.encode(keytab);
    for (role, _) in roles {
        let name = format!("kerberos-{role}");
        let config = json!({
            "passthrough_request_headers": ["Authorization"],
            "allowed_response_headers": ["www-authenticate"],
        });
        let accessor = enable(api, &name, "kerberos", config).await?;
        let config = json!({"keytab": keytab, "service_account": service});
        api.write(&format!("auth/{name}/config"), config).await?;
        let ldap = json!({
            "url": format!("ldap://{}", ldap::ADDRESS),
            "token_policies": [&name, "tokenops"],
            "token_no_default_policy": true,
            "token_ttl": MONTH,
        });
        api.write(&format!("auth/{name}/config/ldap"), ldap).await?;
        policy(api, &name, &own(&accessor, role, "")).await?;
    }
    Ok(())
}

/// Makes the OIDC mount of an issuer, whose people log in by a device flow.
pub async fn oidc(api: &Api, issuer: &Issuer<'_>, ca_pem: &str, url: &str) -> anyhow::Result<()> {
    let mount = format!("oidc-{}", issuer.name);
    let accessor = enable(api, &mount, "oidc", json!({})).await?;
    let config = json!({
        "oidc_discovery_url": issuer.url,
        "oidc_discovery_ca_pem": ca_pem,
        "oidc_client_id": issuer.client_id,
        "oidc_client_secret": issuer.client_secret.expose_secret(),
        "jwt_supported_algs": [issuer.algorithm],
    });
    api.write(&format!("auth/{mount}/config"), config).await?;
    for (role, scopes) in &issuer.roles {
        let name = format!("oidc-{role}");
        let config = json!({
            "role_type": "oidc",
            "callback_mode": "device",
            "user_claim": issuer.credkey_claim,
            "claim_mappings": {issuer.credkey_claim: "credkey"},
            "oauth2_metadata": ["refresh_token"],
            "oidc_scopes": scopes,
            "allowed_redirect_uris": [format!("{url}/v1/auth/{mount}/oidc/callback")],
            "poll_interval": 3,
            "token_policies": [&name, "tokenops"],
            "token_no_default_policy": true,
            "token_ttl": MONTH,
        });
        api.write(&format!("auth/{mount}/role/{}", role.role), config)
            .await?;
        let store = ", \"create\", \"update\"";
        policy(api, &name, &own(&accessor, role, store)).await?;
    }
    Ok(())
}
