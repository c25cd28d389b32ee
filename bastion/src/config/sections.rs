//! Sections of the configuration: every key, its meaning, and the type of its value.
//!
//! Always true: this is the only list of keys. The reader refuses any other key, and the schema for
//! editors is derived from these types and comments.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Cron;
use super::given::{ByName, Given, Section, Several};
use super::schema;
use super::values::{AbsolutePath, Expression, Loopback, RequestCount, Server, TypedDuration};
use crate::model::delivery::Method;

/// Configuration of token-bastion, and files of config.d beside it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "token-bastion")]
pub(crate) struct FileSections {
    /// The Vault that everything is read from.
    pub(crate) vault: Section<VaultSection>,
    /// Lifetimes of vault tokens, for accounts and credentials that have no others.
    pub(crate) tokens: Section<TokensSection>,
    /// Lifetime of refresh tokens at Vault, for accounts and credentials that have no other.
    pub(crate) grant: Section<GrantSection>,
    /// Kerberos at the Vault.
    pub(crate) kerberos: Section<KerberosSection>,
    /// Times at which deliveries are checked, besides what is due.
    pub(crate) schedule: Section<ScheduleSection>,
    /// Default values of the keys of accounts.
    pub(crate) defaults: Section<AccountSection>,
    /// Groups of schedds by name. A group is a list of hosts (`credds`), a credential directory on
    /// this host (`directory`), or is found through a collector.
    #[schemars(extend("propertyNames" = schema::names(schema::GROUP)))]
    pub(crate) schedds: Given<ByName<GroupSection>>,
    /// Accounts at the schedds by name, and what each gets where.
    #[schemars(extend("propertyNames" = schema::names(schema::ACCOUNT)))]
    pub(crate) accounts: Given<ByName<AccountSection>>,
    /// Metrics, health and status by HTTP; not served without this.
    pub(crate) listen: Section<ListenSection>,
    /// Access of commands to the service.
    pub(crate) control: Section<ControlSection>,
    /// Directory of the state that survives a restart; it contains no secret.
    #[schemars(extend("default" = super::DEFAULT_STATE))]
    pub(crate) state: Given<AbsolutePath>,
}

/// The Vault.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VaultSection {
    /// Address of the Vault, all of whose network addresses are tried; or a list of nodes of one
    /// cluster, the preferred one first. The first one's name is in stored credentials and in the
    /// Kerberos service.
    #[schemars(
        example = "https://htvault.example.org:8200",
        example = ["https://htvault1.example.org:8200", "https://htvault2.example.org:8200"]
    )]
    pub(crate) address: Given<Several<Server>>,
    /// PEM file of certificate authorities to trust, instead of the system's.
    #[schemars(example = "/etc/pki/tls/certs/ca-bundle.crt")]
    pub(crate) ca_file: Given<AbsolutePath>,
    /// Hashed directory of certificate authorities that are also trusted.
    #[schemars(example = "/etc/grid-security/certificates")]
    pub(crate) ca_dir: Given<AbsolutePath>,
    /// At most this many requests are sent, to stay below the server's quota.
    pub(crate) requests: Section<RequestsSection>,
}

/// Limit of requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestsSection {
    /// Number of requests.
    #[schemars(example = 300)]
    pub(crate) limit: Given<RequestCount>,
    /// Time in which that number may be sent.
    #[schemars(example = "5m")]
    pub(crate) per: Given<TypedDuration>,
}

/// Lifetimes of vault tokens.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TokensSection {
    /// Lifetime of a vault token.
    #[schemars(example = "7d", example = "36h", extend("default" = "7d"))]
    pub(crate) lifetime: Given<TypedDuration>,
    /// A vault token is replaced when its remaining lifetime is shorter than this. Jobs survive an outage of this length.
    /// Shorter than lifetime.
    #[schemars(example = "3d", extend("default" = "3d"))]
    pub(crate) renew_below: Given<TypedDuration>,
}

/// Lifetime of refresh tokens at Vault.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GrantSection {
    /// Lifetime of the issuer's refresh token after somebody logged in, where that is known.
    #[schemars(example = "30d")]
    pub(crate) lifetime: Given<TypedDuration>,
    /// A warning is given when the remaining lifetime is shorter than this.
    #[schemars(example = "2 weeks", extend("default" = "14d"))]
    pub(crate) warn: Given<TypedDuration>,
}

/// Kerberos at the Vault.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KerberosSection {
    /// The Vault's service principal is SERVICE/VAULT-HOST.
    #[schemars(schema_with = "schema::word", extend("default" = "host"))]
    pub(crate) service: Given<String>,
}

/// Times of checks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScheduleSection {
    /// Times at which every delivery is checked: five fields as in crontab(5), in local time.
    #[schemars(example = "*/10 * * * *", extend("default" = "*/10 * * * *"))]
    pub(crate) check: Given<Cron>,
    /// Checks, and renewals after a start, are spread over this time; other renewals over an eighth of the time before
    /// `renew_below`.
    #[schemars(extend("default" = "5m"))]
    pub(crate) spread: Given<TypedDuration>,
}

/// Service by HTTP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenSection {
    /// Address of this host's loopback, and port.
    #[schemars(example = "127.0.0.1:9118")]
    pub(crate) address: Given<Loopback>,
}

/// Access of commands to the service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ControlSection {
    /// The Unix socket for commands.
    #[schemars(extend("default" = super::DEFAULT_CONTROL))]
    pub(crate) socket: Given<AbsolutePath>,
}

/// Name of a way to credds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WayName {
    /// HTCondor's protocol, which this program speaks itself.
    Cedar,
    /// HTCondor's own tools on this host.
    Condor,
}

/// A group of schedds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GroupSection {
    /// A credential directory on this host; needs no HTCondor tools.
    #[schemars(example = "/var/lib/condor/oauth_credentials")]
    pub(crate) directory: Given<AbsolutePath>,
    /// Hosts of the credds, by name or by address (`MyAddress` of the credd's ad).
    #[schemars(
        example = ["ap1.example.org", "ap2.example.org"],
        schema_with = "schema::words"
    )]
    pub(crate) credds: Given<Several<String>>,
    /// The collector that knows these schedds; without it the one of this host's HTCondor
    /// configuration, which `transport: condor` uses.
    #[schemars(example = "cm.example.org:9618", schema_with = "schema::word")]
    pub(crate) collector: Given<String>,
    /// Schedds whose ads satisfy this expression are found through the collector.
    #[schemars(example = r#"CMSGWMS_Type == "crabschedd""#)]
    pub(crate) constraint: Given<Expression>,
    /// Way to the credds and the collector: HTCondor's protocol, spoken by this program (`cedar`), or
    /// HTCondor's own tools on this host (`condor`). Without it `cedar`, and `condor` where there is no
    /// `collector` or another `authenticate` than `scitokens`.
    #[schemars(example = &"condor")]
    pub(crate) transport: Given<WayName>,
    /// PEM file of the authorities that the credds' certificates are from, for `transport: cedar`;
    /// without it and `ca_dir` those of `vault`.
    #[schemars(example = "/etc/pki/tls/certs/ca-bundle.crt")]
    pub(crate) ca_file: Given<AbsolutePath>,
    /// Hashed directory of such authorities.
    #[schemars(example = "/etc/grid-security/certificates")]
    pub(crate) ca_dir: Given<AbsolutePath>,
    /// Authentication of this host at the credds: an access token of the account, an IDTOKEN on this
    /// host, this host's certificate, a ticket of the account, or being on the same machine.
    #[schemars(extend("default" = Method::default()))]
    pub(crate) authenticate: Given<Method>,
    /// Store in the account's name as a super-user of the credd (`CRED_SUPER_USERS`): the domain of
    /// the accounts, as in ACCOUNT@DOMAIN.
    #[schemars(example = "example.org", schema_with = "schema::word")]
    pub(crate) superuser_for: Given<String>,
}

/// An account, or the defaults of all accounts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccountSection {
    /// Kerberos principal that logs in; {account} stands for the account's name.
    #[schemars(
        example = "{account}@EXAMPLE.ORG",
        example = "cmsprod/bastion/host.example.org@EXAMPLE.ORG",
        extend("pattern" = r"^\S+@\S+$")
    )]
    pub(crate) principal: Given<String>,
    /// File with its key; {account} stands for the account's name.
    #[schemars(
        example = "/etc/token-bastion/keytabs/{account}.keytab",
        extend("pattern" = r"^(/|\{account\})")
    )]
    pub(crate) keytab: Given<String>,
    /// Name of its credentials at Vault; without it the principal without its realm. {account} stands
    /// for the account's name.
    #[schemars(
        example = "cmsprod/bastion/host.example.org",
        schema_with = "schema::word"
    )]
    pub(crate) credkey: Given<String>,
    /// Lifetimes of its vault tokens.
    pub(crate) tokens: Section<TokensSection>,
    /// Lifetime of its refresh tokens.
    pub(crate) grant: Section<GrantSection>,
    /// Schedds that get its credentials: names of groups, names of schedds, and globs (`*`, `?`,
    /// `[a-c]`) over both; `!NAME` excludes.
    #[schemars(
        example = &"tier0",
        example = ["crab*", "ap?.example.org", "!ap3.example.org"],
        schema_with = "schema::choices"
    )]
    pub(crate) schedds: Given<Several<String>>,
    /// Its credentials by HTCondor's service name: ISSUER or `ISSUER_ROLE`, or any other one with
    /// `issuer` and `role`.
    #[schemars(
        example = json!({"cms": {}, "cms_production": {"authorize_with": "cms"}}),
        extend("propertyNames" = schema::names(schema::SERVICE))
    )]
    pub(crate) credentials: Given<ByName<CredentialSection>>,
}

/// A credential of an account.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CredentialSection {
    /// Issuer as Vault names it; without it the service name's first part.
    #[schemars(schema_with = "schema::word")]
    pub(crate) issuer: Given<String>,
    /// Role at that issuer; without it the service name's second part, or `default`.
    #[schemars(schema_with = "schema::word")]
    pub(crate) role: Given<String>,
    /// Scopes to reduce the jobs' access tokens to, which they must then have; without it the role's own scopes.
    #[schemars(
        example = ["storage.read:/", "storage.create:/store/temp/user"]
    )]
    pub(crate) scopes: Given<Several<String>>,
    /// Audience of the jobs' access tokens, which they must then have.
    #[schemars(example = "https://wlcg.cern.ch/jwt/v1/any")]
    pub(crate) audience: Given<Several<String>>,
    /// The credential of the same account whose access token opens the credd; without it this one.
    #[schemars(schema_with = "schema::service")]
    pub(crate) authorize_with: Given<String>,
    /// Lifetimes of its vault tokens.
    pub(crate) tokens: Section<TokensSection>,
    /// Lifetime of its refresh token.
    pub(crate) grant: Section<GrantSection>,
    /// Schedds that get it, instead of the account's.
    #[schemars(example = &"tier0", schema_with = "schema::choices")]
    pub(crate) schedds: Given<Several<String>>,
    /// Other values at some schedds, by a glob over their names or the name of a group; only the first one that matches
    /// is used.
    #[schemars(
        example = json!({"ap?.example.org": {"tokens": {"lifetime": "2d", "renew_below": "1d"}}}),
        extend("propertyNames" = schema::names(schema::GLOB))
    )]
    pub(crate) at: Given<ByName<OverrideSection>>,
}

/// Other values of a credential at some schedds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OverrideSection {
    /// Scopes to reduce the jobs' access tokens to there.
    #[schemars(example = ["storage.read:/"])]
    pub(crate) scopes: Given<Several<String>>,
    /// Audience of the jobs' access tokens there.
    #[schemars(example = "https://wlcg.cern.ch/jwt/v1/any")]
    pub(crate) audience: Given<Several<String>>,
    /// Lifetimes of vault tokens there.
    pub(crate) tokens: Section<TokensSection>,
}
