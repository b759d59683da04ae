//! One condition on who asks: a value somewhere, and what it must be.

use super::facts::{Facts, Origin};
use super::field::FieldTest;

/// A condition on one named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Where it stands.
    pub origin: Origin,
    /// Its name: of a header in lower case.
    pub name: String,
    /// What it must be; of several values any may pass.
    pub test: FieldTest,
    /// It must not be so: holds also where there is no value.
    pub negated: bool,
}

impl Condition {
    /// Whether it holds for who asks.
    #[must_use]
    pub fn holds(&self, facts: &impl Facts) -> bool {
        let found = match &self.test {
            FieldTest::Present(wanted) => facts.any(self.origin, &self.name, |_| true) == *wanted,
            test => facts.any(self.origin, &self.name, |value| test.passes(value)),
        };
        found != self.negated
    }

    /// Whether nobody can satisfy both. True only where that is certain: names that can have several values may
    /// satisfy what one value cannot.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        let same = (self.origin, &self.name) == (other.origin, &other.name);
        let is_opposite = self.negated != other.negated && self.test == other.test;
        let absent = |condition: &Self| match condition.test {
            FieldTest::Present(wanted) => wanted == condition.negated,
            _ => false,
        };
        let needs_one = |condition: &Self| !condition.negated && !absent(condition);
        same && (is_opposite || (absent(self) && needs_one(other)) || (absent(other) && needs_one(self)))
    }
}
