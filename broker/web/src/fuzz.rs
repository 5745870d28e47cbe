//! The decoders of what clients send, for fuzzing: any text must be refused or understood.

use crate::json::from_base64;
use crate::position::Begin;
use crate::socket::request::parse;

/// A message over WebSocket.
pub fn request(text: &str) {
    if let Ok(request) = parse(text) {
        drop(request);
    }
}

/// Where a subscription is to begin, and bytes as JSON has them.
pub fn position(text: &str) {
    drop(Begin::parse(text));
    drop(from_base64(text));
}
