//! Messages of every sort, whole ones and ones with small faults.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serin::h1::Asked;
use serin::path::PathPolicy;

use crate::reader::Side;

pub(crate) fn side() -> impl Strategy<Value = Side> {
    prop_oneof![
        select(vec![PathPolicy::Strict, PathPolicy::Normalize]).prop_map(Side::Client),
        (any::<bool>(), any::<bool>()).prop_map(|(head, upgrade)| Side::Backend(Asked { head, upgrade })),
    ]
}

/// Who sends, and what: whole messages with small faults.
pub(crate) fn case() -> impl Strategy<Value = (Side, Vec<u8>)> {
    let faults = vec((any::<Index>(), fault(), any::<bool>()), 0..3);
    (side(), vec(message(), 1..4), faults).prop_map(|(side, messages, faults)| {
        let parts = messages.iter().flat_map(|(client, backend, rest)| match side {
            Side::Client(_) => [client.as_bytes(), rest],
            Side::Backend(_) => [backend.as_bytes(), rest],
        });
        let mut bytes = parts.collect::<Vec<_>>().concat();
        for (at, fault, replaces) in faults {
            let at = at.index(bytes.len() + 1);
            let end = (at + if replaces { fault.len() } else { 0 }).min(bytes.len());
            bytes.splice(at..end, fault);
        }
        (side, bytes)
    })
}

/// The start line of a request and that of a response, and what follows either.
fn message() -> impl Strategy<Value = (&'static str, &'static str, Vec<u8>)> {
    let request = select(vec![
        "POST /a?b=c HTTP/1.1\r\nhost: a\r\n",
        "\r\nGET /%41 HTTP/1.1\r\nHost:[::1]:80\t\r\n",
        "OPTIONS * HTTP/1.0\r\n",
    ]);
    let response = select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\n",
        "HTTP/1.1 101 x\r\n",
    ]);
    let field = select(vec![
        "Connection: close, x\r\n",
        "Expect: 100-continue\r\n",
        "X-A: \t b \r\n",
        "x:\r\n",
        "x: \u{e9}\r\n",
    ]);
    let body = select(vec![
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n00A;a;b=\"\\\"\"\r\n0123456789\r\n0\r\n\r\n",
        "Transfer-Encoding: Chunked\r\n\r\n0\r\nx: y\r\n\r\n",
        "\r\n",
    ]);
    let rest = (vec(field, 0..4), body).prop_map(|(fields, body)| [fields.concat(), body.to_owned()].concat().into());
    (request, response, rest)
}

/// Bytes that may break a message, wherever they stand.
fn fault() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "\r\n",
        "\r",
        "\n",
        "\0",
        " ",
        ":",
        ",",
        ";",
        "\t",
        "\"",
        "0",
        "/",
        "%",
        "#",
        "\u{e9}",
        "content-length: 5\r\n",
        "host: a\r\n",
    ]);
    prop_oneof![
        6 => known.prop_map(|text| text.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 1..4),
        1 => (select(vec![b'a', b' ', b'0', b'\n']), 1usize..700).prop_map(|(byte, times)| vec![byte; times]),
    ]
}

/// Field names that mean nothing to the codec, and values without space around them.
pub(crate) fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = vec(prop_oneof![b'!'..=b'~', 0x80..=0xffu8], 0..20);
    vec(("x-[a-z0-9!#$%&'*+.^_`|~-]{0,12}", value), 0..6)
}
