//! Conditions in the one form that cohorts know: alternatives, in each of which all conditions must hold.

use crate::route::Condition;

/// Alternatives of one condition; a flag has at most so many cohorts.
pub(super) const ALTERNATIVES_MAX: usize = 100;
/// Conditions of one alternative.
pub(super) const CONDITIONS_MAX: usize = 64;

/// Alternatives, in each of which all conditions must hold: none holds never, one without conditions always.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dnf(Vec<Vec<Condition>>);

/// There are more alternatives, or longer ones, than a flag can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Dnf {
    /// Holds always, or never.
    pub(super) fn constant(holds: bool) -> Self {
        Self(if holds { vec![Vec::new()] } else { Vec::new() })
    }

    /// One condition.
    pub(super) fn of(condition: Condition) -> Self {
        Self(vec![vec![condition]])
    }

    /// The alternatives, in order.
    pub(super) fn alternatives(&self) -> &[Vec<Condition>] {
        &self.0
    }

    /// All of `parts` (of which there may be none).
    ///
    /// # Errors
    /// [`TooLong`].
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Result<Self, TooLong> {
        let mut parts = parts.into_iter();
        parts.try_fold(Self::constant(true), |all, part| all.and(&part))
    }

    /// Any of `parts` (of which there may be none).
    ///
    /// # Errors
    /// [`TooLong`].
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Result<Self, TooLong> {
        let mut any = Self::constant(false);
        for alternative in parts.into_iter().flat_map(|part| part.0) {
            any.add(alternative)?;
        }
        Ok(any)
    }

    /// Both.
    ///
    /// # Errors
    /// [`TooLong`].
    pub(super) fn and(&self, other: &Self) -> Result<Self, TooLong> {
        let mut both = Self::constant(false);
        for one in &self.0 {
            for other in &other.0 {
                if let Some(alternative) = joined(one, other)? {
                    both.add(alternative)?;
                }
            }
        }
        Ok(both)
    }

    /// What is said already is not said again, and what the new one says more generally is dropped.
    fn add(&mut self, alternative: Vec<Condition>) -> Result<(), TooLong> {
        if self.0.iter().any(|known| implies(&alternative, known)) {
            return Ok(());
        }
        self.0.retain(|known| !implies(known, &alternative));
        if self.0.len() == ALTERNATIVES_MAX {
            return Err(TooLong);
        }
        self.0.push(alternative);
        Ok(())
    }
}

/// Whether whoever satisfies all of `special` satisfies all of `general`; true only where that is plain to see.
pub(super) fn implies(special: &[Condition], general: &[Condition]) -> bool {
    general.iter().all(|condition| special.contains(condition))
}

/// The conditions of both, each once; `None` where nobody can satisfy them.
fn joined(one: &[Condition], other: &[Condition]) -> Result<Option<Vec<Condition>>, TooLong> {
    let mut all = one.to_vec();
    for condition in other {
        if all.iter().any(|known| known.excludes(condition)) {
            return Ok(None);
        }
        if !all.contains(condition) {
            if all.len() == CONDITIONS_MAX {
                return Err(TooLong);
            }
            all.push(condition.clone());
        }
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::{ALTERNATIVES_MAX, Dnf, TooLong};
    use crate::route::{Condition, FieldTest, Origin};

    /// `!a` is the opposite of `a`.
    fn leaf(name: &str) -> Dnf {
        Dnf::of(Condition {
            origin: Origin::Attribute,
            name: name.trim_start_matches('!').to_owned(),
            test: FieldTest::Exact("x".to_owned()),
            negated: name.starts_with('!'),
        })
    }

    fn text(dnf: &Dnf) -> String {
        let names = |conditions: &Vec<Condition>| {
            let name =
                |condition: &Condition| format!("{}{}", ["", "!"][usize::from(condition.negated)], condition.name);
            conditions.iter().map(name).collect::<Vec<_>>().join(" ")
        };
        dnf.alternatives().iter().map(names).collect::<Vec<_>>().join(" | ")
    }

    #[track_caller]
    fn check(all_of_any: &[&[&str]], expected: &str) {
        let any = |names: &&[&str]| Dnf::any(names.iter().map(|name| leaf(name))).unwrap();
        let dnf = Dnf::all(all_of_any.iter().map(any)).unwrap();
        assert_eq!(text(&dnf), expected, "{all_of_any:?}");
    }

    #[test]
    fn alternatives_are_multiplied_out() {
        check(&[&["a"], &["b"]], "a b");
        check(&[&["a", "b"], &["c", "d"]], "a c | a d | b c | b d");
        check(&[&["a", "a"]], "a");
    }

    #[test]
    fn what_nobody_satisfies_or_what_is_said_already_is_dropped() {
        check(&[&["a"], &["!a"]], "");
        check(&[&["a", "b"], &["!a"]], "b !a");
        check(&[&["a", "b"], &["a"]], "a");
        check(&[], "");
        assert_eq!(Dnf::all([]).unwrap(), Dnf::constant(true));
    }

    #[test]
    fn alternatives_are_bounded() {
        let many: Vec<Dnf> = (0..=ALTERNATIVES_MAX).map(|n| leaf(&n.to_string())).collect();
        assert_eq!(Dnf::any(many.clone()), Err(TooLong));
        assert_eq!(Dnf::all(many), Err(TooLong));
    }
}
