//! What somebody else said, made fit to be shown: short, on one line, without control characters.

/// So much of an answer is shown.
const CHARACTERS_MAX: usize = 200;
/// Bytes of the shortest text that is kept secret.
const SECRET_MIN: usize = 6;

/// The first 200 characters of `text`; control characters and what is no UTF-8 are escaped or replaced, and
/// what is left out is marked by `…`. Spaces at both ends are left out.
#[must_use]
pub fn excerpt(text: &[u8]) -> String {
    // No character has more than four bytes.
    let head = &text[..text.len().min(CHARACTERS_MAX * 4 + 64)];
    let head = String::from_utf8_lossy(head);
    let head = head.trim();
    let mut shown = String::new();
    for (count, character) in head.chars().enumerate() {
        if count == CHARACTERS_MAX {
            shown.push('…');
            break;
        }
        if character.is_control() || is_invisible(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Like [`excerpt`], with `[secret]` in the place of each of `secrets`: who is called may repeat what it was
/// sent.
#[must_use]
pub fn excerpt_without(text: &[u8], secrets: &[&str]) -> String {
    let mut shown = String::from_utf8_lossy(text).into_owned();
    // What is shorter is no secret, and would tear words apart.
    for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_MIN) {
        shown = shown.replace(secret, "[secret]");
    }
    excerpt(shown.as_bytes())
}

/// Characters that are no control characters by class, but order or hide what stands around them.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let check = |text: &str, expected: &str| {
            assert_eq!(excerpt_without(text.as_bytes(), &["s3cr3t-key", "true"]), expected);
        };
        check("it is true: s3cr3t-key, s3cr3t-keys", "it is true: [secret], [secret]s");
        let behind = format!("{}s3cr3t-key", "a".repeat(195));
        check(&behind, &format!("{}[secr…", "a".repeat(195)));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        let check = |text: &[u8], expected: &str| assert_eq!(excerpt(text), expected);
        check(b"", "");
        check(b" not today\n", "not today");
        check(b"a\nb\tc\x1b[31m", "a\\nb\\tc\\u{1b}[31m");
        check("gr\u{fc}n \u{202e}x".as_bytes(), "gr\u{fc}n \\u{202e}x");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
        check(&[b'a'; 200], &"a".repeat(200));
        check(&[b'a'; 201], &format!("{}…", "a".repeat(200)));
        check(
            "\u{1f600}".repeat(10_000).as_bytes(),
            &format!("{}…", "\u{1f600}".repeat(200)),
        );
    }
}
