//! Where in a request an issuer's token stands.

use super::issuer::IssuerSpec;
use crate::head::RequestHead;

/// The token of `issuer` in a request: in its header, else in its cookie. `None`: there is none, or the header is there
/// more than once, and nobody can say which one is meant.
#[must_use]
pub fn find<'h>(issuer: &'h IssuerSpec, head: &'h RequestHead) -> Option<&'h [u8]> {
    let mut fields = head.fields().get_all(&issuer.header);
    if let Some(field) = fields.next() {
        if fields.next().is_some() {
            return None;
        }
        let token = match bearer(field) {
            Some(token) => Some(token),
            // Other words in front are for somebody else, as `Basic` is; a header of its own may do without.
            None if issuer.header == "authorization" => None,
            None => Some(field.trim_ascii()),
        };
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            return Some(token);
        }
    }
    cookie(head, issuer.cookie.as_deref()?.as_bytes())
}

/// What stands after `Bearer` (RFC 6750 §2.1, RFC 9110 §11.1: in any case).
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = field.trim_ascii().split_at_checked(6)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(|&byte| byte == b' ');
    is_bearer.then(|| rest.trim_ascii())
}

/// The first cookie that is called so (RFC 6265 §5.4).
fn cookie<'h>(head: &'h RequestHead, name: &[u8]) -> Option<&'h [u8]> {
    let fields = head.fields().get_all("cookie");
    let pairs = fields.flat_map(|field| field.split(|&byte| byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let rest = pair.strip_prefix(name)?.trim_ascii_start();
        Some(rest.strip_prefix(b"=")?.trim_ascii())
    });
    values.next().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::head::{HeadBuilder, Method, Version};
    use crate::jwt::fixture::spec;

    #[track_caller]
    fn check(header: &str, cookie: Option<&str>, fields: &[(&str, &str)], expected: Option<&str>) {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        let head = head.request(Method::Get, Version::Http11, "h", "/");
        let mut issuer = spec();
        issuer.header = header.to_owned();
        issuer.cookie = cookie.map(str::to_owned);
        assert_eq!(find(&issuer, &head), expected.map(str::as_bytes), "{header} {fields:?}");
    }

    #[test]
    fn a_token_stands_after_bearer() {
        let check = |value, expected| check("authorization", None, &[("authorization", value)], expected);
        check("Bearer a.b.c", Some("a.b.c"));
        check("bearer   a.b.c ", Some("a.b.c"));
        check("Basic a.b.c", None);
        check("Bearera.b.c", None);
        check("Bearer", None);
        check("a.b.c", None);
        check("", None);
    }

    #[test]
    fn a_header_of_its_own_may_do_without_the_word() {
        check("x-token", None, &[("x-token", "a.b.c")], Some("a.b.c"));
        check("x-token", None, &[("x-token", "Bearer a.b.c")], Some("a.b.c"));
        check("x-token", None, &[("authorization", "Bearer a.b.c")], None);
    }

    #[test]
    fn a_cookie_is_asked_where_the_header_has_none() {
        let check = |fields: &[_], expected| check("authorization", Some("id"), fields, expected);
        check(&[("cookie", "x=1; id=a.b.c; id=d")], Some("a.b.c"));
        check(&[("authorization", "Basic x"), ("cookie", "id=a.b.c")], Some("a.b.c"));
        check(&[("authorization", "Bearer x"), ("cookie", "id=a.b.c")], Some("x"));
        check(&[("cookie", "idx=1"), ("cookie", "id = a.b.c")], Some("a.b.c"));
        check(&[("cookie", "id=")], None);
        check(&[], None);
    }

    #[test]
    fn of_two_headers_neither_is_believed() {
        let two = [
            ("authorization", "Bearer a"),
            ("authorization", "Bearer b"),
            ("cookie", "id=c"),
        ];
        check("authorization", Some("id"), &two, None);
    }
}
