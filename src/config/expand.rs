//! Fills `${VAR}` and `${VAR:-default}` into the scalars of a file. What a variable holds stays one
//! scalar, whatever it says; it can never add a key or a list item.

use super::problem::Report;
use super::tree::{NodeId, Tree, Value};

/// Expands every value (not the keys). A variable that is not set and has no default is a problem.
pub(super) fn expand_all(tree: &mut Tree, env: &dyn Fn(&str) -> Option<String>, report: &mut Report) {
    let with_dollar: Vec<NodeId> = tree
        .ids()
        .filter(|&id| matches!(&tree.get(id).value, Value::Scalar(scalar) if scalar.text.contains('$')))
        .collect();
    for id in with_dollar {
        let Value::Scalar(scalar) = &mut tree.get_mut(id).value else {
            continue;
        };
        match expand(&scalar.text, env) {
            Ok(text) => scalar.written = Some(std::mem::replace(&mut scalar.text, text)),
            Err(message) => {
                report.add(tree.get(id).place, tree.path(id), message);
                tree.get_mut(id).value = Value::Bad;
            }
        }
    }
}

/// `$$` is a dollar sign, and so is one that no `{` follows. What a variable holds is not expanded
/// again. As in a shell, `:-` also stands in for a variable that is set to nothing.
fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            let end = after
                .find('}')
                .ok_or("`${` has no `}`; close it, or write `$$` for a dollar sign")?;
            expanded.push_str(&value_of(&after[..end], env)?);
            rest = &after[end + 1..];
        } else {
            expanded.push('$');
            rest = rest.strip_prefix('$').unwrap_or(rest);
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn value_of(inner: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !well_formed {
        return Err(format!(
            "`${{{}}}` names no variable; write `${{NAME}}` or `${{NAME:-default}}`",
            inner.escape_debug()
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the variable `{name}` is not set; set it, or give a default: `${{{name}:-default}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".into()),
            _ => None,
        }
    }

    fn check(text: &str, expected: Result<&str, &str>) {
        match (expand(text, &env), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{text}: {got}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn variables_are_filled_in() {
        check("${A}", Ok("one"));
        check("x-${A}-${A}", Ok("x-one-one"));
        check("${B:-two}", Ok("two"));
        check("${B:-}", Ok(""));
        check("${EMPTY}", Ok(""));
        check("${EMPTY:-two}", Ok("two"));
        check("${A:-two}", Ok("one"));
    }

    #[test]
    fn a_dollar_sign_may_stand_for_itself() {
        check("$$", Ok("$"));
        check("$${A}", Ok("${A}"));
        check("^/x$", Ok("^/x$"));
        check("$A", Ok("$A"));
        check("a$$$$b", Ok("a$$b"));
    }

    #[test]
    fn what_a_variable_holds_is_not_expanded_again() {
        check("${NESTED}", Ok("${A}"));
    }

    #[test]
    fn what_cannot_be_filled_in_is_a_problem() {
        check("${B}", Err("the variable `B` is not set"));
        check("${A", Err("has no `}`"));
        check("${}", Err("names no variable"));
        check("${1A}", Err("names no variable"));
        check("${A-x}", Err("names no variable"));
    }
}
