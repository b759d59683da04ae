//! JSON Logic that is true or false, as alternatives of conditions.

use semver::Version;

use super::dnf::Dnf;
use super::json::{Node, Path};
use super::operand::{Constant, Operand, Value};
use super::reader::{Operation, Reader};
use crate::route::{Comparison, Condition, FieldTest, Origin, VersionPart};

/// Operations whose answer is true or false.
const OPERATIONS: [&str; 14] = [
    "==",
    "===",
    "!=",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "!",
    "!!",
    "in",
    "starts_with",
    "ends_with",
    "sem_ver",
];

/// Values that count as false, as attributes have them.
const FALSE: [&str; 4] = ["", "false", "0", "0.0"];

/// Whether `node` is true or false and nothing else: not a value that merely counts as such.
pub(super) fn is_boolean(node: &Node) -> bool {
    match node.only_member() {
        Some(("and" | "or", arguments)) => arguments.items().iter().all(is_boolean),
        Some((name, _)) => OPERATIONS.contains(&name),
        None => matches!(node, Node::Bool(_)),
    }
}

impl<'f> Reader<'f> {
    /// Who satisfies `node`, or who does not: `wanted` says which.
    pub(super) fn condition(&mut self, node: &'f Node, at: &Path<'_>, wanted: bool) -> Option<Dnf> {
        if let Some(constant) = Constant::of(node) {
            return Some(Dnf::constant(constant.is_true() == wanted));
        }
        self.resolved(node, at, |reader, node, at| match Operation::of(node) {
            Some(operation) => {
                let here = at.member(operation.name);
                reader.operation(&operation, node, &here, at, wanted)
            }
            None => reader.say(at, "is no condition", "write one operation"),
        })
    }

    fn operation(
        &mut self,
        operation: &Operation<'f>,
        node: &'f Node,
        here: &Path<'_>,
        at: &Path<'_>,
        wanted: bool,
    ) -> Option<Dnf> {
        match (operation.name, operation.arguments) {
            ("var", _) => match self.operand(node, at)? {
                Operand::Value(value) => self.truth(&value, at, wanted),
                Operand::Constant(constant) => Some(Dnf::constant(constant.is_true() == wanted)),
                Operand::Timestamp | Operand::List(_) => Some(Dnf::constant(wanted)),
            },
            ("!", [one]) => self.condition(one, &here.item(0), !wanted),
            ("!!", [one]) => self.condition(one, &here.item(0), wanted),
            ("and", all @ [_, ..]) => self.together(all, here, wanted, wanted),
            ("or", any @ [_, ..]) => self.together(any, here, wanted, !wanted),
            ("==" | "===", [one, other]) => self.equal(one, other, here, wanted),
            ("!=" | "!==", [one, other]) => self.equal(one, other, here, !wanted),
            (sign @ ("<" | "<=" | ">" | ">="), [one, other]) => self.ordered(sign, [one, other], here, wanted),
            (sign @ ("<" | "<="), [low, value, high]) => {
                let lower = self.ordered(sign, [low, value], here, wanted);
                let upper = self.ordered(sign, [value, high], here, wanted);
                let parts = [lower?, upper?];
                let both = if wanted { Dnf::all(parts) } else { Dnf::any(parts) };
                self.bounded(here, both)
            }
            ("in", [one, other]) => self.within(one, other, here, wanted),
            ("starts_with", [value, text]) => self.text_test(value, text, here, wanted, FieldTest::Prefix),
            ("ends_with", [value, text]) => self.text_test(value, text, here, wanted, FieldTest::Suffix),
            ("sem_ver", [value, sign, version]) => self.version(value, sign, version, here, wanted),
            (
                "!" | "!!" | "and" | "or" | "==" | "===" | "!=" | "!==" | "<" | "<=" | ">" | ">=" | "in"
                | "starts_with" | "ends_with" | "sem_ver",
                arguments,
            ) => self.say(
                here,
                format!("cannot have {} arguments", arguments.len()),
                "see flagd's documentation of it",
            ),
            ("fractional", _) => self.say(
                here,
                "a share of the users is no condition here",
                "make it a flag of its own, and that flag a prerequisite",
            ),
            (name, _) => self.say(
                at,
                format!("there is no `{name}` here"),
                "test single attributes, or let the application send the outcome as one",
            ),
        }
    }

    /// `parts`, joined by "and" or by "or".
    fn together(&mut self, parts: &'f [Node], here: &Path<'_>, wanted: bool, is_all: bool) -> Option<Dnf> {
        // Each part may have something to say: none is left out because another has no words.
        let parts: Vec<Option<Dnf>> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| self.condition(part, &here.item(index), wanted))
            .collect();
        let parts: Vec<Dnf> = parts.into_iter().collect::<Option<_>>()?;
        let together = if is_all { Dnf::all(parts) } else { Dnf::any(parts) };
        self.bounded(here, together)
    }

    /// Whether a value counts as true.
    fn truth(&mut self, value: &Value<'f>, at: &Path<'_>, wanted: bool) -> Option<Dnf> {
        let is_false = FieldTest::OneOf(FALSE.map(str::to_owned).into());
        let truth = match value.default.is_some_and(Constant::is_true) {
            true => Ok(Dnf::of(condition(value.name, is_false, wanted))),
            false if wanted => Dnf::all([
                present(value.name, true),
                Dnf::of(condition(value.name, is_false, true)),
            ]),
            false => Dnf::any([
                present(value.name, false),
                Dnf::of(condition(value.name, is_false, false)),
            ]),
        };
        self.bounded(at, truth)
    }

    fn equal(&mut self, one: &'f Node, other: &'f Node, here: &Path<'_>, wanted: bool) -> Option<Dnf> {
        let sides = (self.operand(one, &here.item(0)), self.operand(other, &here.item(1)));
        match (sides.0?, sides.1?) {
            (Operand::Timestamp, _) | (_, Operand::Timestamp) => self.say_timestamp(here),
            (Operand::Value(value), Operand::Constant(constant))
            | (Operand::Constant(constant), Operand::Value(value)) => match (constant, value.default) {
                (Constant::Null, None) => Some(present(value.name, !wanted)),
                (Constant::Null, Some(_)) => Some(Dnf::constant(!wanted)),
                (_, _) => {
                    let texts = constant.texts();
                    self.tested(&value, one_of(texts), here, wanted)
                }
            },
            (Operand::Constant(one), Operand::Constant(other)) => {
                let are_equal = one.texts().iter().any(|text| other.texts().contains(text));
                let both_null = matches!((one, other), (Constant::Null, Constant::Null));
                Some(Dnf::constant((are_equal || both_null) == wanted))
            }
            (Operand::Value(_), Operand::Value(_)) => self.say(
                here,
                "compares two values of the context",
                "let the application compare them, and send the outcome",
            ),
            (Operand::List(_), _) | (_, Operand::List(_)) => {
                self.say(here, "compares a list", "use `in` for \"one of these\"")
            }
        }
    }

    fn ordered(&mut self, sign: &str, sides: [&'f Node; 2], here: &Path<'_>, wanted: bool) -> Option<Dnf> {
        let comparison = comparison(sign)?;
        let [one, other] = sides;
        let operands = (self.operand(one, &here.item(0)), self.operand(other, &here.item(1)));
        let (value, comparison, number) = match (operands.0?, operands.1?) {
            (Operand::Timestamp, _) | (_, Operand::Timestamp) => return self.say_timestamp(here),
            (Operand::Value(value), Operand::Constant(Constant::Number(number))) => (value, comparison, number),
            (Operand::Constant(Constant::Number(number)), Operand::Value(value)) => {
                (value, mirrored(comparison), number)
            }
            (_, _) => {
                return self.say(
                    here,
                    "does not compare a value with a number",
                    "compare with a number, or versions with `sem_ver`",
                );
            }
        };
        let number = number.as_f64().unwrap_or_default();
        let test = FieldTest::Number(comparison, number);
        // flagd takes an absent value for 0. Where 0 passes, the opposite of the opposite holds for the absent, too.
        if value.default.is_none() && test.passes(b"0") {
            let opposite = FieldTest::Number(opposite(comparison), number);
            return Some(Dnf::of(condition(value.name, opposite, wanted)));
        }
        self.tested(&value, test, here, wanted)
    }

    fn within(&mut self, one: &'f Node, other: &'f Node, here: &Path<'_>, wanted: bool) -> Option<Dnf> {
        let sides = (self.operand(one, &here.item(0)), self.operand(other, &here.item(1)));
        match (sides.0?, sides.1?) {
            (Operand::Value(value), Operand::List(items)) => {
                let mut texts = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    match Constant::of(item).map(Constant::texts) {
                        Some(known) if !known.is_empty() => texts.extend(known),
                        _ => {
                            let list = here.item(1);
                            return self.say(
                                &list.item(index),
                                "is no text, no number and not true or false",
                                "list plain values",
                            );
                        }
                    }
                }
                if texts.is_empty() {
                    return Some(Dnf::constant(!wanted));
                }
                self.tested(&value, one_of(texts), here, wanted)
            }
            (Operand::Constant(Constant::Text(part)), Operand::Value(value)) => {
                self.part_test(&value, part, here, wanted, FieldTest::Contains)
            }
            (_, _) => self.say(
                here,
                "looks neither for a value in a list nor for a text in a value",
                "write [VALUE, LIST] or [TEXT, VALUE]",
            ),
        }
    }

    fn text_test(
        &mut self,
        value: &'f Node,
        text: &'f Node,
        here: &Path<'_>,
        wanted: bool,
        test: impl FnOnce(String) -> FieldTest,
    ) -> Option<Dnf> {
        match (self.operand(value, &here.item(0))?, text) {
            (Operand::Value(value), Node::Text(part)) => self.part_test(&value, part, here, wanted, test),
            (_, _) => self.say(here, "does not test a value with a text", "write [VALUE, TEXT]"),
        }
    }

    fn part_test(
        &mut self,
        value: &Value<'f>,
        part: &str,
        here: &Path<'_>,
        wanted: bool,
        test: impl FnOnce(String) -> FieldTest,
    ) -> Option<Dnf> {
        // Every text has the empty one in it.
        let test = match part {
            "" => FieldTest::Present(true),
            part => test(self.short(here, part)?.to_owned()),
        };
        self.tested(value, test, here, wanted)
    }

    fn version(
        &mut self,
        value: &'f Node,
        sign: &'f Node,
        version: &'f Node,
        here: &Path<'_>,
        wanted: bool,
    ) -> Option<Dnf> {
        let Operand::Value(value) = self.operand(value, &here.item(0))? else {
            return self.say(here, "does not test a value", "write [VALUE, OPERATOR, VERSION]");
        };
        let (Node::Text(sign), Node::Text(text)) = (sign, version) else {
            return self.say(
                here,
                "has no constant operator and version",
                "write [VALUE, OPERATOR, VERSION]",
            );
        };
        let Some(version) = whole_version(text) else {
            return self.say(
                &here.item(2),
                format!("{text:?} is no version of Semantic Versioning 2.0.0"),
                "write one such as 1.2.0",
            );
        };
        let test = match (sign.as_str(), comparison(sign)) {
            ("=", _) => FieldTest::Version(Comparison::Equal, version),
            ("!=", _) => FieldTest::Version(Comparison::NotEqual, version),
            ("^", _) => FieldTest::VersionLike(VersionPart::Major, version),
            ("~", _) => FieldTest::VersionLike(VersionPart::Minor, version),
            (_, Some(comparison)) => FieldTest::Version(comparison, version),
            (_, None) => {
                return self.say(
                    &here.item(1),
                    format!("{sign:?} is no operator of `sem_ver`"),
                    "use =, !=, <, <=, >, >=, ^ or ~",
                );
            }
        };
        self.tested(&value, test, here, wanted)
    }

    /// Who passes `test`, or who does not; a default stands for a value that is absent.
    fn tested(&mut self, value: &Value<'f>, test: FieldTest, here: &Path<'_>, wanted: bool) -> Option<Dnf> {
        let default = value.default.and_then(Constant::text);
        let absent_pass = default.is_some_and(|default| test.passes(default.as_bytes()));
        let tested = condition(value.name, test, !wanted);
        let tested = match absent_pass {
            false => Ok(Dnf::of(tested)),
            true if wanted => Dnf::any([present(value.name, false), Dnf::of(tested)]),
            true => Dnf::all([present(value.name, true), Dnf::of(tested)]),
        };
        self.bounded(here, tested)
    }

    fn say_timestamp<T>(&mut self, here: &Path<'_>) -> Option<T> {
        self.say(
            here,
            "time decides in the midst of the targeting",
            "let it wrap the whole targeting, which becomes `enableAt` or `disableAt`, or make a rollout of it",
        )
    }
}

fn condition(name: &str, test: FieldTest, negated: bool) -> Condition {
    Condition {
        origin: Origin::Attribute,
        name: name.to_owned(),
        test,
        negated,
    }
}

/// Whoever has (or has not) a value of this name. Presence has one form, so that equal conditions are seen to be equal.
pub(super) fn present(name: &str, is_present: bool) -> Dnf {
    Dnf::of(condition(name, FieldTest::Present(true), !is_present))
}

fn one_of(mut texts: Vec<String>) -> FieldTest {
    match texts.len() {
        1 => FieldTest::Exact(texts.remove(0)),
        _ => FieldTest::OneOf(texts),
    }
}

fn comparison(sign: &str) -> Option<Comparison> {
    match sign {
        "<" => Some(Comparison::Less),
        "<=" => Some(Comparison::LessOrEqual),
        ">" => Some(Comparison::Greater),
        ">=" => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}

/// What `a < b` says of b.
fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same @ (Comparison::Equal | Comparison::NotEqual) => same,
    }
}

/// What holds of two numbers where `comparison` does not.
fn opposite(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
    }
}

/// A version as flagd reads it: with a `v` in front or not, and 1.2 for 1.2.0.
fn whole_version(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let whole = match text.bytes().filter(|&byte| byte == b'.').count() {
        0 if !text.is_empty() => format!("{text}.0.0"),
        1 => format!("{text}.0"),
        _ => text.to_owned(),
    };
    Version::parse(text).or_else(|_| Version::parse(&whole)).ok()
}
