//! RFC 6455, section 4.2: what a client must send to be given a WebSocket. Pure.

use axum::http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The subprotocol that is confirmed if it is offered.
const SUBPROTOCOL: &str = "anabranch.v1";

/// What the answer carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// `Sec-WebSocket-Accept`.
    pub(super) accept: HeaderValue,
    /// `Sec-WebSocket-Protocol`.
    pub(super) subprotocol: Option<&'static str>,
}

/// Why there is no WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A plain request.
    NoUpgrade,
    /// Of another version.
    Version,
    /// Without a proper key.
    Key,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            // Section 4.4: the versions that are supported go with the refusal.
            Self::NoUpgrade | Self::Version => (
                StatusCode::UPGRADE_REQUIRED,
                [(UPGRADE, "websocket"), (CONNECTION, "upgrade"), (SEC_WEBSOCKET_VERSION, "13")],
                "This is a WebSocket (RFC 6455, version 13): connect with a WebSocket client.\n",
            )
                .into_response(),
            Self::Key => (
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455, section 4.1).\n",
            )
                .into_response(),
        }
    }
}

/// Checks a request's headers.
pub(super) fn accept(headers: &HeaderMap) -> Result<Accepted, Refused> {
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err(Refused::NoUpgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refused::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Refused::Key)?;
    let bytes = key.to_str().ok().and_then(crate::json::from_base64);
    if bytes.is_none_or(|bytes| bytes.len() != 16) {
        return Err(Refused::Key);
    }
    let accept = derive_accept_key(key.as_bytes());
    Ok(Accepted {
        accept: HeaderValue::from_str(&accept).map_err(|_| Refused::Key)?,
        subprotocol: has_token(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
            .then_some(SUBPROTOCOL),
    })
}

/// Whether a list (RFC 9110, section 5.6.1) in some headers contains `token`.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes() {
        let check = |change: &dyn Fn(&mut HeaderMap), expected: Result<Option<&str>, Refused>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            // The example of RFC 6455, section 1.3.
            let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
            headers.insert(SEC_WEBSOCKET_KEY, key);
            change(&mut headers);
            let accepted = accept(&headers);
            if let Ok(accepted) = &accepted {
                assert_eq!(accepted.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            }
            assert_eq!(accepted.map(|accepted| accepted.subprotocol), expected);
        };
        check(&|_| {}, Ok(None));
        let offer = |offer: &'static str| {
            move |headers: &mut HeaderMap| {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offer));
            }
        };
        check(&offer("mqtt, anabranch.v1"), Ok(Some(SUBPROTOCOL)));
        check(&offer("mqtt"), Ok(None));
        check(&|headers| _ = headers.remove(UPGRADE), Err(Refused::NoUpgrade));
        check(&|headers| _ = headers.remove(CONNECTION), Err(Refused::NoUpgrade));
        check(&|headers| _ = headers.remove(SEC_WEBSOCKET_VERSION), Err(Refused::Version));
        check(&|headers| _ = headers.remove(SEC_WEBSOCKET_KEY), Err(Refused::Key));
        let short = |headers: &mut HeaderMap| {
            headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("c2hvcnQ="));
        };
        check(&short, Err(Refused::Key));
    }
}
