//! The issuer's web side: discovery, keys, the token endpoint, revocation, the device flow and its
//! approval page.
//!
//! What always holds: the token endpoint answers only a client that proves its secret, in a time
//! that does not tell how much of it was right.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, RawQuery, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{RequestExt as _, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;

use super::device::{self, Decision, NotOpen};
use super::{CLIENT_ID, Issuer, Refusal, TokenRequest, page};
use crate::dev::settings::RoleName;
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
        .route("/{issuer}/devicecode", post(device_code))
        .route("/device", get(show_form).post(decide))
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
        "device_authorization_endpoint": format!("{url}/devicecode"),
        "grant_types_supported": [
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange",
            device::GRANT_TYPE,
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

/// A request that only the Vault half may send: to an issuer that is known, by a client that is ours.
struct ClientRequest {
    /// The issuer's name.
    name: String,
    form: Form,
}

impl FromRequest<Arc<Issuer>> for ClientRequest {
    type Rejection = Response;

    async fn from_request(mut request: Request, issuer: &Arc<Issuer>) -> Result<Self, Response> {
        let path = request.extract_parts::<Path<String>>().await;
        let Path(name) = path.map_err(IntoResponse::into_response)?;
        if !issuer.knows(&name) {
            return Err(StatusCode::NOT_FOUND.into_response());
        }
        let headers = request.headers().clone();
        let body = request.extract::<Bytes, _>().await;
        let form = Form::read(&headers, &body.map_err(IntoResponse::into_response)?);
        if !form.is_our_client(issuer) {
            let refusal = Refusal::new("invalid_client", "Bad client credentials");
            return Err(refuse(&refusal));
        }
        Ok(Self { name, form })
    }
}

async fn token(State(issuer): State<Arc<Issuer>>, request: ClientRequest) -> Response {
    let ClientRequest { name, form } = request;
    match issuer.token(&name, &form.request) {
        Ok(token) => answer(StatusCode::OK, &token),
        Err(refusal) => refuse(&refusal),
    }
}

async fn revoke(State(issuer): State<Arc<Issuer>>, request: ClientRequest) -> Response {
    issuer.revoke(&request.form.token);
    StatusCode::OK.into_response()
}

/// Opens a device flow. Grants of this issuer are of roles: the one that is named, or else the one
/// that has the scopes.
async fn device_code(State(issuer): State<Arc<Issuer>>, request: ClientRequest) -> Response {
    let ClientRequest { name, form } = request;
    let by_scopes = (issuer.settings).role_with_scopes(&name, &form.request.scope);
    let role = match by_scopes {
        Some(role) if form.role.is_empty() => role.clone(),
        _ => RoleName {
            issuer: name,
            role: form.role,
        },
    };
    match issuer.authorize_device(&role) {
        Ok(opened) => answer(StatusCode::OK, &opened),
        Err(refusal) => refuse(&refusal),
    }
}

/// A page of HTML, which loads nothing and is shown in no frame.
fn html(status: StatusCode, page: String) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, page).into_response()
}

fn form_page(issuer: &Issuer, status: StatusCode, code: &str, problem: Option<&str>) -> Response {
    let asked = issuer.asked_for(code);
    let problem = match (problem, &asked) {
        (None, Err(reason)) if !code.is_empty() => Some(in_words(*reason)),
        (problem, _) => problem,
    };
    let role = asked.as_ref().ok();
    let scopes = role.and_then(|role| issuer.settings.roles.get(role));
    let form = page::Form {
        user_code: code,
        asked: role.zip(scopes.map(Vec::as_slice)),
        problem,
    };
    html(status, page::form(&form))
}

fn in_words(reason: NotOpen) -> &'static str {
    match reason {
        NotOpen::Unknown => "There is no such code, or it has expired. Start again in the program.",
        NotOpen::Decided => "This code was answered already.",
        NotOpen::BadCredkey => {
            "Say who you are: an account, as cmsprod, or a robot, as cmsprod/bastion/host."
        }
    }
}

async fn show_form(State(issuer): State<Arc<Issuer>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "user_code");
    let code = code.map(|(_, code)| code.into_owned()).unwrap_or_default();
    form_page(&issuer, StatusCode::OK, &code, None)
}

async fn decide(State(issuer): State<Arc<Issuer>>, body: Bytes) -> Response {
    let (mut code, mut credkey, mut action) = (String::new(), String::new(), String::new());
    for (name, value) in form_urlencoded::parse(&body) {
        match name.as_ref() {
            "user_code" => code = value.into_owned(),
            "credkey" => value.trim().clone_into(&mut credkey),
            "action" => action = value.into_owned(),
            _ => {}
        }
    }
    let decision = match action.as_str() {
        "approve" => Decision::Approved(credkey.clone()),
        "deny" => Decision::Denied,
        _ => {
            let words = "Say whether you approve or deny.";
            return form_page(&issuer, StatusCode::BAD_REQUEST, &code, Some(words));
        }
    };
    let approved = decision != Decision::Denied;
    match issuer.decide(&code, decision) {
        Ok(role) if approved => {
            tracing::info!(%role, credkey, "a device flow was approved");
            let words = format!(
                "{credkey} is logged in for issuer {}, role {}. You can close this page and go \
                 back to the program.",
                role.issuer, role.role
            );
            html(StatusCode::OK, page::done("Approved", &words))
        }
        Ok(_) => {
            let words = "The program gets no tokens. You can close this page.";
            html(StatusCode::OK, page::done("Denied", words))
        }
        Err(reason) => {
            let status = match reason {
                NotOpen::Unknown => StatusCode::NOT_FOUND,
                NotOpen::Decided => StatusCode::CONFLICT,
                NotOpen::BadCredkey => StatusCode::BAD_REQUEST,
            };
            form_page(&issuer, status, &code, Some(in_words(reason)))
        }
    }
}

/// A form and who sent it.
#[derive(Default)]
struct Form {
    client_id: String,
    client_secret: SecretString,
    token: SecretString,
    role: String,
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
                "role" => form.role = value,
                "device_code" => form.request.device_code = value.into(),
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
