//! Who imports whom: the arrows of the house hold, and none turns back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Free to all: they import nobody.
const FREE: &[&str] = &["name", "share", "head", "path", "proxy_protocol", "values"];

/// A module, and those that it may import besides itself and the free ones.
const ARROWS: &[(&str, &[&str])] = &[
    ("h1", &[]),
    ("measure", &[]),
    ("audit", &[]),
    ("people", &[]),
    ("jwt", &[]),
    ("tls", &[]),
    ("outgoing", &["rollout"]),
    ("notify", &["audit", "config", "outgoing"]),
    ("report", &["audit"]),
    ("outcome", &["measure"]),
    ("analysis", &["measure"]),
    ("rollout", &["analysis"]),
    ("route", &["jwt", "measure", "tls"]),
    (
        "config",
        &["people", "rollout", "analysis", "jwt", "route", "measure", "tls"],
    ),
    ("compile", &["config", "jwt", "rollout", "route", "measure", "tls"]),
    ("live", &["route"]),
    // Flags of other systems in the words of this one.
    ("import", &["route"]),
    // What applications ask for flags, and what they are answered.
    ("ofrep", &["route"]),
    (
        "proxy",
        &["h1", "jwt", "live", "ofrep", "route", "measure", "outcome", "tls"],
    ),
    (
        "control",
        &[
            "live", "compile", "config", "route", "rollout", "analysis", "measure", "audit", "people", "outgoing",
            "notify", "jwt", "tls",
        ],
    ),
    // What control shows carries verdicts and phases; admin gives them their words.
    (
        "admin",
        &[
            "control", "live", "ofrep", "route", "measure", "analysis", "rollout", "audit", "people", "tls",
        ],
    ),
    // From a path to a checked `Spec`.
    ("files", &["config", "control"]),
    // A log of the past through the cores that judge the present.
    (
        "rehearse",
        &["config", "rollout", "route", "analysis", "measure", "outcome"],
    ),
    ("server", ALL),
    ("cli", ALL),
    ("demo", ALL),
    ("lib", ALL),
    ("main", ALL),
];

const ALL: &[&str] = &[
    "audit", "people", "outgoing", "notify", "report", "admin", "analysis", "cli", "compile", "config", "control",
    "demo", "files", "h1", "import", "jwt", "live", "measure", "ofrep", "outcome", "proxy", "rehearse", "rollout",
    "route", "server", "serin", "tls",
];

/// The only places that know hyper: what is no data plane.
const HYPER: &[&str] = &["admin/", "outgoing/", "cli/", "demo/"];

/// The only places that know the HTTP/2 engine of the data plane: its adapters.
const H2: &[&str] = &["proxy/h2_", "proxy/upstream/"];

/// The only places where types are serialisable: each is a promise to people outside, or a private stored form.
const SERDE: &[&str] = &[
    "audit/",
    "config/file",
    "admin/api",
    "control/evidence.rs",
    "control/store",
    "cli/",
    "demo/",
];

struct Source {
    /// Relative to `src/`.
    path: String,
    /// Without comments and unit tests.
    code: String,
}

impl Source {
    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn stands_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The modules named in `crate::…` paths, also in `crate::{a, b::c}`.
    fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, path) in self.code.match_indices("crate::") {
            let rest = &self.code[at + path.len()..];
            let Some(list) = rest.strip_prefix('{') else {
                found.extend(word(rest));
                continue;
            };
            let mut depth = 0;
            let mut begins = true;
            for (at, character) in list.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => begins = true,
                    character if begins && !character.is_whitespace() => {
                        found.extend(word(&list[at..]));
                        begins = false;
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

/// The lower-case name that `text` begins with; macros and types have none.
fn word(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let is_macro = text[name.len()..].starts_with('!');
    (name.starts_with(|c: char| c.is_ascii_lowercase()) && !is_macro).then_some(name)
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("src/ is there") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test_file(&path) {
                let text = fs::read_to_string(&path).expect("a text");
                let path = path.strip_prefix(&root).expect("below src/").display().to_string();
                sources.push(Source {
                    path,
                    code: code(&text),
                });
            }
        }
    }
    assert!(sources.len() > 20, "src/ was read");
    sources
}

/// `tests.rs` and `fixture.rs` hold what only unit tests use.
fn is_test_file(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| ["tests.rs", "fixture.rs", "fake.rs"].iter().any(|test| name == *test))
}

/// Without comments and without the unit tests, which stand below the code.
fn code(text: &str) -> String {
    let tests = text
        .find("#[cfg(test)]\nmod tests {")
        .or_else(|| text.find("#[cfg(test)]\npub(super) mod tests {"));
    let text = &text[..tests.unwrap_or(text.len())];
    let without = |line: &str| line.split_once("//").map_or(line, |(code, _)| code).to_owned() + "\n";
    text.lines().map(without).collect()
}

#[test]
fn imports_follow_the_arrows() {
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        let arrows = ARROWS
            .iter()
            .find(|(name, _)| *name == module)
            .map(|(_, arrows)| *arrows);
        let arrows = match arrows {
            _ if FREE.contains(&module) => &[],
            Some(arrows) => arrows,
            None => {
                wrong.push(format!("{} belongs to no module of the house", source.path));
                continue;
            }
        };
        for import in source.imports() {
            if import != module && !FREE.contains(&import.as_str()) && !arrows.contains(&import.as_str()) {
                wrong.push(format!("{}: {module} must not import {import}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn proxy_and_control_never_meet() {
    for source in sources() {
        let imports = source.imports();
        let meets = |a, b| source.module() == a && imports.contains(b);
        assert!(
            !meets("proxy", "control") && !meets("control", "proxy"),
            "{}",
            source.path
        );
    }
}

#[test]
fn only_the_adapters_know_hyper() {
    let knows = |source: &Source| {
        ["hyper::", "hyper_util::", "http_body::", "http_body_util::"]
            .iter()
            .any(|name| source.code.contains(name))
    };
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|s| knows(s) && !s.stands_in(HYPER))
        .map(|s| s.path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn only_the_adapters_know_the_http2_engine() {
    let knows = |source: &Source| names_crate(&source.code, "h2::");
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|s| knows(s) && !s.stands_in(H2))
        .map(|s| s.path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Whether `name` stands in `code` where a path begins.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn only_promises_are_serialisable() {
    let derives = |source: &Source| {
        let lists = source
            .code
            .split("derive(")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap_or_default());
        lists
            .flat_map(|list| list.split(','))
            .any(|name| name.trim().ends_with("Serialize") || name.trim().ends_with("Deserialize"))
    };
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|s| derives(s) && !s.stands_in(SERDE))
        .map(|s| s.path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn imports_are_read_in_every_spelling() {
    let check = |code: &str, expected: &[&str]| {
        let source = Source {
            path: "x.rs".to_owned(),
            code: code.to_owned(),
        };
        assert_eq!(source.imports().into_iter().collect::<Vec<_>>(), expected, "{code}");
    };
    check("use crate::measure::Counts;", &["measure"]);
    check(
        "use crate::{analysis::{Verdict, VerdictKind}, route, share::Share};",
        &["analysis", "route", "share"],
    );
    check("fn f(x: crate::route::Table) { crate::fail!(x) }", &["route"]);
    check("pub(crate) use super::x;", &[]);
    assert_eq!(
        code("use a; // crate::b\n//! crate::c\n#[cfg(test)]\nmod tests { use crate::d; }"),
        "use a; \n\n"
    );
}
