//! Which headers of a client stop at Serin: those that hold secrets, and those that only insiders may use.

use super::cohort::CohortSpec;
use super::facts::Origin;
use crate::name::Name;

/// Headers that are not passed on, by the cohort that placed a request. Made once for each route.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// From whom no cohort placed, or one that is not internal.
    outsiders: Names,
    /// From those whom the cohort with this index placed; empty where that makes no difference.
    insiders: Box<[Option<Names>]>,
}

/// In lower case.
type Names = Box<[Box<str>]>;

impl Withheld {
    /// `secrets` hold the secrets of cohorts, and are withheld from all. A header that an internal cohort of `written`
    /// tests passes only with requests that it placed: a backend may go by it as well. `live` are the cohorts that
    /// place requests, by their index.
    #[must_use]
    pub fn new<'n>(secrets: &[Box<str>], written: &[CohortSpec], live: impl Iterator<Item = &'n Name>) -> Self {
        let internal = || written.iter().filter(|cohort| cohort.internal);
        let withheld = |kept: &[&str]| {
            let tested = internal().flat_map(tested_by);
            let tested = tested.filter(|name| !is_everybodys(name) && !kept.contains(name));
            let mut names: Vec<Box<str>> = secrets.iter().cloned().chain(tested.map(Into::into)).collect();
            names.sort_unstable();
            names.dedup();
            names.into_boxed_slice()
        };
        let of_insiders = |name: &Name| {
            let cohort = internal().find(|cohort| cohort.name == *name)?;
            Some(withheld(&tested_by(cohort).collect::<Vec<_>>()))
        };
        Self {
            outsiders: withheld(&[]),
            insiders: match internal().next() {
                None => [].into(),
                Some(_) => live.map(of_insiders).collect(),
            },
        }
    }

    /// Those that a request which the cohort with this index placed does not keep.
    #[must_use]
    pub fn from(&self, cohort: Option<usize>) -> &[Box<str>] {
        let insiders = cohort.and_then(|cohort| self.insiders.get(cohort)?.as_ref());
        insiders.unwrap_or(&self.outsiders)
    }
}

/// The headers that a cohort tests.
fn tested_by(cohort: &CohortSpec) -> impl Iterator<Item = &str> {
    let tests = cohort.conditions.iter();
    let tests = tests.filter(|condition| condition.origin == Origin::Header);
    tests.map(|condition| condition.name.as_str())
}

/// What every client sends and applications need, whoever tests it, too.
fn is_everybodys(name: &str) -> bool {
    let exact = [
        "authorization",
        "cache-control",
        "cookie",
        "date",
        "dnt",
        "from",
        "origin",
        "pragma",
        "priority",
        "range",
        "referer",
        "user-agent",
        "via",
    ];
    let prefixes = ["accept", "content-", "if-", "sec-"];
    exact.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::Withheld;
    use crate::name::Name;
    use crate::route::{CohortSpec, Condition, Destination, FieldTest, Origin, Secret};

    fn cohort(name: &str, internal: bool, headers: &[&str]) -> CohortSpec {
        let condition = |name: &&str| Condition {
            origin: Origin::Header,
            name: (*name).to_owned(),
            test: FieldTest::Present(true),
            negated: false,
        };
        CohortSpec {
            name: Name::new(name).unwrap(),
            conditions: headers.iter().map(condition).collect(),
            networks: vec![([10, 0, 0, 0].into(), 8)],
            secret: None::<Secret>,
            keys: None,
            prerequisites: Vec::new(),
            to: Destination::Variant(0),
            internal,
            evidence: false,
        }
    }

    #[track_caller]
    fn check(cohorts: &[CohortSpec], placed_by: Option<usize>, expected: &[&str]) {
        let preview = Name::new("preview").unwrap();
        let live = [&preview].into_iter().chain(cohorts.iter().map(|cohort| &cohort.name));
        let withheld = Withheld::new(&["x-secret".into()], cohorts, live);
        let found: Vec<&str> = withheld.from(placed_by).iter().map(AsRef::as_ref).collect();
        assert_eq!(found, expected, "{placed_by:?}");
    }

    #[test]
    fn what_insiders_may_use_stops_where_it_comes_from_others() {
        let cohorts = [
            cohort("beta", false, &["x-beta"]),
            cohort("staff", true, &["x-preview", "user-agent"]),
            cohort("team", true, &["x-team", "x-preview"]),
        ];
        check(&cohorts, None, &["x-preview", "x-secret", "x-team"]);
        // A preview's cohort stands before them.
        check(&cohorts, Some(0), &["x-preview", "x-secret", "x-team"]);
        check(&cohorts, Some(1), &["x-preview", "x-secret", "x-team"]);
        check(&cohorts, Some(2), &["x-secret", "x-team"]);
        check(&cohorts, Some(3), &["x-secret"]);
        check(&cohorts[..1], Some(1), &["x-secret"]);
        check(&[], None, &["x-secret"]);
    }
}
