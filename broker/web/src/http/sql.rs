//! `/v1/sql`: a query for those who do not speak PostgreSQL's protocol.

use super::body;
use crate::door::Door;
use crate::error::Failure;
use crate::limits::STATEMENT_BYTES_MAX;
use crate::login::Caller;
use anabranch_query::JsonRows;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::stream;
use std::convert::Infallible;
use std::sync::Arc;

/// `POST`: runs a query; its rows are one JSON object a line.
pub(super) async fn run(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let body = body::read(&door, request, STATEMENT_BYTES_MAX).await?;
    let statement = std::str::from_utf8(&body.bytes)
        .map_err(|_| Failure::invalid("the statement is not UTF-8"))?;
    let mut rows = caller.sql()?.json_rows(statement).await?;
    // The first rows are waited for: most of what can fail has failed by then, with a status.
    let first = rows.next_lines().await?;
    let state = first.map(|first| (first, Some(rows)));
    let lines = stream::unfold(state, |state| async move {
        let (lines, rows) = state?;
        let after = match rows {
            Some(rows) => next(rows).await,
            None => None,
        };
        Some((Ok::<Bytes, Infallible>(lines), after))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// The next rows; after an error, which is a line too, nothing.
async fn next(mut rows: JsonRows) -> Option<(Bytes, Option<JsonRows>)> {
    match rows.next_lines().await {
        Ok(lines) => lines.map(|lines| (lines, Some(rows))),
        Err(error) => {
            let mut line = b"{\"error\":".to_vec();
            Failure::from(error).push_object(&mut line);
            line.extend_from_slice(b"}\n");
            Some((line.into(), None))
        }
    }
}
