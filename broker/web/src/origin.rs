//! Which pages may use the door through their readers' browsers (`PROTOCOL.md`, section 6).

use crate::error::{Code, Failure};
use std::net::IpAddr;

/// What a request says about where it comes from and where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims<'a> {
    /// The header `Host`.
    pub(crate) host: Option<&'a str>,
    /// The header `Origin`, which browsers send.
    pub(crate) origin: Option<&'a str>,
    /// Whether the connection came in on a loopback address.
    pub(crate) is_loopback: bool,
}

/// Checks a request; the origin is given back where its page needs CORS headers.
///
/// # Errors
/// `forbidden_host`, `forbidden_origin`.
pub(crate) fn check<'a>(
    claims: Claims<'a>,
    allowed: &[String],
) -> Result<Option<&'a str>, Failure> {
    let all = allowed.iter().any(|origin| origin == "*");
    if let Some(host) = claims.host
        && claims.is_loopback
        && !all
        && !is_local(host)
        && !allowed.iter().any(|origin| authority(origin).is_some_and(|own| same(own, host)))
    {
        return Err(Failure::new(
            Code::ForbiddenHost,
            format!("{:?} is not a name of this broker", shown(host)),
        )
        .hint("connect to localhost or an address, or add the origin to web.allowed_origins"));
    }
    let Some(origin) = claims.origin else {
        return Ok(None);
    };
    let own = authority(origin).zip(claims.host).is_some_and(|(own, host)| same(own, host));
    if own {
        return Ok(None);
    }
    if all || allowed.iter().any(|allowed| same(allowed.trim_end_matches('/'), origin)) {
        return Ok(Some(origin));
    }
    Err(Failure::new(
        Code::ForbiddenOrigin,
        format!("pages of {:?} may not use this broker", shown(origin)),
    )
    .hint("add the origin to web.allowed_origins"))
}

/// `host:port` of an origin; none of the opaque origin `null`.
fn authority(origin: &str) -> Option<&str> {
    let (_scheme, authority) = origin.split_once("://")?;
    Some(authority.trim_end_matches('/'))
}

/// Host names and schemes do not know case (RFC 3986, section 6.2.2.1).
fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether a `Host` cannot be another's name for our address.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let check = |host, origin, is_loopback, allowed: &[&str], expected: Result<_, &str>| {
            let allowed: Vec<_> = allowed.iter().map(|&origin| origin.to_owned()).collect();
            let found = check(Claims { host, origin, is_loopback }, &allowed);
            let found = found.map_err(|failure| failure.code.name());
            assert_eq!(found, expected, "{host:?} {origin:?} {allowed:?}");
        };
        let (host, origin) = (Some("forbidden_host"), Some("forbidden_origin"));
        let forbidden = |code: Option<&'static str>| Err(code.unwrap_or_default());
        // No browser.
        check(Some("127.0.0.1:8080"), None, true, &[], Ok(None));
        check(None, None, true, &[], Ok(None));
        // Our own page.
        check(Some("localhost:8080"), Some("http://localhost:8080"), true, &[], Ok(None));
        check(Some("[::1]:8080"), Some("http://[::1]:8080"), true, &[], Ok(None));
        check(Some("broker.lan"), Some("https://BROKER.lan"), false, &[], Ok(None));
        // Somebody else's.
        let evil = Some("https://evil.example");
        check(Some("localhost:8080"), evil, true, &[], forbidden(origin));
        check(Some("localhost:8080"), Some("http://localhost:3000"), true, &[], forbidden(origin));
        check(Some("localhost:8080"), Some("null"), true, &[], forbidden(origin));
        check(Some("localhost:8080"), evil, true, &["https://evil.example/"], Ok(evil));
        check(Some("localhost:8080"), evil, true, &["*"], Ok(evil));
        // DNS rebinding: their name, our address.
        check(
            Some("evil.example:8080"),
            Some("http://evil.example:8080"),
            true,
            &[],
            forbidden(host),
        );
        check(Some("evil.example:8080"), None, true, &[], forbidden(host));
        check(Some("localhost.evil.example"), None, true, &[], forbidden(host));
        check(Some("broker.lan"), None, true, &["https://broker.lan"], Ok(None));
        check(Some("broker.lan"), None, false, &[], Ok(None));
    }
}
