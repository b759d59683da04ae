//! Which bytes may stand where: the character sets of RFC 9110 and RFC 9112.

/// Each byte of a token in lower case, 0 for a byte that no token holds (RFC 9110 §5.6.2).
pub(super) static TOKEN_LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte: u8 = 0;
    loop {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = marks[at];
        at += 1;
    }
    table
};

/// `tchar` (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN_LOWER[usize::from(byte)] != 0
}

/// `token` (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// `OWS` holds these (RFC 9110 §5.6.3).
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether field values, reason phrases and quoted strings may hold `byte`: HTAB, SP, VCHAR or obs-text (RFC 9110 §5.5).
pub(super) const fn is_text_byte(byte: u8) -> bool {
    // No short circuits: the compiler makes wide instructions of a loop over this.
    (byte >= b' ') & (byte != 0x7f) | (byte == b'\t')
}

/// Whether a field value or a reason phrase may be `text` (RFC 9110 §5.5, RFC 9112 §4).
pub(super) fn is_text(text: &[u8]) -> bool {
    text.iter().fold(true, |good, &byte| good & is_text_byte(byte))
}

/// `text` without the OWS around it (RFC 9112 §5.1).
pub(super) const fn trim_ows(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{is_text, is_text_byte, is_token, is_token_byte, trim_ows};

    #[test]
    fn tokens_hold_77_bytes() {
        assert_eq!((0..=u8::MAX).filter(|&byte| is_token_byte(byte)).count(), 10 + 52 + 15);
        assert!(is_token(b"X-Serin_1.2!#$%&'*+^`|~"));
        for bad in ["", "a b", "a:b", "a\"", "a(b)", "a,b", "a/b", "a@b", "\u{e9}", "a\0"] {
            assert!(!is_token(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn text_holds_no_controls_but_tab() {
        let bad: Vec<u8> = (0..=u8::MAX).filter(|&byte| !is_text_byte(byte)).collect();
        let controls: Vec<u8> = (0..0x20).filter(|&byte| byte != b'\t').chain([0x7f]).collect();
        assert_eq!(bad, controls);
        assert!(is_text(b"\t a\xff") && is_text(b"") && !is_text(b"a\rb"));
    }

    #[test]
    fn space_around_is_trimmed_and_space_within_is_not() {
        assert_eq!(trim_ows(b" \t a \t b\t "), b"a \t b");
        assert_eq!(trim_ows(b" \t"), b"");
    }
}
