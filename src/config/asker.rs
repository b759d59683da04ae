//! Scalars about who asks: cookies, keys, numbers and versions to compare with, secrets.

use semver::Version;
use serde_json::{Value as Json, json};

use super::outside::HeaderText;
use super::read::Scalar;
use super::scalar::is_token;
use crate::route::{Comparison, FieldTest, KEY_BYTES_MAX, VersionPart};

/// The name of a cookie (RFC 6265 §4.1.1), as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CookieName(pub(super) String);

impl Scalar for CookieName {
    fn parse(text: &str) -> Result<Self, String> {
        if is_token(text) {
            Ok(Self(text.into()))
        } else {
            Err("is no name of a cookie; use letters, digits, '-' and '_', such as uid".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "pattern": super::scalar::TOKEN })
    }
}

/// A key of a user, without blanks around it: what a set of keys can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserKey(pub(super) String);

impl Scalar for UserKey {
    fn parse(text: &str) -> Result<Self, String> {
        let key = text.trim_ascii();
        match key.len() {
            0 => Err("is empty".into()),
            _ if key.contains('\n') => Err("has a line break, which no key has".into()),
            _ if key.starts_with('#') => Err("begins with `#`, as comments in files of keys do".into()),
            1..=KEY_BYTES_MAX => Ok(Self(key.into())),
            long => Err(format!("has {long} bytes; give at most {KEY_BYTES_MAX}")),
        }
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "pattern": r"^\s*[^#\s]", "maxLength": KEY_BYTES_MAX })
    }
}

/// A number to compare with, of either sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound(pub(super) f64);

impl Scalar for Bound {
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        match text.parse::<f64>() {
            Ok(number) if is_plain && number.is_finite() => Ok(Self(number)),
            _ => Err("is no number; write one such as 18 or -0.5".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number" })
    }
}

/// What a version must be: an operator and a version of Semantic Versioning 2.0.0; without an operator that version.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct VersionTest(pub(super) FieldTest);

impl Scalar for VersionTest {
    fn parse(text: &str) -> Result<Self, String> {
        let (make, rest) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)))
            .unwrap_or((Operator::Compare(Comparison::Equal), text));
        let rest = rest.trim_ascii();
        let version = Version::parse(rest.strip_prefix(['v', 'V']).unwrap_or(rest)).map_err(|_| {
            "is no test of a version; write an operator (=, !=, <, <=, >, >=, ^ or ~) and three numbers, such as >=1.2.0"
        })?;
        Ok(Self(match make {
            Operator::Compare(comparison) => FieldTest::Version(comparison, version),
            Operator::Like(part) => FieldTest::VersionLike(part, version),
        }))
    }

    fn schema() -> Json {
        json!({
            "type": "string",
            "pattern": r"^(=|!=|<|<=|>|>=|\^|~)? *[vV]?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$",
            "examples": [">=1.2.0", "^2.0.0"],
        })
    }
}

#[derive(Clone, Copy)]
enum Operator {
    Compare(Comparison),
    Like(VersionPart),
}

/// The longer ones first, where one begins with another.
const OPERATORS: [(&str, Operator); 8] = [
    ("!=", Operator::Compare(Comparison::NotEqual)),
    ("<=", Operator::Compare(Comparison::LessOrEqual)),
    (">=", Operator::Compare(Comparison::GreaterOrEqual)),
    ("<", Operator::Compare(Comparison::Less)),
    (">", Operator::Compare(Comparison::Greater)),
    ("=", Operator::Compare(Comparison::Equal)),
    ("^", Operator::Like(VersionPart::Major)),
    ("~", Operator::Like(VersionPart::Minor)),
];

/// A secret that signs: at least 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SigningSecret(pub(super) String);

impl Scalar for SigningSecret {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        match text.len() {
            0..32 => Err("has less than 32 bytes; make one with `openssl rand -hex 32`".into()),
            32..=4096 => Ok(Self(text.into())),
            long => Err(format!("has {long} bytes; give at most 4096")),
        }
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "minLength": 32, "maxLength": 4096 })
    }
}

/// A secret that a request brings in a header: 16 bytes at least, which nobody guesses.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Password(pub(super) String);

impl Scalar for Password {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let text = HeaderText::parse(text)?.0;
        if text.len() < 16 {
            return Err("has less than 16 bytes; make one with `openssl rand -hex 16`".into());
        }
        Ok(Self(text))
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "minLength": 16, "maxLength": 4096 })
    }
}

impl std::fmt::Debug for SigningSecret {
    /// It is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret")
    }
}

impl std::fmt::Debug for Password {
    /// It is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, CookieName, Password, SigningSecret, UserKey, VersionTest};
    use crate::config::fixture::check;
    use crate::config::read::Scalar;

    #[test]
    fn cookies_are_tokens_in_their_case() {
        check("Uid_2", Ok(CookieName("Uid_2".into())));
        check::<CookieName>("a b", Err("no name of a cookie"));
        check::<CookieName>("a=b", Err("no name of a cookie"));
        check::<CookieName>("", Err("no name of a cookie"));
    }

    #[test]
    fn keys_are_what_a_set_can_hold() {
        check(" alice ", Ok(UserKey("alice".into())));
        check::<UserKey>("  ", Err("is empty"));
        check::<UserKey>("#1", Err("begins with `#`"));
        check::<UserKey>("a\nb", Err("line break"));
        check::<UserKey>(&"x".repeat(1025), Err("at most 1024"));
    }

    #[test]
    fn bounds_are_numbers_of_either_sign() {
        check("-0.5", Ok(Bound(-0.5)));
        check("18", Ok(Bound(18.0)));
        check("1e3", Ok(Bound(1000.0)));
        check::<Bound>("inf", Err("no number"));
        check::<Bound>("1e999", Err("no number"));
        check::<Bound>("18 years", Err("no number"));
    }

    #[test]
    fn versions_are_tested_by_an_operator() {
        let passes = |test: &str, version: &str| VersionTest::parse(test).unwrap().0.passes(version.as_bytes());
        for (test, version, expected) in [
            (">=1.2.0", "1.2.0", true),
            (">= 1.2.0", "1.1.9", false),
            ("<1.2.0", "1.2.0-rc.1", true),
            ("1.2.0", "v1.2.0", true),
            ("=v1.2.0", "1.2.1", false),
            ("!=1.2.0", "1.2.1", true),
            ("<=1.2.0", "1.2.0", true),
            (">1.2.0", "1.2.0", false),
            ("^1.2.0", "1.0.0", true),
            ("^1.2.0", "2.2.0", false),
            ("~1.2.0", "1.2.9", true),
            ("~1.2.0", "1.3.0", false),
        ] {
            assert_eq!(passes(test, version), expected, "{test} {version}");
        }
        check::<VersionTest>(">=1.2", Err("three numbers"));
        check::<VersionTest>("=>1.2.0", Err("no test of a version"));
        check::<VersionTest>("", Err("no test of a version"));
    }

    #[test]
    fn secrets_are_long_and_do_not_show() {
        check::<SigningSecret>(&"x".repeat(31), Err("32 bytes"));
        check::<Password>(&"x".repeat(15), Err("16 bytes"));
        check::<Password>("0123456789abcdef\n", Err("control character"));
        let secret = "0123456789abcdef0123456789abcdef";
        assert_eq!(format!("{:?}", SigningSecret::parse(secret)), "Ok(SigningSecret)");
        assert_eq!(format!("{:?}", Password::parse(secret)), "Ok(Password)");
    }
}
