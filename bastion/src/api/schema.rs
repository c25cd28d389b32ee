//! `OpenAPI` document of the control socket, generated from the types of the bodies.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::bodies::{
    ErrorBody, ForgetOrder, OnboardedNotice, ReloadOrder, Reloaded, RevokeOrder, Version,
};
use crate::engine::OnboardedAnswer;
use crate::engine::report::Report;
use crate::engine::revoke::{RevocationReport, Step};
use crate::model::delivery::Selection;

/// Generates the document.
#[must_use]
pub(crate) fn schema() -> Value {
    let requests = &mut generator(Contract::Deserialize);
    let answers = &mut generator(Contract::Serialize);
    let error = json!({"description": "refused", "content": json_of::<ErrorBody>(answers)});
    let text = json!({"text/plain": {"schema": {"type": "string"}}});
    let responses = |content: Value| {
        let done = json!({"description": "done", "content": content});
        json!({"200": done, "default": error})
    };
    let get =
        |summary, content| json!({"get": {"summary": summary, "responses": responses(content)}});
    let post = |summary, body: Value, content| {
        let body = json!({"content": body});
        json!({"post": {"summary": summary, "requestBody": body, "responses": responses(content)}})
    };
    let selected = ["account", "service", "schedd"]
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}));
    let paths = json!({
        "/metrics": get("Metrics, for Prometheus", text.clone()),
        "/healthz": get("Health of the process", text.clone()),
        "/readyz": get("Health of all deliveries; 503 and the reasons where not all are good", text),
        "/status.json": {"get": {
            "summary": "State of deliveries",
            "parameters": selected,
            "responses": responses(json_of::<Report>(answers)),
        }},
        "/v1/version": get("Version of the program", json_of::<Version>(answers)),
        "/v1/push": post(
            "Pushes new vault tokens now; answered when each delivery is good or failed",
            json_of::<Selection>(requests),
            json_of::<Report>(answers),
        ),
        "/v1/retry": post(
            "Retries failed deliveries now; answered when each attempt has ended",
            json_of::<Selection>(requests),
            json_of::<Report>(answers),
        ),
        "/v1/reload": post(
            "Reads the configuration again; with faults the old one stays in force",
            json_of::<ReloadOrder>(requests),
            json_of::<Reloaded>(answers),
        ),
        "/v1/revoke": post(
            "Revokes deliveries; answered when every step was attempted",
            json_of::<RevokeOrder>(requests),
            json_of::<Vec<RevocationReport>>(answers),
        ),
        "/v1/forget": post(
            "Makes Vault forget the refresh tokens of an account",
            json_of::<ForgetOrder>(requests),
            json_of::<Vec<Step>>(answers),
        ),
        "/v1/onboarded": post(
            "Notice of a login for a credential, which is tried at once",
            json_of::<OnboardedNotice>(requests),
            json_of::<OnboardedAnswer>(answers),
        ),
    });
    let mut schemas = requests.take_definitions(true);
    schemas.append(&mut answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {"title": "token-bastion, control socket", "version": env!("CARGO_PKG_VERSION")},
        "servers": [{"url": "http://localhost", "description": "control.socket"}],
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn generator(contract: Contract) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.contract = contract;
    settings.into_generator()
}

/// Content of a body that is JSON.
fn json_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    json!({"application/json": {"schema": generator.subschema_for::<T>()}})
}
