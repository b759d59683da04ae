//! What an answer for all flags is called, and whether the caller has it already (RFC 9110 §8.8.3, §13.1.2).

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

/// The strong tag of `body`: the same for the same bytes, in every process. Quotes included.
pub(super) fn tag_of(body: &[u8]) -> String {
    let digest = digest(&SHA256, body);
    let mut tag = String::with_capacity(2 + 2 * TAG_BYTES);
    tag.push('"');
    for byte in &digest.as_ref()[..TAG_BYTES] {
        write!(tag, "{byte:02x}").expect("a text takes what is written");
    }
    tag.push('"');
    tag
}

/// Bytes of a digest that stand in a tag: nobody finds another answer with the same ones.
const TAG_BYTES: usize = 16;

/// Whether `tag` is among those of a field `If-None-Match`, by the weak comparison. A field that is malformed names
/// what stands before the fault.
pub(super) fn is_named(field: &[u8], tag: &str) -> bool {
    let mut rest = field.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        let opaque = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(end) = opaque.strip_prefix(b"\"").and_then(|inner| memchr::memchr(b'"', inner)) else {
            return false;
        };
        let (this, after) = opaque.split_at(end + 2);
        if this == tag.as_bytes() {
            return true;
        }
        let Some(next) = after.trim_ascii_start().strip_prefix(b",") else {
            return false;
        };
        // A list may have empty members (RFC 9110 §5.6.1).
        rest = next.trim_ascii_start();
        while let Some(next) = rest.strip_prefix(b",") {
            rest = next.trim_ascii_start();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_named, tag_of};

    #[track_caller]
    fn check(field: &str, expected: bool) {
        assert_eq!(is_named(field.as_bytes(), "\"a1\""), expected, "{field}");
    }

    #[test]
    fn a_tag_is_found_in_a_list_and_weakly() {
        check("\"a1\"", true);
        check(" \"a1\" ", true);
        check("W/\"a1\"", true);
        check("*", true);
        check("\"x\", \"a1\"", true);
        check("\"x\",W/\"y,z\" ,\t, \"a1\"", true);
        check("\"a2\"", false);
        check("\"a1", false);
        check("a1", false);
        check("\"x\" \"a1\"", false);
        check("", false);
        check(",", false);
        check("*, \"x\"", false);
        check("w/\"a1\"", false);
    }

    #[test]
    fn other_bytes_have_another_tag() {
        assert_eq!(tag_of(b""), "\"e3b0c44298fc1c149afbf4c8996fb924\"");
        assert_ne!(tag_of(b"a"), tag_of(b"b"));
    }
}
