//! Scalars of calls that we make ourselves: URLs, headers that are sent, statuses that pass.

use http::Uri;
use serde_json::{Value as Json, json};

use super::read::Scalar;
use super::scalar::HeaderName;
use super::template;

/// An address of the web: `http://` or `https://`, a host, and no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url(pub(super) String);

impl Scalar for Url {
    // Those of Slack and Teams let everyone in who knows them.
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err("begins with neither http:// nor https://".into());
        }
        if text.len() > URL_BYTES_MAX {
            return Err(format!("has {} bytes; give at most {URL_BYTES_MAX}", text.len()));
        }
        if text.contains('#') {
            return Err("has a fragment, which is never sent; leave it out".into());
        }
        let uri: Uri = text
            .parse()
            .map_err(|_| "is no URL; write it as https://gate.example.com/check")?;
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("carries a name or a password; leave them out, or send them in `headers`".into());
        }
        let host = authority.host();
        if host.is_empty() {
            return Err("names no host".into());
        }
        let has_port = authority.as_str().len() > host.len();
        if has_port && !matches!(authority.port_u16(), Some(1..)) {
            return Err("has no good port; give 1 to 65535".into());
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^https?://[^@#\s]+$" })
    }
}

/// Path and query of a request: from `/` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target(pub(super) String);

impl Scalar for Target {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            Err("does not begin with `/`; a path does".into())
        } else if text.contains('#') {
            Err("has a fragment, which is never sent; leave it out".into())
        } else if !text.bytes().all(|b| b.is_ascii_graphic()) || text.parse::<Uri>().is_err() {
            Err("has characters that a request cannot have; percent-encode them, such as %20".into())
        } else if text.len() > URL_BYTES_MAX {
            Err(format!("has {} bytes; give at most {URL_BYTES_MAX}", text.len()))
        } else {
            Ok(Self(text.into()))
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[!-~]*$" })
    }
}

/// The name of a header that we send, in lower case: none that frames the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentHeader(pub(super) String);

impl Scalar for SentHeader {
    fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("host") {
            return Err("is said by the URL, or by `host`; leave it out".into());
        }
        let name = HeaderName::parse(text)?.0;
        if FRAMING.contains(&name.as_str()) {
            return Err("is set by Serin itself; leave it out".into());
        }
        Ok(Self(name))
    }

    fn schema() -> Json {
        HeaderName::schema()
    }
}

/// The value of a header that we send: 1 to 4,096 bytes, none of them a control character.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HeaderText(pub(super) String);

impl Scalar for HeaderText {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        match text.len() {
            0 => Err("is empty".into()),
            long @ 4097.. => Err(format!("has {long} bytes; give at most 4096")),
            _ if text.bytes().any(|b| b < b' ' || b == 0x7f) => {
                Err("has a line break or another control character, which no header may have".into())
            }
            _ if text.trim() != text => Err("begins or ends with a space".into()),
            _ => Ok(Self(text.into())),
        }
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 4096 })
    }
}

impl std::fmt::Debug for HeaderText {
    /// It is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeaderText")
    }
}

/// A body with `{{placeholders}}` that is JSON once it is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(pub(super) String);

impl Scalar for Template {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".into());
        }
        template::check(text)?;
        Ok(Self(text.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": template::BYTES_MAX })
    }
}

/// A status, or a class of them; both ends are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusRange(pub(super) (u16, u16));

impl Scalar for StatusRange {
    fn parse(text: &str) -> Result<Self, String> {
        let class = text
            .strip_suffix("xx")
            .filter(|class| class.len() == 1)
            .and_then(|class| class.parse::<u16>().ok());
        let number = text.parse::<u16>().ok().filter(|_| text.len() == 3);
        match (class, number) {
            (Some(class @ 2..=5), _) => Ok(Self((class * 100, class * 100 + 99))),
            (_, Some(status @ 200..=599)) => Ok(Self((status, status))),
            _ => Err("is no status; write a number such as 204 (200 to 599), or one of 2xx, 3xx, 4xx and 5xx".into()),
        }
    }

    fn schema() -> Json {
        json!({
            "type": ["integer", "string"],
            "minimum": 200,
            "maximum": 599,
            "pattern": "^[2-5](xx|[0-9][0-9])$",
        })
    }
}

/// Longer ones are answered 414 by most.
const URL_BYTES_MAX: usize = 2_048;
/// What says where a message ends, or what becomes of its connection.
const FRAMING: [&str; 7] = [
    "connection",
    "content-length",
    "expect",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::{HeaderText, SentHeader, StatusRange, Target, Template, Url};
    use crate::config::fixture::check;

    #[test]
    fn templates_are_checked() {
        let good = r#"{"text":"{{rollout}}"}"#;
        check(good, Ok(Template(good.into())));
        check::<Template>("", Err("is empty"));
        check::<Template>(r#"{"text":"{{rolout}}"}"#, Err("knows no placeholder `rolout`"));
        check::<Template>("{{rollout}}", Err("is no JSON once it is filled in"));
    }

    #[test]
    fn urls_are_of_the_web_and_carry_no_credentials() {
        for good in [
            "http://gate/",
            "https://gate.example.com:8443/a?b=c",
            "http://[::1]:80/",
            "http://127.0.0.1",
        ] {
            check(good, Ok(Url(good.into())));
        }
        check::<Url>("ftp://gate/", Err("neither http:// nor https://"));
        check::<Url>("gate.example.com", Err("neither http:// nor https://"));
        check::<Url>("http://", Err("is no URL"));
        check::<Url>("http:///path", Err("is no URL"));
        check::<Url>("http://a b/", Err("is no URL"));
        check::<Url>("http://ann:pw@gate/", Err("send them in `headers`"));
        check::<Url>("http://gate/#top", Err("fragment"));
        check::<Url>("http://gate:99999/", Err("port"));
        check::<Url>("http://gate:/", Err("port"));
        check::<Url>("http://gate:0/", Err("port"));
        check::<Url>(&format!("http://gate/{}", "x".repeat(2048)), Err("at most 2048"));
    }

    #[test]
    fn targets_are_paths_with_queries() {
        check("/health?deep=1", Ok(Target("/health?deep=1".into())));
        check::<Target>("health", Err("begin with `/`"));
        check::<Target>("/a b", Err("percent-encode"));
        check::<Target>("/a#b", Err("fragment"));
    }

    #[test]
    fn no_header_breaks_out_of_its_line() {
        check("X-Token", Ok(SentHeader("x-token".into())));
        check::<SentHeader>("Transfer-Encoding", Err("set by Serin itself"));
        check::<SentHeader>("Host", Err("said by the URL"));
        check::<SentHeader>("a b", Err("no header name"));
        check("Bearer s3cr3t", Ok(HeaderText("Bearer s3cr3t".into())));
        check::<HeaderText>("a\r\nx: y", Err("control character"));
        check::<HeaderText>("token ", Err("ends with a space"));
        check::<HeaderText>("", Err("is empty"));
        assert_eq!(format!("{:?}", HeaderText("s3cr3t".into())), "HeaderText");
    }

    #[test]
    fn statuses_that_pass_are_numbers_or_classes() {
        check("204", Ok(StatusRange((204, 204))));
        check("2xx", Ok(StatusRange((200, 299))));
        check("5xx", Ok(StatusRange((500, 599))));
        check::<StatusRange>("1xx", Err("is no status"));
        check::<StatusRange>("600", Err("is no status"));
        check::<StatusRange>("+20", Err("is no status"));
        check::<StatusRange>("02xx", Err("is no status"));
    }
}
