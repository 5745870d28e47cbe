//! HTTP: what is answered with one response (`PROTOCOL.md`, sections 4 and 5).

mod answer;
mod body;
mod events;
mod rows;
mod sql;
mod streams;

use crate::door::{Connection, Door};
use crate::error::{Code, Failure};
use crate::origin::{self, Claims};
use crate::{login, metrics, socket};
use anabranch_engine::ErrorKind;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN,
    VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;

/// The console: one page, and nothing that it would have to fetch.
const CONSOLE: &str = include_str!("console.html");

/// All paths.
pub(crate) fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/", get(console))
        .route("/healthz", get(health))
        .route("/metrics", get(scrape))
        .route("/v1/ws", get(socket::upgrade))
        .route("/v1/sql", post(sql::run))
        .route("/v1/streams", get(streams::all))
        .route("/v1/streams/{name}", get(streams::one))
        .route("/v1/streams/{name}/events", get(events::read).post(events::publish))
        .route("/v1/tables/{name}/rows", get(rows::list))
        .route("/v1/tables/{name}/rows/{key}", get(rows::one).put(rows::put).delete(rows::delete))
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(door.clone(), guard))
        .with_state(door)
}

/// Stands before every request: who may ask, and counts.
async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    door.counts.requests.add(1);
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).map(HeaderValue::to_str);
    let claims = (text(HOST).transpose(), text(ORIGIN).transpose());
    let (Ok(host), Ok(origin)) = claims else {
        return Failure::invalid("Host and Origin are ASCII").into_response();
    };
    let is_loopback = request
        .extensions()
        .get::<Connection>()
        .is_some_and(|connection| connection.local.ip().to_canonical().is_loopback());
    let allowed = &door.settings.allowed_origins;
    let cross = match origin::check(Claims { host, origin, is_loopback }, allowed) {
        Ok(cross) => cross.and_then(|origin| HeaderValue::from_str(origin).ok()),
        Err(failure) => {
            door.counts.refused.add(1);
            return failure.into_response();
        }
    };
    let mut response = if cross.is_some() && request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        answer_caller(&door, request, next).await
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        door.counts.refused.add(1);
    }
    if let Some(origin) = cross {
        allow(response.headers_mut(), origin);
    }
    response
}

/// Answers a request as its sender may have it. Whether the broker is well, and how much it does,
/// anybody may know.
async fn answer_caller(door: &Door, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/metrics") {
        return next.run(request).await;
    }
    let Some(connection) = request.extensions().get::<Connection>() else {
        let kind = Code::Engine(ErrorKind::Internal);
        return Failure::new(kind, "a request without a connection").into_response();
    };
    let caller = match login::caller(door, connection, request.headers(), path).await {
        Ok(caller) => caller,
        Err(failure) => return challenged(failure.into_response()),
    };
    let is_nobody = caller.is_nobody();
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    // RFC 9110, section 15.5.2: what is denied to nobody in particular.
    if is_nobody && response.status() == StatusCode::FORBIDDEN {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return challenged(response);
    }
    response
}

/// RFC 9110, section 11.6.1: with 401 comes how to log in.
fn challenged(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(login::CHALLENGE));
    }
    response
}

/// CORS (Fetch standard, "HTTP responses") for a page of an origin that is allowed.
fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    let fixed = HeaderValue::from_static;
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST, PUT, DELETE"));
    headers
        .insert(ACCESS_CONTROL_ALLOW_HEADERS, fixed("authorization, content-type, anabranch-key"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, fixed("600"));
    headers.append(VARY, fixed("origin"));
}

async fn console() -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    ([(CONTENT_SECURITY_POLICY, policy), (CACHE_CONTROL, "no-cache")], Html(CONSOLE))
        .into_response()
}

async fn scrape(State(door): State<Arc<Door>>) -> Response {
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, format)], metrics::scrape(&door)).into_response()
}

async fn health(State(door): State<Arc<Door>>) -> Response {
    match door.own.stats().storage_error {
        None => answer::json(StatusCode::OK, b"{\"status\":\"ok\"}\n".to_vec()),
        Some(reason) => {
            let mut body = b"{\"status\":\"failing\",\"reason\":".to_vec();
            crate::json::push_string(&mut body, &reason);
            body.extend_from_slice(b"}\n");
            answer::json(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

async fn no_path(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(100).collect();
    Failure::not_found(format!("there is nothing at {path}"))
        .hint("see PROTOCOL.md: /v1/streams, /v1/tables/{name}/rows, /v1/sql, /v1/ws")
}

async fn no_method(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    let failure = Failure::new(
        Code::Engine(ErrorKind::Unsupported),
        format!("{method} is not a method of {path}"),
    );
    // RFC 9110, section 15.5.6; the router adds the header Allow.
    let mut response = failure.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
