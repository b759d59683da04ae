//! flagd's files: what they are converted to, and what is said of the rest.
//!
//! `UPDATE_EXPECTED=1 cargo test --test import` writes the answers anew; read what changed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serin::import::{self, BadFile};

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

#[test]
fn every_file_becomes_what_stands_beside_it() {
    let mut wrong = String::new();
    for path in files() {
        let converted = import::from_flagd(&fs::read(&path).expect("it can be read")).expect("it is flagd's");
        let gaps: String = converted.gaps.iter().map(|gap| format!("{gap}\n")).collect();
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
