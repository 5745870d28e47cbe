//! Bodies of requests: bounded one by one and all together, in bytes and in time.

use crate::door::Door;
use crate::error::{Code, Failure};
use crate::limits::BODY_TIMEOUT;
use anabranch_engine::ErrorKind;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use tokio::sync::OwnedSemaphorePermit;

/// A body, and its share of what all bodies may take.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Reads the body of `request`, of at most `bytes_max` bytes.
///
/// # Errors
/// It is larger, slower than [`BODY_TIMEOUT`], or ends early.
pub(super) async fn read(
    door: &Door,
    request: Request,
    bytes_max: usize,
) -> Result<Whole, Failure> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|announced| announced > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let kib = announced.unwrap_or(bytes_max).div_ceil(1024) as u32;
    let bodies = door.bodies.clone();
    let reading = async {
        let share = bodies.acquire_many_owned(kib).await;
        let share = share.expect("this semaphore is never closed");
        let bytes = whole(request.into_body(), bytes_max).await?;
        Ok(Whole { bytes, _share: share })
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(read) => read,
        Err(_) => Err(Failure::new(
            Code::Engine(ErrorKind::TimedOut),
            format!("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs()),
        )
        .hint("send less at a time")),
    }
}

async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    to_bytes(body, bytes_max).await.map_err(|error| {
        // The only error of ours is the bound's; others come from the connection.
        let text = error.to_string();
        if text.contains("length limit") {
            too_large(bytes_max)
        } else {
            Failure::invalid(format!("the body cannot be read: {text}"))
        }
    })
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::new(
        Code::Engine(ErrorKind::TooLarge),
        format!("the body has at most {bytes_max} bytes here"),
    )
}
