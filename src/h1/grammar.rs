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

/// Brings the token that `text` begins with into lower case, and gives its length.
pub(super) fn lower_token(text: &mut [u8]) -> usize {
    let mut len = 0;
    for byte in text {
        let lower = TOKEN_LOWER[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        *byte = lower;
        len += 1;
    }
    len
}

/// Whether field values, reason phrases and quoted strings may hold `byte`: HTAB, SP, VCHAR or obs-text (RFC 9110 §5.5).
pub(super) const fn is_text_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// How many bytes `text` begins with of those that field values hold (RFC 9110 §5.5), eight at a time.
pub(super) fn text_len(text: &[u8]) -> usize {
    let mut len = 0;
    while let Some(word) = text[len..].first_chunk::<8>() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls == 0 {
            len += 8;
            continue;
        }
        len += controls.trailing_zeros() as usize / 8;
        if text[len] != b'\t' {
            return len;
        }
        len += 1;
    }
    len + text[len..].iter().take_while(|&&byte| is_text_byte(byte)).count()
}

/// The high bit of the first byte below SP or equal to DEL is the first that is set; none is when there is no such byte.
/// After Mycroft's test for a zero byte (1987): a borrow reaches only bytes behind the first that is found.
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    (below_space | (delete.wrapping_sub(ONES) & !delete)) & (ONES * 0x80)
}

/// `text` without the OWS before it.
pub(super) const fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    text
}

/// `text` without the OWS around it (RFC 9112 §5.1).
pub(super) const fn trim_ows(text: &[u8]) -> &[u8] {
    let mut text = trim_start(text);
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{is_text_byte, is_token, is_token_byte, text_len, trim_ows};

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
        for byte in 0..=u8::MAX {
            for (before, after) in [(0, 0), (0, 9), (3, 9), (9, 0), (9, 9)] {
                let text = [vec![b'a'; before], vec![byte], vec![0xff; after]].concat();
                let expected = if is_text_byte(byte) { text.len() } else { before };
                assert_eq!(text_len(&text), expected, "{byte} behind {before}");
            }
        }

        let bad: Vec<u8> = (0..=u8::MAX).filter(|&byte| !is_text_byte(byte)).collect();
        let controls: Vec<u8> = (0..0x20).filter(|&byte| byte != b'\t').chain([0x7f]).collect();
        assert_eq!(bad, controls);
    }

    #[test]
    fn space_around_is_trimmed_and_space_within_is_not() {
        assert_eq!(trim_ows(b" \t a \t b\t "), b"a \t b");
        assert_eq!(trim_ows(b" \t"), b"");
    }
}
