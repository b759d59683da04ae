//! Scalars without a unit: truth values, whole numbers, texts, names, fields of a head.

use std::ops::RangeInclusive;

use serde_json::{Value as Json, json};

use super::read::Scalar;
use super::units::{Percent, decimal};
use crate::head::Method;
use crate::name::Name;
use crate::people::is_role;
use crate::share::{MILLION, WEIGHT_MAX};

impl Scalar for bool {
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("is neither true nor false".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count<const MIN: u32, const MAX: u32>(pub(super) u32);

/// A relative weight.
pub(super) type Weight = Count<0, WEIGHT_MAX>;

impl<const MIN: u32, const MAX: u32> Scalar for Count<MIN, MAX> {
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u32>().ok().filter(|n| (MIN..=MAX).contains(n));
        match number {
            Some(n) if is_whole && (text == "0" || !text.starts_with('0')) => Ok(Self(n)),
            _ if is_whole && number.is_none() => Err(format!("is out of range; give {MIN} to {MAX}")),
            _ => Err(format!("is no whole number; give {MIN} to {MAX}")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A number from `MIN` to `MAX` with at most six decimals: `2` or `1.5`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number<const MIN: u32, const MAX: u32>(pub(super) f64);

impl<const MIN: u32, const MAX: u32> Scalar for Number<MIN, MAX> {
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        const { assert!(MAX <= FLOAT_WHOLE_MAX) };
        match millionths(text) {
            Some(n) if (micro(MIN)..=micro(MAX)).contains(&n) => Ok(Self(from_millionths(n))),
            Some(_) => Err(format!("is out of range; give {MIN} to {MAX}")),
            None => Err(format!(
                "is no number; give {MIN} to {MAX} with at most six decimals, such as 1.5"
            )),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": MIN, "maximum": MAX })
    }
}

/// How many times: above 1, at most 100; `None` for the word `off`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Factor(pub(super) Option<f64>);

impl Scalar for Factor {
    fn parse(text: &str) -> Result<Self, String> {
        match millionths(text) {
            _ if text == "off" => Ok(Self(None)),
            Some(n) if n > micro(1) && n <= micro(100) => Ok(Self(Some(from_millionths(n)))),
            Some(_) => Err("is out of range; give a number above 1 and at most 100, or off".into()),
            None => Err("is neither a number with at most six decimals, such as 1.25, nor off".into()),
        }
    }

    fn schema() -> Json {
        json!({
            "type": ["number", "string"],
            "exclusiveMinimum": 1,
            "maximum": 100,
            "pattern": r"^(off|[0-9]+(\.[0-9]+)?)$",
        })
    }
}

/// So many, or a share of the whole: `2` or `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    /// So many.
    Count(u32),
    /// `0..=1_000_000` parts per million of the whole.
    Share(u32),
}

impl Scalar for Portion {
    fn parse(text: &str) -> Result<Self, String> {
        if text.ends_with('%') {
            return Percent::parse(text).map(|share| Self::Share(share.ppm));
        }
        match Count::<0, 1_000_000>::parse(text) {
            Ok(count) => Ok(Self::Count(count.0)),
            Err(_) => Err("is neither a number, such as 1, nor a share, such as 25%".into()),
        }
    }

    fn schema() -> Json {
        json!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": 1_000_000,
            "pattern": r"^([0-9]+|[0-9]+(\.[0-9]+)?%)$",
        })
    }
}

/// The name of a role that people have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Role(pub(super) String);

impl Scalar for Role {
    fn parse(text: &str) -> Result<Self, String> {
        if is_role(text) {
            Ok(Self(text.into()))
        } else {
            Err("is no role; use 1 to 63 letters, digits, '_' or '-', beginning with a letter, such as sre".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,62}$" })
    }
}

/// One status, or a class of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statuses(pub(super) RangeInclusive<u16>);

impl Scalar for Statuses {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "4xx" => Ok(Self(400..=499)),
            // What stands above 599 is no status of HTTP, and the server's fault.
            "5xx" => Ok(Self(500..=999)),
            _ if text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()) => match text.parse() {
                Ok(status @ 100..=599) => Ok(Self(status..=status)),
                _ => Err("is no status; give 100 to 599".into()),
            },
            _ => Err("is no status; write a number such as 404, or one of the classes 4xx and 5xx".into()),
        }
    }

    fn schema() -> Json {
        json!({
            "type": ["integer", "string"],
            "minimum": 100,
            "maximum": 599,
            "pattern": "^([45]xx|[1-5][0-9][0-9])$",
        })
    }
}

/// Any text, as written: `true` and `1.10` need no quotes.
impl Scalar for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// A text of 1 to 4,096 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl Scalar for Text {
    fn parse(text: &str) -> Result<Self, String> {
        match text.len() {
            0 => Err("is empty".into()),
            1..=4096 => Ok(Self(text.into())),
            long => Err(format!("has {long} bytes; give at most 4096")),
        }
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 4096 })
    }
}

impl Scalar for Name {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|_| {
            "is not a name; use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit".into()
        })
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" })
    }
}

/// The name of a header field, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderName(pub(super) String);

impl Scalar for HeaderName {
    fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("host") {
            Err("is matched by `hosts`; write it there".into())
        } else if is_token(text) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("is no header name; use letters, digits and '-', such as x-user-id".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": TOKEN })
    }
}

impl Scalar for Method {
    fn parse(text: &str) -> Result<Self, String> {
        let capitals = Self::parse(&text.to_ascii_uppercase());
        match Self::parse(text) {
            _ if !is_token(text) => Err("is no method; write it as in a request, such as GET".into()),
            Self::Other(_) if !matches!(capitals, Self::Other(_)) => {
                Err(format!("is not as on the wire; write {}", capitals.as_str()))
            }
            method => Ok(method),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": TOKEN })
    }
}

/// The only version there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version;

impl Scalar for Version {
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "1" => Ok(Self),
            _ => Err("is no version of this format that is known here; write `version: 1`".into()),
        }
    }

    fn schema() -> Json {
        json!({ "const": 1 })
    }
}

/// `text` in millionths; `None` for what is no decimal number, or finer.
fn millionths(text: &str) -> Option<u128> {
    decimal(text, u128::from(MILLION))
}

fn micro(whole: u32) -> u128 {
    u128::from(whole) * u128::from(MILLION)
}

/// As near as a float comes to `n` millionths, of at most [`FLOAT_WHOLE_MAX`] wholes.
fn from_millionths(n: u128) -> f64 {
    f64::from(u32::try_from(n).expect("the range is checked before")) / f64::from(MILLION)
}

/// So many wholes have millionths that fit into 32 bits.
const FLOAT_WHOLE_MAX: u32 = 4_000;

/// RFC 9110 §5.6.2, at most 256 bytes.
pub(super) fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(super) const TOKEN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$";

#[cfg(test)]
mod tests {
    use super::{Count, Factor, HeaderName, Number, Portion, Role, Scalar, Statuses, Text, Weight};
    use crate::head::Method;
    use std::fmt::Debug;

    fn check<T: Scalar + Debug + PartialEq>(text: &str, expected: Result<T, &str>) {
        match (<T as Scalar>::parse(text), expected) {
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{text}: {got}"),
            (got, expected) => assert_eq!(got.ok(), expected.ok(), "{text}"),
        }
    }

    #[test]
    fn weights_are_whole_numbers_up_to_a_million() {
        check::<Weight>("0", Ok(Count(0)));
        check::<Weight>("1000000", Ok(Count(1_000_000)));
        check::<Weight>("1000001", Err("out of range"));
        check::<Weight>("99999999999999999999", Err("out of range"));
        check::<Weight>("-1", Err("out of range; give 0 to 1000000"));
        check::<Weight>("0.5", Err("no whole number"));
        check::<Weight>("1e3", Err("no whole number"));
        check::<Weight>("+1", Err("no whole number"));
        check::<Weight>("007", Err("no whole number"));
        check::<Weight>("0x10", Err("no whole number"));
        check::<Weight>("", Err("no whole number"));
    }

    #[test]
    fn numbers_may_have_decimals() {
        check::<Number<1, 100>>("1.5", Ok(Number(1.5)));
        check::<Number<1, 100>>("1", Ok(Number(1.0)));
        check::<Number<1, 100>>("100", Ok(Number(100.0)));
        check::<Number<1, 100>>("1.000001", Ok(Number(1.000_001)));
        check::<Number<1, 100>>("100.000001", Err("out of range; give 1 to 100"));
        check::<Number<1, 100>>("0.99", Err("out of range"));
        check::<Number<1, 100>>("1.0000001", Err("no number"));
        check::<Number<1, 100>>("-1", Err("no number"));
        check::<Number<1, 100>>("1e1", Err("no number"));
        check::<Number<1, 100>>("150%", Err("no number"));
        check::<Number<1, 100>>("", Err("no number"));
    }

    #[test]
    fn factors_are_above_one_or_off() {
        check("1.25", Ok(Factor(Some(1.25))));
        check("100", Ok(Factor(Some(100.0))));
        check("off", Ok(Factor(None)));
        check::<Factor>("1", Err("above 1"));
        check::<Factor>("100.1", Err("at most 100"));
        check::<Factor>("none", Err("nor off"));
    }

    #[test]
    fn portions_are_counts_or_shares() {
        check("2", Ok(Portion::Count(2)));
        check("0", Ok(Portion::Count(0)));
        check("25%", Ok(Portion::Share(250_000)));
        check::<Portion>("101%", Err("above 100%"));
        check::<Portion>("1.5", Err("neither a number"));
        check::<Portion>("", Err("neither a number"));
    }

    #[test]
    fn roles_are_words() {
        check("releaseManager", Ok(Role("releaseManager".into())));
        check("sre-2", Ok(Role("sre-2".into())));
        check::<Role>("", Err("no role"));
        check::<Role>("2nd", Err("beginning with a letter"));
        check::<Role>("a b", Err("no role"));
        check::<Role>(&"x".repeat(64), Err("1 to 63"));
    }

    #[test]
    fn statuses_are_numbers_or_classes() {
        check("404", Ok(Statuses(404..=404)));
        check("100", Ok(Statuses(100..=100)));
        check("599", Ok(Statuses(599..=599)));
        check("4xx", Ok(Statuses(400..=499)));
        check("5xx", Ok(Statuses(500..=999)));
        check::<Statuses>("600", Err("give 100 to 599"));
        check::<Statuses>("099", Err("give 100 to 599"));
        check::<Statuses>("0404", Err("such as 404"));
        check::<Statuses>("2xx", Err("classes 4xx and 5xx"));
        check::<Statuses>("+40", Err("such as 404"));
    }

    #[test]
    fn truth_has_two_words() {
        check("true", Ok(true));
        check::<bool>("yes", Err("neither true nor false"));
    }

    #[test]
    fn texts_are_bounded() {
        check("v1", Ok(Text("v1".into())));
        check::<Text>("", Err("is empty"));
        check::<Text>(&"x".repeat(4097), Err("4097 bytes"));
    }

    #[test]
    fn methods_and_headers_are_tokens() {
        check("GET", Ok(Method::Get));
        check("PURGE", Ok(Method::Other("PURGE".into())));
        check::<Method>("get", Err("write GET"));
        check::<Method>("G T", Err("no method"));
        check("X-User-Id", Ok(HeaderName("x-user-id".into())));
        check::<HeaderName>("Host", Err("`hosts`"));
        check::<HeaderName>("x user", Err("no header name"));
        check::<HeaderName>("x:y", Err("no header name"));
    }
}
