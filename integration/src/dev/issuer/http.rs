//! The issuer's web side: discovery, keys, the token endpoint, revocation.
//!
//! What always holds: the token endpoint answers only a client that proves its secret, in a time
//! that does not tell how much of it was right.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;

use super::{CLIENT_ID, Issuer, Refusal, TokenRequest};
use crate::dev::tokens::TokenKey;

/// The routes of every issuer.
pub fn routes(issuer: Arc<Issuer>) -> Router {
    Router::new()
        .route("/{issuer}/.well-known/openid-configuration", get(discovery))
        .route(
            "/{issuer}/.well-known/oauth-authorization-server",
            get(discovery),
        )
        .route("/{issuer}/jwk", get(keys))
        .route("/{issuer}/token", post(token))
        .route("/{issuer}/revoke", post(revoke))
        .with_state(issuer)
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body).into_response()
}

fn refuse(refusal: &Refusal) -> Response {
    let status = match refusal.error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    answer(status, refusal)
}

async fn discovery(State(issuer): State<Arc<Issuer>>, Path(name): Path<String>) -> Response {
    if !issuer.knows(&name) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let url = issuer.url(&name);
    let document = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwk"),
        "token_endpoint": format!("{url}/token"),
        "revocation_endpoint": format!("{url}/revoke"),
        "grant_types_supported": [
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "subject_types_supported": ["public"],
        "response_types_supported": ["code"],
    });
    answer(StatusCode::OK, &document)
}

async fn keys(State(issuer): State<Arc<Issuer>>, Path(name): Path<String>) -> Response {
    if !issuer.knows(&name) {
        return StatusCode::NOT_FOUND.into_response();
    }
    answer(StatusCode::OK, &issuer.key.jwks())
}

async fn token(
    State(issuer): State<Arc<Issuer>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !issuer.knows(&name) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let form = Form::read(&headers, &body);
    if !form.is_our_client(&issuer) {
        return refuse(&Refusal::new("invalid_client", "Bad client credentials"));
    }
    match issuer.token(&name, &form.request) {
        Ok(token) => answer(StatusCode::OK, &token),
        Err(refusal) => refuse(&refusal),
    }
}

async fn revoke(
    State(issuer): State<Arc<Issuer>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !issuer.knows(&name) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let form = Form::read(&headers, &body);
    if !form.is_our_client(&issuer) {
        return refuse(&Refusal::new("invalid_client", "Bad client credentials"));
    }
    issuer.revoke(&form.token);
    StatusCode::OK.into_response()
}

/// A form and who sent it.
#[derive(Default)]
struct Form {
    client_id: String,
    client_secret: SecretString,
    token: SecretString,
    request: TokenRequest,
}

impl Form {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let value = value.into_owned();
            match name.as_ref() {
                "client_id" => form.client_id = value,
                "client_secret" => form.client_secret = value.into(),
                "token" => form.token = value.into(),
                "grant_type" => form.request.grant_type = value,
                "refresh_token" => form.request.refresh_token = value.into(),
                "subject_token" => form.request.subject_token = value.into(),
                "scope" => form.request.scope = value,
                "audience" => form.request.audiences.push(value),
                _ => {}
            }
        }
        if let Some((id, secret)) = basic_credentials(headers) {
            form.client_id = id;
            form.client_secret = secret;
        }
        form
    }

    fn is_our_client(&self, issuer: &Issuer) -> bool {
        // Hashes are compared, so that the time tells nothing of the secret.
        let hash = |secret: &SecretString| TokenKey::of(secret.expose_secret().as_bytes());
        self.client_id == CLIENT_ID && hash(&self.client_secret) == hash(&issuer.client_secret)
    }
}

fn basic_credentials(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let decoded = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.into()))
}
