//! The tokens file: who may use the admin API, by the hashes of their tokens.
//!
//! Nothing that may be a secret stands in a problem: who writes a token where its hash belongs is told so
//! without seeing it again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::Spec;
use super::declare::record;
use super::problem::{Problems, Report};
use super::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use super::schema::Defs;
use super::tree::{NodeId, Value};
use super::{expand, yaml};
use crate::name::Name;
use crate::people::{RESERVED, Right, Token, TokenHash, Tokens, is_role};
use crate::rollout::{Approval, Approvals, Needs};

/// More people than ever share one proxy; each call of the API looks at every one.
const TOKENS_MAX: usize = 1_000;

record! {
    /// A whole tokens file.
    TokensFile {
        /// Everybody who may come in.
        required "tokens" tokens: AtLeastOne<Person>,
    }
    later []
}

record! {
    /// One person or program.
    Person {
        /// Who it is; stands in every record of what they do.
        required "name" name: Name,
        /// The SHA-256 of the token, as `sha256:` and 64 hexadecimal digits.
        required "hash" hash: TokenHash,
        /// What they may do: viewer, operator, approver, admin, or roles that gates want.
        required "roles" roles: AtLeastOne<Role>,
    }
    later []
}

/// A role as written.
#[derive(Debug)]
pub(in crate::config) struct Role(String);

impl Scalar for Role {
    fn parse(text: &str) -> Result<Self, String> {
        match is_role(text) {
            true => Ok(Self(text.to_owned())),
            false => Err("is no role; use a letter, then up to 62 letters, digits, '_' or '-'".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,62}$" })
    }
}

impl Written for TokenHash {
    /// Never quotes what stands there.
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        let hash = match &reader.tree.get(at).value {
            Value::Scalar(scalar) => Self::parse(&scalar.text),
            Value::List(_) | Value::Map(_) | Value::Bad => None,
        };
        match hash {
            Some(hash) if hash.is_of_nothing() => {
                reader.refuse(
                    at,
                    "is the hash of an empty text; was the variable set that was hashed?",
                );
                None
            }
            Some(hash) => Some(hash),
            None => {
                let how = "must be `sha256:` and 64 hexadecimal digits, never the token itself; make them with \
                           `printf %s \"$TOKEN\" | sha256sum`";
                reader.refuse(at, how);
                None
            }
        }
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "string", "pattern": "^sha256:[0-9A-Fa-f]{64}$" })
    }
}

/// Reads and checks the text of a tokens file; `file` names it in problems. Variables are not expanded.
///
/// # Errors
/// [`Problems`]: all of them, and no secret in any.
pub fn tokens(text: &str, file: &Path) -> Result<Tokens, Problems> {
    let mut report = Report::new(file.display().to_string());
    if text
        .lines()
        .all(|line| matches!(line.trim().bytes().next(), None | Some(b'#')))
    {
        let message = "the file says nothing; it needs `tokens: [{ name, hash, roles }]`";
        report.add((1, 1), String::new(), message.into());
        return Err(report.into_problems());
    }
    let tokens = yaml::parse(text, &mut report).and_then(|(tree, root)| {
        let mut reader = Reader::new(&tree, &mut report);
        let file = TokensFile::read(root, &mut reader)?;
        everybody(&file, &mut reader)
    });
    match (tokens, report.is_empty()) {
        (Some(tokens), true) => Ok(tokens),
        _ => Err(report.into_problems()),
    }
}

/// Whether `text` is a tokens file rather than a configuration: it has the key `tokens`, and no other.
#[must_use]
pub fn is_tokens_file(text: &str) -> bool {
    let mut report = Report::new(String::new());
    let Some((tree, root)) = yaml::parse(text, &mut report) else {
        return false;
    };
    match &tree.get(root).value {
        Value::Map(entries) => !entries.is_empty() && entries.iter().all(|entry| entry.key == "tokens"),
        Value::Scalar(_) | Value::List(_) | Value::Bad => false,
    }
}

/// The tokens file that the configuration `text` names, also where there is much else wrong with it, so
/// that the problems of both files can be told at once.
#[must_use]
pub fn tokens_file(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let mut report = Report::new(String::new());
    let (mut tree, root) = yaml::parse(text, &mut report)?;
    expand::expand_all(&mut tree, env, &mut report);
    let held = |map, key: &str| match &tree.get(map).value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.value),
        Value::Scalar(_) | Value::List(_) | Value::Bad => None,
    };
    match &tree.get(held(held(root, "admin")?, "tokensFile")?).value {
        Value::Scalar(scalar) if !scalar.is_null() && !scalar.text.is_empty() => {
            Some(file.parent().unwrap_or(Path::new("")).join(&scalar.text))
        }
        Value::Scalar(_) | Value::List(_) | Value::Map(_) | Value::Bad => None,
    }
}

/// `None` where something is wrong, which is then reported.
fn everybody(file: &TokensFile, reader: &mut Reader<'_>) -> Option<Tokens> {
    let list = file.tokens.get()?.as_ref();
    if list.len() > TOKENS_MAX {
        let message = format!("has {} tokens; at most {TOKENS_MAX} are taken", list.len());
        reader.refuse(file.tokens.at, message);
        return None;
    }
    let people: Vec<&Person> = list.iter().filter_map(Slot::get).collect();
    once(&people, |person| &person.name, "name", reader);
    once(&people, |person| &person.hash, "hash", reader);
    let tokens: Vec<Token> = people.iter().filter_map(|person| token(person, reader)).collect();
    let whole = tokens.len() == list.len();
    Tokens::new(tokens).ok().filter(|_| whole)
}

fn token(person: &Person, reader: &mut Reader<'_>) -> Option<Token> {
    let name = person.name.get();
    if name.is_some_and(|name| RESERVED.contains(&name.as_str())) {
        reader.refuse_text(
            person.name.at,
            "stands in records for what is no person; take another name",
        );
    }
    let mut roles: Vec<String> = Vec::new();
    for slot in person.roles.items() {
        let Some(Role(role)) = slot.get() else { continue };
        if roles.contains(role) {
            reader.refuse_text(slot.at, "is given twice");
        }
        roles.push(role.clone());
    }
    Some(Token {
        name: name?.clone(),
        hash: *person.hash.get()?,
        roles,
    })
}

/// Reports values that stand with more than one person. Neither of them is quoted.
fn once<T: std::hash::Hash + Eq>(people: &[&Person], of: fn(&Person) -> &Slot<T>, what: &str, reader: &mut Reader<'_>) {
    let mut lines = HashMap::new();
    for person in people {
        let slot = of(person);
        let Some(value) = slot.get() else { continue };
        let line = reader.tree.get(slot.at).place.0;
        if let Some(first) = lines.insert(value, line) {
            let message = format!("is the {what} on line {first} as well; give each person their own");
            reader.refuse(slot.at, message);
        }
    }
}

/// What is wrong with gates that nobody in `tokens` can open: the name of the rollout, and a sentence.
#[must_use]
pub fn closed_gates(spec: &Spec, tokens: &Tokens) -> Vec<(Name, String)> {
    let mut found = Vec::new();
    for rollout in &spec.rollouts {
        for step in rollout.plan.steps() {
            let Needs::Approvals(gate) = &step.needs else { continue };
            if let Some(why) = closed(gate, tokens) {
                found.push((
                    rollout.name.clone(),
                    format!("its part {} never ends: {why}", step.part + 1),
                ));
            }
        }
    }
    found.dedup();
    found
}

/// Why everybody together cannot open `gate`.
fn closed(gate: &Approvals, tokens: &Tokens) -> Option<String> {
    let approvers = || tokens.iter().filter(|token| token.may(Right::Approve));
    let nobody: Vec<&str> = (gate.roles.iter().map(String::as_str))
        .filter(|role| !approvers().any(|token| token.roles.iter().any(|held| held == role)))
        .collect();
    if !nobody.is_empty() {
        return Some(format!(
            "nobody in the tokens file holds the role {}",
            nobody.join(" or ")
        ));
    }
    let word = |token: &Token| Approval {
        by: token.name.to_string(),
        roles: token.roles.clone(),
        reason: String::new(),
        at_ms: 0,
        generation: 0,
    };
    let all: Vec<Approval> = approvers().map(word).collect();
    gate.missing(&all, 0)
        .map(|missing| format!("all people of the tokens file together give {missing}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{closed, is_tokens_file, tokens, tokens_file};
    use crate::rollout::Approvals;

    const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn problems(text: &str) -> Vec<String> {
        let found = tokens(text, Path::new("t.yaml")).unwrap_err();
        found
            .iter()
            .map(|problem| format!("{} {}: {}", problem.line, problem.path, problem.message))
            .collect()
    }

    #[track_caller]
    fn check(person: &str, expected: &[&str]) {
        let text = format!("tokens:\n- {}\n", person.replace("HASH", HASH));
        assert_eq!(problems(&text), expected, "{text}");
    }

    #[test]
    fn a_good_file_is_everybody() {
        let other = HASH.replace("ba78", "0000");
        let text = format!(
            "tokens:\n- {{ name: ann, hash: '{HASH}', roles: [operator, sre] }}\n- {{ name: bob, hash: '{other}', roles: [viewer] }}\n"
        );
        let people = tokens(&text, Path::new("t.yaml")).unwrap();
        assert_eq!(people.find("abc").unwrap().roles, ["operator", "sre"]);
        assert_eq!(people.count(), 2);
    }

    #[test]
    fn a_secret_in_place_of_its_hash_is_not_told_again() {
        let how = "2 tokens.ann.hash: must be `sha256:` and 64 hexadecimal digits, never the token itself; \
                   make them with `printf %s \"$TOKEN\" | sha256sum`";
        check("{ name: ann, hash: 'open sesame', roles: [sre] }", &[how]);
        for hash in ["[open]", "{ open: sesame }", "~", "open", "'${TOKEN}'"] {
            let text = format!("tokens:\n- {{ name: ann, hash: {hash}, roles: [sre] }}\n");
            let found = problems(&text).join("\n");
            assert!(found.contains("sha256sum") && !found.contains("open"), "{found}");
        }
        let empty = "'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'";
        let text = format!("tokens:\n- {{ name: ann, hash: {empty}, roles: [sre] }}\n");
        assert!(problems(&text)[0].contains("is the hash of an empty text"));
    }

    #[test]
    fn every_bad_field_is_named() {
        check(
            "{ name: ann, hsh: 'HASH', roles: [sre] }",
            &["2 tokens.ann.hsh: unknown key; did you mean `hash`?"],
        );
        check(
            "{ name: serin, hash: 'HASH', roles: [sre, sre, 2nd] }",
            &[
                "2 tokens.serin.name: \"serin\" stands in records for what is no person; take another name",
                "2 tokens.serin.roles[1]: \"sre\" is given twice",
                "2 tokens.serin.roles[2]: \"2nd\" is no role; use a letter, then up to 62 letters, digits, '_' or '-'",
            ],
        );
        check(
            "{ name: ann, hash: 'HASH', roles: [] }",
            &["2 tokens.ann.roles: is empty; give at least one item"],
        );
    }

    #[test]
    fn two_people_have_two_names_and_two_tokens() {
        let text = format!(
            "tokens:\n- {{ name: ann, hash: '{HASH}', roles: [sre] }}\n- {{ name: ann, hash: '{HASH}', roles: [sre] }}\n"
        );
        assert_eq!(
            problems(&text),
            [
                "3 tokens.ann.name: is the name on line 2 as well; give each person their own",
                "3 tokens.ann.hash: is the hash on line 2 as well; give each person their own",
            ]
        );
    }

    #[test]
    fn what_is_no_tokens_file_is_refused_whole() {
        for text in [
            "",
            "# nobody\n\n",
            "tokens: []",
            "tokens: ~",
            "[]",
            "tokens: {",
            "tokens:\n- ann",
            "a: 1",
        ] {
            assert!(!problems(text).is_empty(), "{text}");
        }
        assert_eq!(
            problems(" \n# nobody\n"),
            ["1 : the file says nothing; it needs `tokens: [{ name, hash, roles }]`"]
        );
        let person = |n: u32| format!("- {{ name: p{n}, hash: 'sha256:{n:064x}', roles: [sre] }}\n");
        let file = |people: u32| format!("tokens:\n{}", (0..people).map(person).collect::<String>());
        assert_eq!(tokens(&file(1000), Path::new("t.yaml")).unwrap().count(), 1000);
        assert_eq!(
            problems(&file(1001)),
            ["2 tokens: has 1001 tokens; at most 1000 are taken"]
        );
    }

    #[test]
    fn a_tokens_file_is_told_from_a_configuration() {
        let check = |text: &str, expected: bool| assert_eq!(is_tokens_file(text), expected, "{text}");
        check("tokens: []", true);
        check("# people\ntokens:\n- { name: ann }", true);
        check("tokens: []\nversion: 1", false);
        for text in ["", "{}", "[tokens]", "tokens", "tokens: [", "version: 1"] {
            check(text, false);
        }
    }

    #[test]
    fn a_bad_configuration_still_names_its_tokens_file() {
        let check = |text: &str, expected: Option<&str>| {
            let env = |name: &str| (name == "T").then(|| "t.yaml".to_owned());
            let found = tokens_file(text, Path::new("etc/serin.yaml"), &env);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{text}");
        };
        check(
            "admin: { tokensFile: tokens.yaml }\nnonsense: 1",
            Some("etc/tokens.yaml"),
        );
        check("admin: { tokensFile: /x/t.yaml }", Some("/x/t.yaml"));
        check("admin: { tokensFile: '${T}' }", Some("etc/t.yaml"));
        for text in [
            "admin: { tokensFile: }",
            "admin: { tokensFile: [a] }",
            "admin: 1",
            "version: 1",
            "{",
            "",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_gate_that_nobody_can_open_is_found() {
        let gate = |count, roles: &[&str]| Approvals {
            count,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            expires: std::time::Duration::from_secs(3600),
        };
        let check = |people: &[&str], gate: &Approvals, expected: Option<&str>| {
            let person =
                |(n, roles): (usize, &&str)| format!("- {{ name: p{n}, hash: 'sha256:{n:064x}', roles: [{roles}] }}\n");
            let list: String = people.iter().enumerate().map(person).collect();
            let people = tokens(&format!("tokens:\n{list}"), Path::new("t.yaml")).unwrap();
            assert_eq!(closed(gate, &people).as_deref(), expected);
        };
        let both = gate(2, &["releaseManager", "sre"]);
        check(&["sre", "releaseManager"], &both, None);
        check(
            &["sre"],
            &both,
            Some("nobody in the tokens file holds the role releaseManager"),
        );
        check(
            &["'sre', releaseManager"],
            &both,
            Some("all people of the tokens file together give 1 of 2 approvals, still to come: sre"),
        );
        check(
            &["viewer", "operator"],
            &gate(1, &[]),
            Some("all people of the tokens file together give 0 of 1 approvals"),
        );
        check(&["approver", "admin"], &gate(2, &[]), None);
        // The words that Serin knows count where they may approve.
        check(&["operator"], &gate(1, &["operator"]), None);
        check(&["operator", "admin"], &gate(2, &["operator", "admin"]), None);
        check(
            &["viewer", "sre"],
            &gate(1, &["viewer"]),
            Some("nobody in the tokens file holds the role viewer"),
        );
    }
}
