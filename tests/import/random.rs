//! Random targeting, the contexts that it is for, and things that only look like it.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn text(of: &'static [&'static str]) -> impl Strategy<Value = Json> {
    prop::sample::select(of).prop_map(Json::from)
}

const EMAILS: &[&str] = &["", "ann@example.com", "bob@example.org", "vip+eve@example.com"];
const PARTS: &[&str] = &["", "vip+", "@example", ".com", "bob@example.org"];
const PLANS: &[&str] = &["gold", "silver", "free"];
const VERSIONS: &[&str] = &["1.2.0", "1.2.9", "v1.3.0", "2.0.0-rc.1", "2.0.0", "junk", "1.2"];
const WANTED: &[&str] = &["1.2.0", "v1.3.0", "2.0.0-rc.1", "2.0.0+build"];
const USERS: &[&str] = &["", "u1", "u2", "u3", "u4"];

/// Attributes have the kinds that the rules below expect: where a rule compares a number and the application sends a
/// text, JSON Logic has ideas of its own.
pub(crate) fn context() -> impl Strategy<Value = Json> {
    let member = |name: &'static str, value: BoxedStrategy<Json>| {
        prop::option::of(value).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    (
        member("email", text(EMAILS).boxed()),
        member("plan", text(PLANS).boxed()),
        member("version", text(VERSIONS).boxed()),
        member(
            "age",
            prop_oneof![numbers().prop_map(Json::from), Just(json!(17.5)), Just(json!(18.0))].boxed(),
        ),
        member("beta", any::<bool>().prop_map(Json::from).boxed()),
        member("user", text(USERS).prop_map(|id| json!({ "id": id })).boxed()),
        member("targetingKey", "[a-z]{1,4}".prop_map(Json::from).boxed()),
    )
        .prop_map(|(a, b, c, d, e, f, g)| {
            [a, b, c, d, e, f, g]
                .into_iter()
                .flatten()
                .collect::<serde_json::Map<_, _>>()
        })
        .prop_map(Json::from)
}

/// Few, so that bounds are met.
fn numbers() -> impl Strategy<Value = i32> {
    prop::sample::select(&[-1, 0, 16, 17, 18, 19][..])
}

fn var(name: &'static str) -> impl Strategy<Value = Json> {
    Just(json!({ "var": name }))
}

fn leaf() -> impl Strategy<Value = Json> {
    let operation = |name: &str, given: Json| json!({ name: given });
    let sign = || prop::sample::select(&["<", "<=", ">", ">="][..]);
    let plan = || {
        prop_oneof![
            var("plan"),
            text(PLANS).prop_map(|default| json!({"var": ["plan", default]}))
        ]
    };
    prop_oneof![
        (sign(), numbers()).prop_map(move |(sign, than)| operation(sign, json!([{"var": "age"}, than]))),
        (sign(), numbers()).prop_map(move |(sign, than)| operation(sign, json!([than, {"var": ["age", 18]}]))),
        (numbers(), numbers()).prop_map(|(low, high)| json!({"<=": [low, {"var": "age"}, high]})),
        numbers().prop_map(|age| json!({"==": [{"var": "age"}, age]})),
        prop::collection::vec(numbers(), 0..4).prop_map(|ages| json!({"in": [{"var": "age"}, ages]})),
        (plan(), text(PLANS)).prop_map(|(plan, wanted)| json!({"==": [wanted, plan]})),
        (plan(), text(PLANS)).prop_map(|(plan, wanted)| json!({"!=": [plan, wanted]})),
        (plan(), prop::collection::vec(text(PLANS), 0..3)).prop_map(|(plan, plans)| json!({"in": [plan, plans]})),
        text(PARTS).prop_map(|part| json!({"in": [part, {"var": "email"}]})),
        text(PARTS).prop_map(|part| json!({"starts_with": [{"var": "email"}, part]})),
        text(PARTS).prop_map(|part| json!({"ends_with": [{"var": "email"}, part]})),
        (
            prop::sample::select(&["=", "!=", "<", "<=", ">", ">=", "^", "~"][..]),
            text(WANTED)
        )
            .prop_map(|(sign, wanted)| json!({"sem_ver": [{"var": "version"}, sign, wanted]})),
        prop_oneof![var("beta"), var("age"), var("email")],
        prop_oneof![var("beta"), var("age"), var("email")].prop_map(|value| json!({"!!": [value]})),
        any::<bool>().prop_map(|wanted| json!({"==": [{"var": "beta"}, wanted]})),
        Just(json!({"==": [{"var": "user.id"}, null]})),
        text(USERS).prop_map(|user| json!({"==": [{"var": "user.id"}, user]})),
        "[a-z]{1,2}".prop_map(|key| json!({"in": [{"var": "targetingKey"}, [key, "x"]]})),
        "[a-z]".prop_map(|key| json!({"starts_with": [{"var": "targetingKey"}, key]})),
        Just(json!({"$ref": "staff"})),
        any::<bool>().prop_map(Json::from),
    ]
}

fn condition() -> impl Strategy<Value = Json> {
    leaf().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "and": all })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|any| json!({ "or": any })),
            inner.prop_map(|not| json!({ "!": not })),
        ]
    })
}

/// What a flag hashes is the same everywhere in it; sums of weights divide a million.
pub(crate) fn targeting() -> impl Strategy<Value = Json> {
    let key = prop_oneof![
        Just(None),
        Just(Some(json!({"cat": [{"var": "$flagd.flagKey"}, {"var": "user.id"}]}))),
        Just(Some(
            json!({"cat": [{"var": "$flagd.flagKey"}, "salt", 7, {"var": "user.id"}]})
        )),
        Just(Some(
            json!({"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]})
        )),
        Just(Some(json!({"cat": ["flag-of-old", {"var": "user.id"}]}))),
    ];
    key.prop_flat_map(|key| {
        let weights = prop_oneof![
            Just(json!([["b"], ["a"], ["c"], ["d"]])),
            Just(json!([["b", 5], ["a", 95]])),
            Just(json!([["b", 0], ["a", 20], ["d", 30]])),
            Just(json!([["a", 3_000_000], ["c", 1_000_000]])),
            Just(json!([["c", 1]])),
        ];
        let fractional = weights.prop_map(move |weights| {
            let given = key.iter().chain(weights.as_array().expect("a list"));
            json!({"fractional": given.collect::<Vec<_>>()})
        });
        let outcome = prop_oneof![
            text(&["a", "b", "c", "d"]),
            Just(Json::Null),
            fractional.clone(),
            fractional
        ];
        outcome.prop_recursive(3, 12, 4, |inner| {
            let cases = prop::collection::vec((condition(), inner.clone()), 1..3);
            (cases, prop::option::of(inner)).prop_map(|(cases, otherwise)| {
                let cases = cases.into_iter().flat_map(|(condition, then)| [condition, then]);
                json!({"if": cases.chain(otherwise).collect::<Vec<_>>()})
            })
        })
    })
}

/// JSON that is targeting here and there.
pub(crate) fn any_logic() -> impl Strategy<Value = Json> {
    let plain = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        text(&[
            "a",
            "b",
            "$flagd.flagKey",
            "$flagd.timestamp",
            "targetingKey",
            "user.id",
            "1.2.0",
            "~",
            "one",
            ""
        ]),
        ".{0,6}".prop_map(Json::from),
        Just(json!({"var": "a"})),
        Just(json!({"var": "$flagd.timestamp"})),
        Just(json!({"$ref": "one"})),
        Just(json!(["a", 1])),
        Just(json!(["b", 1])),
    ];
    let operations = &[
        "if",
        "?:",
        "and",
        "or",
        "!",
        "!!",
        "==",
        "!=",
        "===",
        "!==",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "var",
        "$ref",
        "cat",
        "starts_with",
        "ends_with",
        "sem_ver",
        "fractional",
        "fractionalEvaluation",
        "some",
        "+",
        "missing",
    ][..];
    plain.prop_recursive(5, 40, 4, move |inner| {
        let given = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            4 => (prop::sample::select(operations), given.clone()).prop_map(|(name, given)| json!({ name: given })),
            1 => (prop::sample::select(operations), inner.clone()).prop_map(|(name, given)| json!({ name: given })),
            1 => given.prop_map(Json::from),
            1 => prop::collection::btree_map(".{0,3}", inner, 0..3).prop_map(|object| json!(object)),
        ]
    })
}

/// What a variant may mean, and some things that none may.
pub(crate) fn any_value() -> impl Strategy<Value = Json> {
    prop_oneof![
        9 => ".{0,12}".prop_map(Json::from),
        6 => any_logic().prop_map(|value| json!({ "of $ this": value })),
        1 => any_logic(),
    ]
}
