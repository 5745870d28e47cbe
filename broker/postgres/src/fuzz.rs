//! The decoders of what clients send, for fuzzing: any bytes must be refused or understood.

use crate::login::initial_response;
use crate::wire::{length, take, take_first};
use bytes::{Bytes, BytesMut};

/// What a connection begins with.
pub fn first_messages(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(_)) = take_first(&mut input) {}
    assert!(input.len() <= bytes.len());
}

/// The body of SASLInitialResponse.
pub fn login_response(bytes: &[u8]) {
    let _refused_or_not = initial_response(Bytes::copy_from_slice(bytes)).is_ok();
}

/// Messages of a started connection.
pub fn messages(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(bytes)) = length(&input)
        && bytes <= input.len()
        && take(&mut input, bytes).is_ok()
    {}
}
