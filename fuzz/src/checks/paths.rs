//! Canonical targets: their own form, never longer, and the same place to every reader.

use crate::path::{PathPolicy, PathProblem, canonical};

/// One target in both policies.
pub fn path(input: &[u8]) {
    let strict = form(input, PathPolicy::Strict);
    let normal = form(input, PathPolicy::Normalize);
    if strict.is_ok() {
        assert_eq!(strict, normal, "strict reads otherwise");
    }
    for (found, policy) in [(strict, PathPolicy::Strict), (normal, PathPolicy::Normalize)] {
        let Ok(found) = found else {
            continue;
        };
        assert!(found.len() <= input.len());
        assert_eq!(form(&found, policy).as_ref(), Ok(&found), "not its own form");
        let ((path, query), (sent_path, sent_query)) = (halves(&found), halves(input));
        assert_eq!(query, sent_query, "the query has changed");
        assert!(found.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
        assert_eq!(place(path), place(sent_path), "another place");
        check_readers(path);
    }
}

fn form(target: &[u8], policy: PathPolicy) -> Result<Vec<u8>, PathProblem> {
    let mut bytes = target.to_vec();
    let canonical = canonical(&mut bytes, policy)?;
    bytes.truncate(canonical.len);
    assert_eq!(canonical.path_len, halves(&bytes).0.len());
    Ok(bytes)
}

fn halves(target: &[u8]) -> (&[u8], &[u8]) {
    target.split_at(target.iter().position(|&byte| byte == b'?').unwrap_or(target.len()))
}

/// Where a path leads: the decoded names of its segments, and whether a slash ends it.
fn place(path: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut slash = true;
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        let name = decode(segment);
        slash = matches!(&name[..], b"" | b"." | b"..");
        match &name[..] {
            b"" | b"." => {}
            b".." => assert!(names.pop().is_some(), "above the root"),
            _ => names.push(name),
        }
    }
    (names, slash)
}

/// Nothing is left to resolve for readers who split at encoded separators too, and take parameters off.
fn check_readers(path: &[u8]) {
    assert!(!path.contains(&b'\\'));
    let text = String::from_utf8(path.to_vec()).expect("it is ASCII");
    let split = text.replace("%2F", "/").replace("%5C", "/").replace("%3B", ";");
    for piece in split.split('/') {
        let name = piece.split(';').next().expect("there is a first");
        assert!(!matches!(name, "." | ".."), "{text} hides dots");
    }
    assert!(!text.contains("//"), "{text} has an empty segment");
    for byte in decode(path) {
        assert!(!byte.is_ascii_control());
    }
    let digits = text.split('%').skip(1).flat_map(|behind| behind.bytes().take(2));
    assert!(
        digits
            .into_iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
    );
}

/// Takes escapes off, once.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter().copied();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || (bytes.next().expect("it was accepted") as char).to_digit(16);
                let (high, low) = (digit(), digit());
                (high.expect("a digit") * 16 + low.expect("a digit")) as u8
            }
            byte => byte,
        });
    }
    decoded
}
