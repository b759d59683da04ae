//! Who an application asks for: the context that it posts, as facts.

use std::cell::Cell;
use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use crate::route::{Facts, Key, KeySource, Origin, unquoted};
use crate::values::{TooMuch, Values};

/// Bytes of a name in a context.
const NAME_BYTES_MAX: usize = 256;

/// The context of a call. `targetingKey` is who it is about. The objects `headers`, `cookies`, `query` and `claims`,
/// and the texts `clientIp`, `clientCertificate` and `host`, describe a request of theirs. Everything else is an
/// attribute, and so is what bears one of these names but is of another kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    targeting_key: Option<Box<str>>,
    headers: Values,
    cookies: Values,
    query: Values,
    claims: Values,
    attributes: Values,
    client: Option<IpAddr>,
    certificate: Option<Box<str>>,
    host: Option<Box<str>>,
    now_s: u64,
    /// How much may still be looked at.
    left: Looks,
}

/// How much may still be looked at. It says nothing of who asks.
#[derive(Clone, Debug)]
struct Looks(Cell<usize>);

impl Default for Looks {
    fn default() -> Self {
        Self(Cell::new(LOOKS_MAX))
    }
}

impl PartialEq for Looks {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Looks {}

/// What one call may have looked at, a value of up to 64 bytes for one: enough for a context of a few values and the
/// cohorts of thousands of flags. A list of a thousand values would otherwise cost each flag a thousand times.
const LOOKS_MAX: usize = 50_000;

/// Why a body holds no context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadContext {
    /// It is no JSON, or no object.
    #[error("the body is not a JSON object with a context: {0}")]
    NoJson(String),
    /// `context` is something else.
    #[error("context must be an object")]
    NoObject,
    /// It is bounded.
    #[error("{0} {1}")]
    TooMuch(&'static str, TooMuch),
    /// A name of more than 256 bytes.
    #[error("a name in the context has more than {NAME_BYTES_MAX} bytes")]
    LongName,
    /// `targetingKey` is something else.
    #[error("targetingKey must be a text")]
    BadTargetingKey,
    /// `clientIp` is something else.
    #[error("clientIp must be an IP address")]
    BadAddress,
}

impl Context {
    /// Reads the body of a call. `now_s` is the Unix time in seconds. A body without a context holds an empty one.
    ///
    /// # Errors
    /// [`BadContext`], the first.
    pub fn read(body: &[u8], now_s: u64) -> Result<Self, BadContext> {
        let mut form: Map<String, Json> =
            serde_json::from_slice(body).map_err(|error| BadContext::NoJson(error.to_string()))?;
        match form.remove("context") {
            Some(Json::Object(context)) => Self::of(context, now_s),
            None | Some(Json::Null) => Self::of(Map::new(), now_s),
            Some(_) => Err(BadContext::NoObject),
        }
    }

    /// What `context` says.
    ///
    /// # Errors
    /// [`BadContext`], the first.
    pub fn of(mut context: Map<String, Json>, now_s: u64) -> Result<Self, BadContext> {
        if has_long_name(&context) {
            return Err(BadContext::LongName);
        }
        let targeting_key = match context.remove("targetingKey") {
            None | Some(Json::Null) => None,
            Some(Json::String(key)) => Some(key.into()),
            Some(_) => return Err(BadContext::BadTargetingKey),
        };
        let client = match context.remove("clientIp") {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(text.trim().parse::<IpAddr>().map_err(|_| BadContext::BadAddress)?),
            Some(_) => return Err(BadContext::BadAddress),
        };
        Ok(Self {
            targeting_key,
            client: client.map(|client| client.to_canonical()),
            headers: take_object(&mut context, "headers")?,
            cookies: take_object(&mut context, "cookies")?,
            query: take_object(&mut context, "query")?,
            claims: take_object(&mut context, "claims")?,
            certificate: take_text(&mut context, "clientCertificate"),
            host: take_text(&mut context, "host").map(|host| without_port(&host).into()),
            attributes: Values::of(&context).map_err(|too_much| BadContext::TooMuch("the context", too_much))?,
            now_s,
            left: Looks::default(),
        })
    }

    /// Whether more was asked of it than one call may cost. What was not looked at is as if it were not there.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.left.0.get() == 0
    }

    /// Whether a value may be looked at.
    fn may_look(&self, value: &str) -> bool {
        let left = self.left.0.get();
        self.left.0.set(left.saturating_sub(1 + value.len() / 64));
        left > 0
    }

    /// Calls `test` with the values of an attribute until it passes one. What describes a request is one as well
    /// for flags that only applications ask for.
    fn any_attribute(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        let text = |text: &Option<Box<str>>, test: &mut dyn FnMut(&[u8]) -> bool| {
            text.as_ref().is_some_and(|text| test(text.as_bytes()))
        };
        let known = match name {
            "targetingKey" => text(&self.targeting_key, &mut test),
            "clientCertificate" => text(&self.certificate, &mut test),
            "host" => text(&self.host, &mut test),
            "clientIp" => self
                .client
                .is_some_and(|client| test(Key::of_address(client).as_bytes())),
            _ => false,
        };
        known
            || self
                .attributes
                .all(name)
                .take_while(|value| self.may_look(value))
                .any(|value| test(value.as_bytes()))
    }
}

impl Facts for Context {
    fn any(&self, origin: Origin, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        // As a request would bring them: fields without blanks around them, cookies without quotes.
        let mut any = |value: &str| {
            let value = value.as_bytes();
            test(match origin {
                Origin::Header => value.trim_ascii(),
                Origin::Cookie => unquoted(value),
                _ => value,
            })
        };
        let described = match origin {
            Origin::Header => {
                let those = self.headers.all_in_any_case(name);
                let plain = self.attributes.all_in_any_case(name);
                // Names in any case are found one by one.
                let passed = (self.headers.len() + self.attributes.len()) / 16;
                self.left.0.set(self.left.0.get().saturating_sub(passed));
                let values = first_there(those, plain);
                return values.take_while(|value| self.may_look(value)).any(&mut any);
            }
            Origin::Cookie => &self.cookies,
            Origin::Query => &self.query,
            Origin::Claim => &self.claims,
            Origin::ClientCertificate => return self.certificate.as_deref().is_some_and(&mut any),
            Origin::Attribute => return self.any_attribute(name, test),
        };
        let values = first_there(described.all(name), self.attributes.all(name));
        values.take_while(|value| self.may_look(value)).any(&mut any)
    }

    /// The place that the key has in a request comes first, then the targeting key, then a plain attribute of that
    /// name. A key that is an attribute by its own rule stands there alone.
    fn key(&self, source: &KeySource) -> Option<Key<'_>> {
        fn of(value: Option<&str>) -> Option<Key<'_>> {
            Key::of(value?.as_bytes())
        }
        let plain = |name: &str| self.attributes.all(name).next();
        let (described, plain) = match source {
            KeySource::Header(name) => (
                of(self.headers.all_in_any_case(name).next()),
                self.attributes.all_in_any_case(name).next(),
            ),
            KeySource::Cookie(name) => {
                let cookie = self.cookies.all(name).next();
                (
                    cookie.and_then(|cookie| Key::of(unquoted(cookie.as_bytes()))),
                    plain(name),
                )
            }
            KeySource::Query(name) => (of(self.query.all(name).next()), plain(name)),
            KeySource::Claim(name) => (of(self.claims.all(name).next()), plain(name)),
            KeySource::ClientCertificate => (of(self.certificate.as_deref()), None),
            KeySource::ClientIp => (self.client.map(Key::of_address), None),
            KeySource::Attribute(name) => return of(plain(name)),
            KeySource::TargetingKey => (None, None),
        };
        described
            .or_else(|| of(self.targeting_key.as_deref()))
            .or_else(|| of(plain))
    }

    fn client(&self) -> Option<IpAddr> {
        self.client
    }

    fn host(&self) -> &str {
        self.host.as_deref().unwrap_or_default()
    }

    fn now_s(&self) -> u64 {
        self.now_s
    }
}

/// `those` where there are any, else `others`.
fn first_there<'v>(
    those: impl Iterator<Item = &'v str>,
    others: impl Iterator<Item = &'v str>,
) -> impl Iterator<Item = &'v str> {
    let mut those = those.peekable();
    let others = those.peek().is_none().then_some(others);
    those.chain(others.into_iter().flatten())
}

/// The object `name`, which then is no attribute.
fn take_object(context: &mut Map<String, Json>, name: &'static str) -> Result<Values, BadContext> {
    match context.get(name) {
        Some(Json::Object(object)) => {
            let values = Values::of(object).map_err(|too_much| BadContext::TooMuch(name, too_much))?;
            context.remove(name);
            Ok(values)
        }
        _ => Ok(Values::default()),
    }
}

/// The text `name`, which then is no attribute.
fn take_text(context: &mut Map<String, Json>, name: &str) -> Option<Box<str>> {
    if !matches!(context.get(name), Some(Json::String(_))) {
        return None;
    }
    match context.remove(name) {
        Some(Json::String(text)) => Some(text.into()),
        _ => None,
    }
}

/// Names are repeated for each value below them, so that a long one would weigh more than its bytes.
fn has_long_name(object: &Map<String, Json>) -> bool {
    fn in_value(value: &Json) -> bool {
        match value {
            Json::Object(object) => has_long_name(object),
            Json::Array(items) => items.iter().any(in_value),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
        }
    }
    object
        .iter()
        .any(|(name, value)| name.len() > NAME_BYTES_MAX || in_value(value))
}

/// A host as the field of that name may have it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{BadContext, Context, without_port};
    use crate::route::{Facts, KeySource, Origin};
    use crate::values::{TooMuch, VALUES_MAX};

    fn context(context: Json) -> Context {
        Context::read(json!({ "context": context }).to_string().as_bytes(), 0).unwrap()
    }

    #[track_caller]
    fn values(of: Json, origin: Origin, name: &str, expected: &[&str]) {
        let mut seen = Vec::new();
        context(of.clone()).any(origin, name, |value| {
            seen.push(String::from_utf8(value.to_vec()).unwrap());
            false
        });
        assert_eq!(seen, expected, "{of} {origin:?} {name}");
    }

    #[test]
    fn one_call_may_look_at_so_much() {
        let many: Vec<String> = (0..VALUES_MAX - 1).map(|n| n.to_string()).collect();
        let context = context(json!({ "roles": many, "plan": "gold" }));
        let looks = || context.any(Origin::Attribute, "roles", |_| false);
        (0..50).for_each(|_| assert!(!looks()));
        assert!(!context.is_exhausted());
        assert!(!looks() && context.is_exhausted());
        assert!(!context.any(Origin::Attribute, "plan", |_| true));
    }

    #[test]
    fn fields_and_cookies_are_as_a_request_would_bring_them() {
        values(
            json!({"headers": {"X-Plan": " gold "}}),
            Origin::Header,
            "x-plan",
            &["gold"],
        );
        values(
            json!({"cookies": {"uid": "\"alice\""}}),
            Origin::Cookie,
            "uid",
            &["alice"],
        );
        let cookie = KeySource::Cookie("uid".to_owned());
        key(json!({"cookies": {"uid": "\"alice\""}}), &cookie, Some("alice"));
    }

    #[track_caller]
    fn key(of: Json, source: &KeySource, expected: Option<&str>) {
        let context = context(of.clone());
        let key = context.key(source);
        let key = key.map(|key| String::from_utf8(key.as_bytes().to_vec()).unwrap());
        assert_eq!(key.as_deref(), expected, "{of} {source:?}");
    }

    #[track_caller]
    fn refused(body: &str, expected: &BadContext) {
        assert_eq!(Context::read(body.as_bytes(), 0).as_ref(), Err(expected), "{body}");
    }

    #[test]
    fn what_describes_a_request_comes_before_plain_attributes() {
        let both = json!({"headers": {"X-Plan": "gold"}, "x-plan": "iron", "X-Other": 7});
        values(both.clone(), Origin::Header, "x-plan", &["gold"]);
        values(both.clone(), Origin::Header, "x-other", &["7"]);
        values(both.clone(), Origin::Attribute, "x-plan", &["iron"]);
        values(both.clone(), Origin::Attribute, "headers.X-Plan", &[]);
        values(both, Origin::Cookie, "x-plan", &["iron"]);
        values(json!({"cookies": {"a": "1"}}), Origin::Cookie, "a", &["1"]);
        values(json!({"query": {"a": ["1", "2"]}}), Origin::Query, "a", &["1", "2"]);
        values(
            json!({"claims": {"realm": {"role": "x"}}}),
            Origin::Claim,
            "realm.role",
            &["x"],
        );
        values(
            json!({"clientCertificate": "bot"}),
            Origin::ClientCertificate,
            "",
            &["bot"],
        );
        values(json!({"user": {"age": 41}}), Origin::Attribute, "user.age", &["41"]);
    }

    #[test]
    fn what_bears_a_known_name_but_is_of_another_kind_is_an_attribute() {
        values(json!({"headers": "none"}), Origin::Attribute, "headers", &["none"]);
        values(json!({"host": {"name": "a"}}), Origin::Attribute, "host.name", &["a"]);
    }

    #[test]
    fn a_flag_may_go_by_the_targeting_key_and_the_address_as_by_attributes() {
        let context = json!({"targetingKey": "alice", "clientIp": "::ffff:10.0.0.1", "host": "a.example:80"});
        values(context.clone(), Origin::Attribute, "targetingKey", &["alice"]);
        values(context.clone(), Origin::Attribute, "clientIp", &["10.0.0.1"]);
        values(context, Origin::Attribute, "host", &["a.example"]);
    }

    #[test]
    fn the_key_stands_where_a_request_has_it_else_it_is_the_targeting_key() {
        let header = KeySource::Header("x-user-id".to_owned());
        let both = json!({"headers": {"X-User-Id": " bob "}, "targetingKey": "alice", "x-user-id": "eve"});
        key(both, &header, Some("bob"));
        key(
            json!({"targetingKey": "alice", "x-user-id": "eve"}),
            &header,
            Some("alice"),
        );
        key(json!({"x-user-id": "eve"}), &header, Some("eve"));
        key(
            json!({"headers": {"x-user-id": ""}, "targetingKey": " "}),
            &header,
            None,
        );
        key(json!({}), &header, None);
        let address = &KeySource::ClientIp;
        key(
            json!({"clientIp": "2001:DB8::1", "targetingKey": "alice"}),
            address,
            Some("2001:db8::1"),
        );
        key(json!({"targetingKey": "alice"}), address, Some("alice"));
        let email = &KeySource::Attribute("email".to_owned());
        key(json!({"email": "a@b", "targetingKey": "alice"}), email, Some("a@b"));
        key(json!({"targetingKey": "alice"}), email, None);
        key(
            json!({"targetingKey": "alice"}),
            &KeySource::TargetingKey,
            Some("alice"),
        );
    }

    #[test]
    fn what_is_no_context_says_why() {
        refused(r#"{"context":[]}"#, &BadContext::NoObject);
        refused(r#"{"context":{"targetingKey":7}}"#, &BadContext::BadTargetingKey);
        refused(r#"{"context":{"clientIp":"here"}}"#, &BadContext::BadAddress);
        let long = "n".repeat(257);
        refused(
            &json!({"context": {"a": [{long: 1}]}}).to_string(),
            &BadContext::LongName,
        );
        let many = json!({"context": {"query": {"a": vec![1; VALUES_MAX + 1]}}});
        refused(&many.to_string(), &BadContext::TooMuch("query", TooMuch::Many));
        let deep = format!("{{\"context\":{}1{}}}", "{\"a\":".repeat(20), "}".repeat(20));
        refused(&deep, &BadContext::TooMuch("the context", TooMuch::Deep));
        for body in ["", "{", "[]", "7", "{\"context\":{}}x", &"[".repeat(60_000)] {
            let read = Context::read(body.as_bytes(), 0);
            assert!(matches!(read, Err(BadContext::NoJson(_))), "{body:.20}");
        }
        assert_eq!(Context::read(b"{}", 0), Ok(Context::default()));
        assert_eq!(
            Context::read(b"{\"context\":null,\"more\":1}", 0),
            Ok(Context::default())
        );
    }

    #[test]
    fn a_host_is_known_without_its_port() {
        let check = |host: &str, expected: &str| assert_eq!(without_port(host), expected);
        check("a.example", "a.example");
        check("a.example:8080", "a.example");
        check("[::1]:80", "[::1]");
        check("[::1]", "[::1]");
        check("::1", "::1");
    }
}
