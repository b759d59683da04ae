//! Which header names only proxies may speak in: they say for whom a request is, and where it was placed.

/// Whether `name` (lower case) is `forwarded`, or begins with `x-forwarded-` or `x-serin-`, in any spelling: a backend
/// that folds names, as CGI does (RFC 3875 §4.1.18), takes an underscore for a hyphen.
#[must_use]
pub fn is_proxys(name: &[u8]) -> bool {
    name == b"forwarded" || begins(name, b"x-forwarded-") || is_ours(name)
}

/// Whether `name` (lower case) begins with `x-serin-`, in any spelling.
#[must_use]
pub fn is_ours(name: &[u8]) -> bool {
    begins(name, b"x-serin-")
}

/// Whether a backend may take `name` for `known`; both in lower case, `known` with hyphens.
#[must_use]
pub fn is_spelling_of(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && begins(name, known)
}

fn begins(name: &[u8], known: &[u8]) -> bool {
    name.len() >= known.len()
        && name
            .iter()
            .zip(known)
            .all(|(&byte, &known)| byte == known || (byte == b'_' && known == b'-'))
}

#[cfg(test)]
mod tests {
    use super::{is_ours, is_proxys, is_spelling_of};

    #[test]
    fn underscores_are_hyphens() {
        let check = |name: &str, proxys, ours| {
            assert_eq!(
                (is_proxys(name.as_bytes()), is_ours(name.as_bytes())),
                (proxys, ours),
                "{name}"
            );
        };
        check("forwarded", true, false);
        check("x-forwarded-for", true, false);
        check("x_forwarded_for", true, false);
        check("x-forwarded_anything", true, false);
        check("x_serin-route", true, true);
        check("x_serin_client_certificate", true, true);
        check("x-serin-", true, true);
        check("x-serin", false, false);
        check("x.serin.route", false, false);
        check("forwarded-for", false, false);
        check("xx-serin-route", false, false);
        check("x-real-ip", false, false);
    }

    #[test]
    fn spellings_are_whole_names() {
        assert!(is_spelling_of(b"x_override", b"x-override"));
        assert!(is_spelling_of(b"x-override", b"x-override"));
        assert!(!is_spelling_of(b"x_overrides", b"x-override"));
        assert!(!is_spelling_of(b"x-override", b"x_override"));
    }
}
