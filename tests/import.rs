//! flagd's files: what they are converted to, and what is said of the rest.
//!
//! `UPDATE_EXPECTED=1 cargo test --test import` writes the answers anew; read what changed.

#[path = "import/interpreter.rs"]
mod interpreter;
#[path = "import/random.rs"]
mod random;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use random::{any_logic, any_value, context, targeting};
use serde_json::{Value as Json, json};
use serin::compile::{Book, InForce, compile};
use serin::config::{self, Spec};
use serin::import::{self, BadFile};
use serin::ofrep::Context;
use serin::route::Table;

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(files.len() >= 2);
    files
}

fn compare(path: &Path, got: &str, wrong: &mut String) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(path, got).expect("it can be written");
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected != got {
        write!(wrong, "\n{}\nexpected:\n{expected}\ngot:\n{got}", path.display()).expect("writing to a text");
    }
}

/// A whole configuration with these flags.
fn load(flags: &str) -> Spec {
    let text = format!("{REST}{flags}");
    config::load(&text, Path::new("flags.yaml"), &|_| None).unwrap_or_else(|problems| panic!("{problems}\n{flags}"))
}

const REST: &str = "
version: 1
listeners: [{ name: public, address: 127.0.0.1:0 }]
backends: [{ name: shop, endpoints: ['127.0.0.1:1'] }]
routes: [{ name: all, split: { variants: [{ name: stable, backend: shop, weight: 1 }] } }]
";

fn table(spec: Spec) -> Table {
    let of_routes = spec.routes.iter().map(|route| {
        let weights = route.variants.iter().map(|variant| variant.weight);
        (weights.collect(), route.rules.schedule)
    });
    let of_flags = spec.flags.iter().map(|flag| {
        let weights = flag.variants.iter().map(|variant| variant.weight);
        (weights.collect(), flag.rules.schedule)
    });
    let in_force: Vec<InForce> = of_routes
        .chain(of_flags)
        .map(|(weights, schedule)| InForce {
            weights,
            epoch: 0,
            trial: None,
            enabled: schedule.enabled,
            aborts: 0,
        })
        .collect();
    compile(&Arc::new(spec), &in_force, 1, &mut Book::new(1), None)
}

/// The variant that Serin answers for the first flag without a route.
fn decided(table: &Table, context: &Json) -> String {
    let context = Context::of(context.as_object().expect("an object").clone(), 0).expect("a context");
    let flag = &table.flags[0];
    let decision = table.decide(flag, &context, 1 << 40);
    assert!(!decision.by_chance, "{context:?}");
    flag.names[decision.variant].to_string()
}

#[test]
fn every_file_becomes_what_stands_beside_it() {
    let mut wrong = String::new();
    for path in files() {
        let converted = import::from_flagd(&fs::read(&path).expect("it can be read")).expect("it is flagd's");
        let gaps: String = converted.gaps.iter().map(|gap| format!("{gap}\n")).collect();
        assert_eq!(load(&converted.flags).flags.len(), converted.count);
        compare(&path.with_extension("yaml"), &converted.flags, &mut wrong);
        compare(&path.with_extension("gaps"), &gaps, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_no_file_of_flagd_says_where() {
    let check = |text: &str, expected: &str| {
        let bad = import::from_flagd(text.as_bytes()).unwrap_err();
        assert!(bad.to_string().contains(expected), "{text:.40}: {bad}");
    };
    check("", "line 1 column 0");
    check("{\n  \"flags\": {,}\n}", "line 2 column 13");
    check("{}", "has no `flags`");
    check("[]", "has no `flags`");
    check("{\"flags\": [{\"state\": \"ENABLED\"}]}", "has no `flags`");
    check(
        "{\"flags\": {\"a\": {}, \"a\": {}}}",
        "the member \"a\" is written twice; keep one at line 1 column 23",
    );
    check(&"[".repeat(100_000), "recursion limit exceeded at line 1 column 128");
    let large = vec![b' '; import::FILE_BYTES_MAX + 1];
    assert!(matches!(import::from_flagd(&large), Err(BadFile::Large)));
    assert!(import::from_flagd(b"\xef\xbb\xbf{\"flags\": {}}").is_ok());
    assert!(import::from_flagd(b"{\"flags\": \"\xff\"}").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn serin_decides_as_flagd_does(targeting in targeting(), contexts in prop::collection::vec(context(), 20)) {
        let file = json!({
            "flags": {"flag-of": {
                "state": "ENABLED",
                "variants": {"a": "A", "b": "B", "c": "C", "d": "D"},
                "defaultVariant": "d",
                "targeting": targeting,
            }},
            "$evaluators": {"staff": {"ends_with": [{"var": "email"}, ".com"]}},
        });
        let converted = import::from_flagd(file.to_string().as_bytes()).expect("it is flagd's");
        if converted.count == 0 {
            let is_long = |why: &str| why.starts_with("comes to more than 100 cohorts");
            prop_assert!(converted.gaps.iter().all(|gap| is_long(&gap.why)), "{:?}", converted.gaps);
            return Ok(());
        }
        prop_assert_eq!(&converted.gaps, &[]);
        let table = table(load(&converted.flags));
        for context in contexts {
            let expected = interpreter::variant(&file, "flag-of", &context);
            prop_assert_eq!(decided(&table, &context), expected, "{} of {}\n{}", context, file, converted.flags);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing panics, and what comes out is a configuration or says why it is none.
    #[test]
    fn whatever_stands_in_a_file_is_converted_or_named(
        targeting in prop_oneof![3 => targeting(), 1 => any_logic()],
        shared in any_logic(),
        values in prop::collection::btree_map("[e-z]{1,2}", any_value(), 0..3),
        default in prop::sample::select(&[Some("a"), Some("a"), Some("b"), Some("zzz"), None][..]),
        key in prop_oneof![Just("x".to_owned()), ".{0,3}"],
    ) {
        let mut values = values;
        let of = |text: &str| match values.values().next() {
            Some(Json::Object(_)) => json!({ "c": [1.5, null, text] }),
            _ => text.into(),
        };
        let plain = ["A", "$${B} \u{7} \u{85}", "", "d"].map(of);
        values.extend(["a", "b", "c", "d"].map(str::to_owned).into_iter().zip(plain));
        let flag = json!({"state": "ENABLED", "variants": values, "defaultVariant": default, "targeting": targeting});
        let file = json!({"flags": {key: flag}, "$evaluators": {"one": shared, "staff": {"!": {"var": "beta"}}}});
        let converted = import::from_flagd(file.to_string().as_bytes()).expect("it is flagd's");
        prop_assert!(converted.gaps.iter().all(|gap| !gap.to_string().contains('\n')));
        prop_assert_eq!(load(&converted.flags).flags.len(), converted.count);
        prop_assert!(converted.count == 1 || !converted.gaps.is_empty());
    }
}
