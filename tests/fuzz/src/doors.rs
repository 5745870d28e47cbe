//! What is fuzzed of the doors of PostgreSQL and of the web: what clients send before and after
//! they have logged in.

use crate::targets::Target;

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "postgres", run: postgres, seeds: postgres_seeds },
    Target { name: "copy", run: copy, seeds: copy_seeds },
    Target { name: "websocket", run: websocket, seeds: websocket_seeds },
];

/// A connection's first message, the response of its login, or the messages behind.
fn postgres(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 3 {
        0 => anabranch_postgres::fuzz::first_messages(bytes),
        1 => anabranch_postgres::fuzz::login_response(bytes),
        _ => anabranch_postgres::fuzz::messages(bytes),
    }
}

/// What a COPY brings, as text, CSV or in binary.
fn copy(data: &[u8]) {
    anabranch_postgres::fuzz::copied(data);
}

/// The text of a message over WebSocket, which is also what bodies over HTTP are made of.
fn websocket(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        anabranch_web::fuzz::request(text);
        anabranch_web::fuzz::position(text);
    }
}

fn postgres_seeds() -> Vec<Vec<u8>> {
    let first = |body: &[u8]| [&[0], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat();
    let message = |kind: u8, body: &[u8]| {
        [&[2, kind], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
    };
    let three: &[u8] = b"\0\x03\0\0user\0ann\0database\0db\0options\0-c TimeZone=UTC\0\0";
    vec![
        first(three),
        first(b"\0\x03\0\x02_pq_.x\0\x31\0\0"),
        first(&80_877_103_u32.to_be_bytes()),
        first(&80_877_104_u32.to_be_bytes()),
        first(&[&80_877_102_u32.to_be_bytes()[..], &[0; 8]].concat()),
        b"\x01SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc".to_vec(),
        b"\x01PLAIN\0\xff\xff\xff\xff".to_vec(),
        message(b'Q', b"SELECT 1\0"),
        message(b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17"),
        message(b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01"),
        message(b'D', b"Sname\0"),
        message(b'E', b"p\0\0\0\0\x05"),
        message(b'C', b"Pname\0"),
        message(b'S', b""),
        message(b'd', b"copied"),
    ]
}

fn copy_seeds() -> Vec<Vec<u8>> {
    let with = |how: u8, rest: &[u8]| [&[how, 7], rest].concat();
    let head: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let row: &[u8] = b"\0\x05\0\0\0\x04\0\0\0\x07\0\0\0\x01x\
        \0\0\0\x0a\0\x01\0\0\0\0\0\x02\0\x0c\0\0\0\x08\0\0\0\0\0\0\0\x01\
        \0\0\0\x1d\0\0\0\x01\0\0\0\x01\0\0\0\x19\0\0\0\x02\0\0\0\x01\0\0\0\x01y\xff\xff\xff\xff";
    let nulls: &[u8] =
        b"\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    vec![
        with(0, b"1\tx\\ty\t1.50\t2024-02-29 12:00:00\t{a,NULL}\n2\t\\N\t\\101\\x41\t\\b\\\\\t\\\n\n\\.\nmore"),
        with(0, b"1\t2\t3\t4\t5\r\n\r\n"),
        with(64, b"a\tb\tc\td\te\n1\t2\t3\t4\t5\n"),
        with(1, b"1,\"two\nlines, \"\"quoted\"\"\",,\"\",x\r\n\\.\r\n"),
        with(1 | 128, b"1,\"a\\\"b\\\\\",2,3,4\r1,2,3,4,5\r"),
        with(2, &[head, row, nulls, b"\xff\xff"].concat()),
        with(2, &[&head[..15], b"\0\0\0\x02ab", nulls].concat()),
    ]
}

fn websocket_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"id":1,"op":"subscribe","stream":"s","from":"beginning"}"#,
        r#"{"id":2,"op":"subscribe","stream":"s","from":"0:17,1:5"}"#,
        r#"{"id":3,"op":"subscribe","table":"t","filter":"a > 1 AND b = 'x'"}"#,
        r#"{"id":4,"op":"unsubscribe","sub":1}"#,
        r#"{"id":5,"op":"publish","stream":"s","events":[{"key":"k","value":{"a":[1,null]}},{"value":"x","headers":{"h":"v"},"partition":1,"time":"2024-01-01T00:00:00Z"}]}"#,
        r#"{"id":6,"op":"ping"}"#,
        "2024-01-01T00:00:00Z",
        "beginning",
        "0:17,1:5",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
