//! flagd's targeting, evaluated as flagd does: JSON Logic as its Go library understands it (github.com/diegoholiveira/
//! jsonlogic, v3), with flagd's own operations. Of these only what an import knows, and written apart from it.

use std::cmp::Ordering;
use std::io::Cursor;

use semver::Version;
use serde_json::{Value as Json, json};

/// The variant that flagd answers for `flag` in `file`; `context` is the application's.
pub(crate) fn variant(file: &Json, flag: &str, context: &Json) -> String {
    let definition = &file["flags"][flag];
    let default = definition["defaultVariant"].as_str().expect("a default").to_owned();
    let targeting = &definition["targeting"];
    if targeting.is_null() {
        return default;
    }
    let evaluators = &file["$evaluators"];
    match (Flagd {
        evaluators,
        flag,
        context,
    })
    .value(targeting)
    {
        Json::Null => default,
        Json::String(name) => name,
        other => other.to_string(),
    }
}

struct Flagd<'f> {
    evaluators: &'f Json,
    flag: &'f str,
    context: &'f Json,
}

impl Flagd<'_> {
    fn value(&self, rule: &Json) -> Json {
        let Json::Object(members) = rule else {
            return match rule {
                Json::Array(items) => items.iter().map(|item| self.value(item)).collect(),
                plain => plain.clone(),
            };
        };
        let (name, given) = members.iter().next().expect("one operation");
        let given: Vec<Json> = match given {
            Json::Array(items) => items.clone(),
            one => vec![one.clone()],
        };
        let at = |index: usize| given.get(index).map_or(Json::Null, |rule| self.value(rule));
        let numbers = |from: usize| [number(&at(from)), number(&at(from + 1))];
        match name.as_str() {
            "$ref" => self.value(&self.evaluators[given[0].as_str().expect("a name")]),
            "var" => self.var(&given),
            "if" => self.case(&given),
            "and" => given.iter().all(|rule| self.holds(rule)).into(),
            "or" => given.iter().any(|rule| self.holds(rule)).into(),
            "!" => (!self.holds(&given[0])).into(),
            "!!" => self.holds(&given[0]).into(),
            "==" => equal(&at(0), &at(1)).into(),
            "!=" => (!equal(&at(0), &at(1))).into(),
            "<" | "<=" if given.len() == 3 => {
                let [low, value] = numbers(0);
                let high = number(&at(2));
                let is_below = |one: f64, other: f64| if name == "<" { one < other } else { one <= other };
                (is_below(low, value) && is_below(value, high)).into()
            }
            "<" => (numbers(0)[0] < numbers(0)[1]).into(),
            "<=" => (numbers(0)[0] <= numbers(0)[1]).into(),
            ">" => (numbers(0)[0] > numbers(0)[1]).into(),
            ">=" => (numbers(0)[0] >= numbers(0)[1]).into(),
            "in" => within(&at(0), &at(1)).into(),
            "starts_with" => both_texts(&at(0), &at(1), |text, start| text.starts_with(start)).into(),
            "ends_with" => both_texts(&at(0), &at(1), |text, end| text.ends_with(end)).into(),
            "sem_ver" => versions(&at(0), &at(1), &at(2)).unwrap_or(false).into(),
            "cat" => (0..given.len())
                .map(|index| text(&at(index)))
                .collect::<String>()
                .trim()
                .into(),
            "fractional" => self.fractional(&given),
            other => panic!("{other} is not for this test"),
        }
    }

    fn holds(&self, rule: &Json) -> bool {
        match self.value(rule) {
            Json::Null => false,
            Json::Bool(value) => value,
            Json::Number(number) => number.as_f64() != Some(0.0),
            Json::String(text) => !text.is_empty(),
            Json::Array(items) => !items.is_empty(),
            Json::Object(members) => !members.is_empty(),
        }
    }

    fn var(&self, given: &[Json]) -> Json {
        let name = given[0].as_str().expect("a name");
        if name == "$flagd.flagKey" {
            return self.flag.into();
        }
        let found = name.split('.').fold(self.context, |value, part| &value[part]);
        match found {
            Json::Null => given.get(1).cloned().unwrap_or(Json::Null),
            found => found.clone(),
        }
    }

    fn case(&self, given: &[Json]) -> Json {
        for case in given.chunks(2) {
            match case {
                [otherwise] => return self.value(otherwise),
                [condition, then] if self.holds(condition) => return self.value(then),
                _ => {}
            }
        }
        Json::Null
    }

    fn fractional(&self, given: &[Json]) -> Json {
        let by_targeting_key = || Some(format!("{}{}", self.flag, self.context["targetingKey"].as_str()?));
        let (key, weights) = match &given[0] {
            Json::Array(_) => (by_targeting_key(), given),
            key => match self.value(key) {
                Json::String(key) => (Some(key), &given[1..]),
                _ => (by_targeting_key(), &given[1..]),
            },
        };
        let Some(key) = key else {
            return Json::Null;
        };
        let weight = |pair: &Json| pair.get(1).map_or(1, |weight| weight.as_u64().expect("a whole number"));
        let sum: u64 = weights.iter().map(weight).sum();
        let hash = murmur3::murmur3_32(&mut Cursor::new(key), 0).expect("it is in memory");
        let bucket = (u64::from(hash) * sum) >> 32;
        let mut end = 0;
        for pair in weights {
            end += weight(pair);
            if bucket < end {
                return pair[0].clone();
            }
        }
        unreachable!("a bucket is below the sum")
    }
}

fn equal(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Null, other) | (other, Json::Null) => other.is_null(),
        (Json::String(one), Json::String(other)) => one == other,
        (one, other) => number(one) == number(other),
    }
}

/// As JavaScript has it; what is no number is none that equals another.
fn number(value: &Json) -> f64 {
    match value {
        Json::Null => 0.0,
        Json::Bool(value) => f64::from(u8::from(*value)),
        Json::Number(number) => number.as_f64().expect("it is finite"),
        Json::String(text) if text.is_empty() => 0.0,
        Json::String(text) => text.parse().unwrap_or(f64::NAN),
        Json::Array(_) | Json::Object(_) => f64::NAN,
    }
}

fn within(one: &Json, other: &Json) -> bool {
    match other {
        Json::String(text) => one.as_str().is_some_and(|part| text.contains(part)),
        Json::Array(items) => items.iter().any(|item| {
            let are_numbers = one.is_number() && item.is_number();
            if are_numbers {
                number(one) == number(item)
            } else {
                one == item
            }
        }),
        _ => false,
    }
}

fn both_texts(one: &Json, other: &Json, test: fn(&str, &str) -> bool) -> bool {
    one.as_str()
        .zip(other.as_str())
        .is_some_and(|(one, other)| test(one, other))
}

fn versions(one: &Json, sign: &Json, other: &Json) -> Option<bool> {
    let version = |value: &Json| {
        let text = value.as_str()?;
        Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
    };
    let (one, other) = (version(one)?, version(other)?);
    let order = one.cmp_precedence(&other);
    Some(match sign.as_str()? {
        "=" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        "^" => one.major == other.major,
        "~" => (one.major, one.minor) == (other.major, other.minor),
        _ => return None,
    })
}

fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The vectors that flagd publishes for its operations, in open-feature/flagd-testbed: `evaluator/gherkin/semver.feature`
/// at 089b510623f2c99dc391ee2c0df22dc65e7ebd9d and `fractional.feature` (see `tests/fractional.rs`).
#[test]
fn the_interpreter_agrees_with_published_vectors() {
    let check = |targeting: Json, context: Json, expected: &str| {
        let file = json!({"flags": {"fractional-flag": {"defaultVariant": "none", "targeting": targeting}}});
        assert_eq!(variant(&file, "fractional-flag", &context), expected, "{context}");
    };
    let suits = json!({"fractional": [
        {"cat": [{"var": "$flagd.flagKey"}, {"var": "user.name"}]},
        ["clubs", 25], ["diamonds", 25], ["hearts", 25], ["spades", 25]
    ]});
    for (name, suit) in [
        ("jack", "hearts"),
        ("queen", "spades"),
        ("ten", "clubs"),
        ("nine", "diamonds"),
    ] {
        check(suits.clone(), json!({"user": {"name": name}}), suit);
    }
    let version = |sign: &str, than: &str| json!({"if": [{"sem_ver": [{"var": "version"}, sign, than]}, "yes"]});
    for (sign, than, version_of, expected) in [
        ("=", "2.0.0", "2.0.0", "yes"),
        (">", "2.0.0", "2.1.0", "yes"),
        ("<", "2.0.0", "2.0.0-alpha", "yes"),
        (">", "2.0.0", "2.0.0.0", "none"),
        ("~", "3.0.0", "3.0.1", "yes"),
        ("~", "3.0.0", "3.1.0", "none"),
        ("^", "3.0.0", "3.1.0", "yes"),
        ("^", "3.0.0", "4.0.0", "none"),
        ("=", "v1.0.0", "1.0.0", "yes"),
        ("=", "1.0.0+build", "1.0.0+other", "yes"),
    ] {
        check(version(sign, than), json!({"version": version_of}), expected);
    }
}
