//! Responses, and what requests share.

use crate::error::{Acknowledged, Failure};
use axum::extract::Query;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// A response of JSON.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// The acknowledgement of a publish.
pub(super) fn acknowledged(acknowledged: &Acknowledged) -> Response {
    let mut body = vec![b'{'];
    acknowledged.push_fields(&mut body);
    body.extend_from_slice(b"}\n");
    json(StatusCode::OK, body)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = b"{\"error\":".to_vec();
        self.push_object(&mut body);
        body.extend_from_slice(b"}\n");
        json(self.code.status(), body)
    }
}

/// The parameters of a query, or what is wrong with them.
pub(super) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    match query {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => Err(Failure::invalid(rejection.body_text())),
    }
}

/// The parts of a path, or what is wrong with them.
pub(super) fn path<T>(path: Result<axum::extract::Path<T>, PathRejection>) -> Result<T, Failure> {
    match path {
        Ok(axum::extract::Path(parts)) => Ok(parts),
        Err(rejection) => Err(Failure::invalid(rejection.body_text())),
    }
}
