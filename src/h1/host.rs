//! What a Host field may hold (RFC 9110 §7.2, RFC 3986 §3.2.2 and §3.2.3).

use std::net::Ipv6Addr;

/// Whether `value` is `uri-host [ ":" port ]`, and only one reader's host: no user information, no list, no zone.
#[must_use]
pub fn is_host(value: &[u8]) -> bool {
    let (host, rest) = match value {
        [b'[', inside @ ..] => match inside.iter().position(|&byte| byte == b']') {
            Some(end) if is_ipv6(&inside[..end]) => (&inside[..end], &inside[end + 1..]),
            _ => return false,
        },
        _ => {
            let end = value
                .iter()
                .position(|&byte| !is_name_byte(byte))
                .unwrap_or(value.len());
            let (name, rest) = value.split_at(end);
            if !has_good_escapes(name) {
                return false;
            }
            (name, rest)
        }
    };
    !host.is_empty()
        && match rest {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

/// `reg-name` (RFC 3986 §3.2.2): unreserved, sub-delims and `%`. Not the comma: some readers take it for a list.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' | b'%'
        )
}

/// Whether two hexadecimal digits follow each `%` (RFC 3986 §2.1).
fn has_good_escapes(name: &[u8]) -> bool {
    name.iter().enumerate().all(|(at, &byte)| {
        byte != b'%' || matches!(name[at + 1..], [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    })
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A port that exists; five digits are enough for all of them.
fn is_port(digits: &[u8]) -> bool {
    (1..=5).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && digits
            .iter()
            .fold(0u32, |port, &digit| port * 10 + u32::from(digit - b'0'))
            <= 65535
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[track_caller]
    fn check(value: &str, expected: bool) {
        assert_eq!(is_host(value.as_bytes()), expected, "{value}");
    }

    #[test]
    fn names_and_addresses_are_hosts() {
        check("shop.example.com", true);
        check("Shop_1-a~.example.", true);
        check("192.0.2.7", true);
        check("a!$&'()*+;=b", true);
        check("%41b", true);
        check("[::1]", true);
        check("[2001:db8::192.0.2.33]", true);
    }

    #[test]
    fn ports_are_numbers_up_to_65535() {
        check("a:0", true);
        check("a:65535", true);
        check("a:00080", true);
        check("[::1]:8080", true);
        check("a:65536", false);
        check("a:000080", false);
        check("a:", false);
        check("a:+80", false);
        check("a:80 ", false);
        check("a:8:0", false);
        check("[::1]8080", false);
        check("[::1]:", false);
    }

    #[test]
    fn what_two_readers_could_take_for_two_hosts_is_none() {
        check("", false);
        check(":80", false);
        check("a,b", false);
        check("a, b", false);
        check("user@a", false);
        check("a/b", false);
        check("a\\b", false);
        check("a?b", false);
        check("a#b", false);
        check("a b", false);
        check("a\"b", false);
        check("h\u{f6}st", false);
        check("http://a", false);
        check("%4", false);
        check("%", false);
        check("a%zz", false);
    }

    #[test]
    fn brackets_hold_ipv6_addresses_without_zones() {
        check("[", false);
        check("[]", false);
        check("[::1", false);
        check("::1", false);
        check("[::1%25eth0]", false);
        check("[fe80::1%eth0]", false);
        check("[v1.a]", false);
        check("[192.0.2.7]", false);
        check("[::1]a", false);
        check("a[::1]", false);
    }
}
