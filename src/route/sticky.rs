//! A signed cookie that keeps who has no key on one side: what was drawn for them once, for which releases, and
//! when. Whoever forges one, or brings one of other releases, has none.
//!
//! The value is 28 bytes in base64url (RFC 4648 §5, without padding): the draw, the binding and the Unix second
//! of the draw, each 4 bytes and the most significant first, then the first 16 bytes of HMAC-SHA-256 (RFC 2104,
//! truncated by its §5) over the cookie's name and those 12.

use std::fmt;
use std::fmt::Write;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What a file says of a sticky cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct StickySpec {
    /// The cookie's name; `None`: `serin-` and the route's.
    pub cookie: Option<String>,
    /// For so many seconds after the last renewal; it is renewed with the same draw when half of them have passed.
    pub max_age_s: u32,
    /// The secret that signs; `None`: one that this process keeps in its state directory.
    pub secret: Option<String>,
    /// The word of its `SameSite` attribute: `Strict`, `Lax` or `None`.
    pub same_site: &'static str,
}

/// A [`StickySpec`], ready to serve.
pub struct Sticky {
    name: String,
    key: Key,
    /// Says which releases the draw is for.
    binding: u32,
    max_age_s: u32,
    /// What follows the value.
    attributes: String,
    secure: bool,
}

/// What a good cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The draw, as a key's hash.
    pub draw: u32,
    /// Half of its time has passed: it is to be sent anew.
    pub is_old: bool,
}

/// A cookie may come from a clock that is so many seconds ahead.
const SKEW_S: u64 = 60;
const PAYLOAD: usize = 12;
const MAC: usize = 16;
/// Length of a value: 28 bytes in base64.
const VALUE: usize = 38;

impl Sticky {
    /// Makes `spec` ready for `route`. `secret` signs where the file has none. What was drawn for another
    /// `binding` is no cookie any more.
    #[must_use]
    pub fn new(route: &str, spec: &StickySpec, secret: &[u8], binding: u32) -> Self {
        let secret = spec.secret.as_ref().map_or(secret, |secret| secret.as_bytes());
        let same_site = spec.same_site;
        Self {
            name: spec.cookie.clone().unwrap_or_else(|| format!("serin-{route}")),
            key: Key::new(HMAC_SHA256, secret),
            binding,
            max_age_s: spec.max_age_s,
            attributes: format!("; Path=/; Max-Age={}; HttpOnly; SameSite={same_site}", spec.max_age_s),
            // Browsers take `SameSite=None` only so.
            secure: same_site == "None",
        }
    }

    /// The cookie's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a cookie's value says; `None` when it is forged, for other releases, or too old.
    #[must_use]
    pub fn open(&self, value: &[u8], now_s: u64) -> Option<Stuck> {
        let mut bytes = [0; PAYLOAD + MAC];
        if value.len() != VALUE || URL_SAFE_NO_PAD.decode_slice(value, &mut bytes) != Ok(PAYLOAD + MAC) {
            return None;
        }
        let (payload, mac) = bytes.split_at(PAYLOAD);
        verify_slices_are_equal(&self.sign(payload), mac).ok()?;
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("4 bytes"));
        let (draw, binding, since_s) = (word(0), word(4), u64::from(word(8)));
        let age_s = now_s.saturating_sub(since_s);
        let is_good = binding == self.binding && since_s <= now_s + SKEW_S && age_s < u64::from(self.max_age_s);
        is_good.then_some(Stuck {
            draw,
            is_old: age_s >= u64::from(self.max_age_s) / 2,
        })
    }

    /// The value of a `set-cookie` field for `draw` (RFC 6265 §4.1).
    #[must_use]
    pub fn seal(&self, draw: u32, now_s: u64, https: bool) -> String {
        let mut bytes = [0; PAYLOAD + MAC];
        bytes[..4].copy_from_slice(&draw.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.binding.to_be_bytes());
        // Until 2106; from then on they are stale at once.
        let now_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        bytes[8..PAYLOAD].copy_from_slice(&now_s.to_be_bytes());
        let mac = self.sign(&bytes[..PAYLOAD]);
        bytes[PAYLOAD..].copy_from_slice(&mac);
        let mut field = String::with_capacity(self.name.len() + 1 + VALUE + self.attributes.len() + 8);
        let secure = if https || self.secure { "; Secure" } else { "" };
        let value = URL_SAFE_NO_PAD.encode(bytes);
        write!(field, "{}={value}{}{secure}", self.name, self.attributes).expect("a text takes what is written");
        field
    }

    fn sign(&self, payload: &[u8]) -> [u8; MAC] {
        let mut context = Context::with_key(&self.key);
        context.update(self.name.as_bytes());
        context.update(b"=");
        context.update(payload);
        context.sign().as_ref()[..MAC]
            .try_into()
            .expect("HMAC-SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sticky")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StickySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StickySpec")
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Sticky, StickySpec, Stuck};

    const NOW: u64 = 1_800_000_000;

    fn sticky(binding: u32) -> Sticky {
        let spec = StickySpec {
            cookie: None,
            max_age_s: 3_600,
            secret: None,
            same_site: "Lax",
        };
        Sticky::new("checkout", &spec, b"0123456789abcdef0123456789abcdef", binding)
    }

    fn value(field: &str) -> &str {
        field.split_once('=').unwrap().1.split_once(';').unwrap().0
    }

    #[track_caller]
    fn check(sticky: &Sticky, value: &str, now_s: u64, expected: Option<(u32, bool)>) {
        let expected = expected.map(|(draw, is_old)| Stuck { draw, is_old });
        assert_eq!(sticky.open(value.as_bytes(), now_s), expected);
    }

    #[test]
    fn a_cookie_says_what_was_drawn_until_it_is_too_old() {
        let field = sticky(7).seal(0xdead_beef, NOW, false);
        let value = value(&field);
        check(&sticky(7), value, NOW, Some((0xdead_beef, false)));
        check(&sticky(7), value, NOW + 1_799, Some((0xdead_beef, false)));
        check(&sticky(7), value, NOW + 1_800, Some((0xdead_beef, true)));
        check(&sticky(7), value, NOW + 3_600, None);
        check(&sticky(7), value, NOW - 60, Some((0xdead_beef, false)));
        check(&sticky(7), value, NOW - 61, None);
    }

    #[test]
    fn a_cookie_of_other_releases_is_none() {
        let field = sticky(7).seal(1, NOW, false);
        check(&sticky(8), value(&field), NOW, None);
    }

    #[test]
    fn no_byte_of_a_cookie_can_be_changed() {
        let field = sticky(7).seal(1, NOW, false);
        let value = value(&field);
        for at in 0..value.len() {
            let mut forged = value.as_bytes().to_vec();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sticky(7).open(&forged, NOW), None, "byte {at}");
        }
        for bad in ["", "x", "=", &value[1..], &format!("{value}A"), &"\u{e9}".repeat(19)] {
            check(&sticky(7), bad, NOW, None);
        }
    }

    #[test]
    fn a_cookie_is_for_one_name_and_one_secret() {
        let spec = StickySpec {
            cookie: Some("side".to_owned()),
            max_age_s: 3_600,
            secret: Some("s".repeat(32)),
            same_site: "None",
        };
        let field = sticky(7).seal(1, NOW, false);
        check(&Sticky::new("checkout", &spec, b"", 7), value(&field), NOW, None);
        assert!(!format!("{spec:?}").contains("sss"));
    }

    #[test]
    fn scripts_and_other_sites_do_not_get_it() {
        let field = sticky(7).seal(1, NOW, true);
        assert!(field.starts_with("serin-checkout="));
        assert!(
            field.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"),
            "{field}"
        );
        assert!(!sticky(7).seal(1, NOW, false).contains("Secure"));
    }
}
