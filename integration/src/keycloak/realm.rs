//! The realm of a Keycloak, as its JSON is imported: one client, for the Vault, and the people who
//! log in.
//!
//! What always holds: refresh tokens are used once; an access token has a UUID for its subject, a list
//! of two audiences, and only those scopes that were asked for; passwords are new for each realm.

use std::collections::BTreeMap;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::dev::issuer::CLIENT_ID;
use crate::dev::random;

/// Its name, the last part of the issuer's URL.
pub const NAME: &str = "grid";
/// The audiences of its access tokens.
pub const AUDIENCES: [&str; 2] = [
    "https://wlcg.cern.ch/jwt/v1/any",
    "https://storage.example.org",
];
/// The scopes that the client may ask for, besides those of identity.
pub const SCOPES: [&str; 6] = [
    "condor:/READ",
    "condor:/WRITE",
    "compute.read",
    "compute.create",
    "storage.read:/",
    "storage.modify:/store/user",
];

/// A realm.
#[derive(Debug)]
pub struct Realm {
    access_token_life: u64,
    client_secret: SecretString,
    people: BTreeMap<String, Person>,
}

#[derive(Debug)]
struct Person {
    id: String,
    password: SecretString,
}

impl Realm {
    /// A realm whose access tokens live so many seconds, with these people; the Vault is its client
    /// [`CLIENT_ID`] with this secret.
    #[must_use]
    pub fn new(access_token_life: u64, client_secret: SecretString, people: &[&str]) -> Self {
        let person = |name: &&str| {
            let person = Person {
                id: random::uuid(),
                password: random::letters(20).into(),
            };
            ((*name).to_owned(), person)
        };
        Self {
            access_token_life,
            client_secret,
            people: people.iter().map(person).collect(),
        }
    }

    /// The scopes that are asked for: all.
    #[must_use]
    pub fn scopes() -> Vec<String> {
        let asked = SCOPES
            .iter()
            .chain(&["openid", "profile", "offline_access"]);
        asked.map(|scope| (*scope).to_owned()).collect()
    }

    /// The subject of a person's tokens.
    pub fn subject(&self, person: &str) -> anyhow::Result<&str> {
        Ok(&self.person(person)?.id)
    }

    pub(super) fn password(&self, person: &str) -> anyhow::Result<&SecretString> {
        Ok(&self.person(person)?.password)
    }

    fn person(&self, name: &str) -> anyhow::Result<&Person> {
        (self.people.get(name)).with_context(|| format!("the realm knows no {name}"))
    }

    /// What is imported.
    pub(super) fn json(&self) -> Value {
        let mut scopes: Vec<Value> = SCOPES.iter().map(|name| scope(name, true, &[])).collect();
        let subject = mapper("sub", "oidc-sub-mapper", &[]);
        let roles = [
            list("realm_access.roles", "oidc-usermodel-realm-role-mapper"),
            list(
                "resource_access.${client_id}.roles",
                "oidc-usermodel-client-role-mapper",
            ),
        ];
        let profile = [
            ("preferred_username", "username"),
            ("given_name", "firstName"),
            ("family_name", "lastName"),
            ("email", "email"),
        ];
        let profile = profile.map(|(claim, of_user)| attribute(claim, of_user));
        // Without this HTCondor does not know the first audience.
        let profile_version = [
            // A dot makes an object.
            ("claim.name", "wlcg\\.ver"),
            ("claim.value", "1.0"),
            ("jsonType.label", "String"),
        ];
        let version = mapper("wlcg.ver", "oidc-hardcoded-claim-mapper", &profile_version);
        scopes.extend([
            scope("offline_access", true, &[]),
            scope("profile", true, &profile),
            scope("basic", false, &[subject]),
            scope("roles", false, &roles),
            scope("wlcg", false, &[version]),
        ]);
        let audiences = AUDIENCES.map(|audience| {
            let custom = [("included.custom.audience", audience)];
            mapper(audience, "oidc-audience-mapper", &custom)
        });
        let people: Vec<Value> = self.people.iter().map(user).collect();
        let optional = SCOPES.iter().chain(&["profile", "offline_access"]);
        json!({
            "realm": NAME,
            "enabled": true,
            "sslRequired": "all",
            "accessTokenLifespan": self.access_token_life,
            "revokeRefreshToken": true,
            "refreshTokenMaxReuse": 0,
            "oauth2DevicePollingInterval": 1,
            "clientScopes": scopes,
            "clients": [{
                "clientId": CLIENT_ID,
                "secret": self.client_secret.expose_secret(),
                "standardFlowEnabled": false,
                "attributes": {
                    "oauth2.device.authorization.grant.enabled": "true",
                    "standard.token.exchange.enabled": "true",
                },
                "defaultClientScopes": ["basic", "roles", "wlcg"],
                "optionalClientScopes": optional.collect::<Vec<_>>(),
                "protocolMappers": audiences,
            }],
            "users": people,
        })
    }
}

/// A scope, which tokens name or not.
fn scope(name: &str, is_named: bool, mappers: &[Value]) -> Value {
    json!({
        "name": name,
        "protocol": "openid-connect",
        "attributes": {"include.in.token.scope": is_named.to_string()},
        "protocolMappers": mappers,
    })
}

fn attribute(claim: &str, of_user: &str) -> Value {
    let settings = [
        ("claim.name", claim),
        ("user.attribute", of_user),
        ("jsonType.label", "String"),
        ("id.token.claim", "true"),
    ];
    mapper(claim, "oidc-usermodel-attribute-mapper", &settings)
}

fn list(claim: &str, kind: &str) -> Value {
    let settings = [
        ("claim.name", claim),
        ("jsonType.label", "String"),
        ("multivalued", "true"),
    ];
    mapper(claim, kind, &settings)
}

/// Something that puts a claim into access tokens.
fn mapper(name: &str, kind: &str, settings: &[(&str, &str)]) -> Value {
    let mut config: BTreeMap<&str, &str> = settings.iter().copied().collect();
    config.insert("access.token.claim", "true");
    config.insert("introspection.token.claim", "true");
    json!({
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": kind,
        "config": config,
    })
}

fn user((name, person): (&String, &Person)) -> Value {
    json!({
        "id": person.id,
        "username": name,
        "enabled": true,
        "email": format!("{name}@example.org"),
        "emailVerified": true,
        "firstName": name,
        "lastName": "of the tests",
        "realmRoles": [format!("default-roles-{NAME}")],
        "credentials": [{
            "type": "password",
            "value": person.password.expose_secret(),
            "temporary": false,
        }],
    })
}
