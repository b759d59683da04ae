//! WebSockets between HTTP/1.1, which asks for them with a key, and HTTP/2, which does not (RFC 6455 §4, RFC 8441 §5).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::head::{FieldSpans, Fields, HeadBuilder, ResponseHead, Version};

/// What is hashed behind the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What `sec-websocket-key` says for 16 random bytes.
pub(super) fn key(nonce: [u64; 2]) -> [u8; 24] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nonce[0].to_be_bytes());
    bytes[8..].copy_from_slice(&nonce[1].to_be_bytes());
    let mut text = [0; 24];
    let written = STANDARD.encode_slice(bytes, &mut text);
    debug_assert_eq!(written, Ok(24));
    text
}

/// What a server that has understood `key` says in `sec-websocket-accept`.
pub(super) fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

/// Whether the client's key is one: 16 bytes, in base64.
pub(super) fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// Puts into an answer from HTTP/2 what a client of HTTP/1.1 with this key wants to hear.
pub(super) fn grant(head: &mut ResponseHead, key: &[u8]) {
    let mut fields = HeadBuilder::default();
    for (name, value) in head.fields.iter() {
        if name != ACCEPT {
            fields.field(name, value);
        }
    }
    fields.field(ACCEPT, accept(key).as_bytes());
    head.fields = fields.response(head.status, Version::Http2).fields;
}

/// Takes out of an answer over HTTP/1.1 what answers our own key; `false` when it does not.
pub(super) fn check_grant(head: &mut ResponseHead, key: &[u8]) -> bool {
    let is_granted = {
        let mut answers = head.fields.get_all("sec-websocket-accept");
        let first = answers.next();
        first.is_some_and(|answer| answer == accept(key).as_bytes()) && answers.next().is_none()
    };
    let (buf, entries) = head.fields.parts();
    let rest: FieldSpans = entries
        .iter()
        .copied()
        .filter(|(name, _)| name.of(buf) != ACCEPT)
        .collect();
    let fields = Fields::from_parts(head.fields.share(buf), rest);
    head.fields = fields;
    is_granted
}

const ACCEPT: &[u8] = b"sec-websocket-accept";

#[cfg(test)]
mod tests {
    use super::{accept, check_grant, grant, is_key, key};
    use crate::head::{HeadBuilder, Version};

    #[test]
    fn the_example_of_the_rfc_holds() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_key(&key([1, u64::MAX])));
        for not in [
            &b""[..],
            b"dGhlIHNhbXBsZQ==",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"******************==",
        ] {
            assert!(!is_key(not), "{not:?}");
        }
    }

    #[test]
    fn a_grant_is_for_one_key() {
        let answer = |accepts: &[&str]| {
            let mut head = HeadBuilder::default();
            head.field(b"sec-websocket-protocol", b"chat");
            for accept in accepts {
                head.field(b"sec-websocket-accept", accept.as_bytes());
            }
            head.response(101, Version::Http11)
        };
        let (mine, right) = (key([1, 2]), accept(&key([1, 2])));
        for (accepts, expected) in [
            (&[&*right][..], true),
            (&[], false),
            (&["wrong"], false),
            (&[&right, &right], false),
        ] {
            let mut head = answer(accepts);
            assert_eq!(check_grant(&mut head, &mine), expected, "{accepts:?}");
            assert_eq!(head.fields.get("sec-websocket-accept"), None);
            assert_eq!(head.fields.get("sec-websocket-protocol"), Some(&b"chat"[..]));
        }
        let mut head = answer(&["of the backend"]);
        grant(&mut head, &mine);
        let all: Vec<_> = head.fields.get_all("sec-websocket-accept").collect();
        assert_eq!(all, [right.as_bytes()]);
    }
}
