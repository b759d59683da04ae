//! The clients that are placed by rule.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use smallvec::SmallVec;

use super::condition::Condition;
use super::facts::{Facts, Origin};
use super::flag::Prerequisite;
use super::key::Key;
use super::key_set::KeySet;
use super::matcher::without_end;
use super::split::Split;
use crate::measure::Recorder;
use crate::name::Name;
use crate::share::bounds;

/// Clients that go to one variant by rule, or divide among variants in their own way. All conditions must hold;
/// lists of networks and keys are "any of".
#[derive(Clone, Debug, PartialEq)]
pub struct CohortSpec {
    /// Unique in the split.
    pub name: Name,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// Client addresses that belong, each with its leading bits; empty: no condition.
    pub networks: Vec<(IpAddr, u8)>,
    /// What a request must know to belong.
    pub secret: Option<Secret>,
    /// Keys (of the split's key) that belong; `None`: no condition.
    pub keys: Option<KeysSpec>,
    /// Other flags that must answer so.
    pub prerequisites: Vec<Prerequisite>,
    /// Where they go.
    pub to: Destination,
    /// Outsiders must not use it: the headers that it tests are not passed on for them. Default false.
    pub internal: bool,
    /// Whether these requests vote like drawn ones. Default false.
    pub evidence: bool,
}

/// The cohort of those whom a rollout's preview places.
pub const PREVIEW: &str = "preview";

/// Where the clients of a cohort go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// All to the variant with this index.
    Variant(usize),
    /// By these weights, one for each variant in file order; they add up to more than 0.
    Fractional(Vec<u32>),
}

/// Keys that belong, from the file and from a list of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysSpec {
    /// Written in the configuration.
    pub inline: Vec<String>,
    /// Index in the spec's files of keys.
    pub file: Option<usize>,
}

/// A header that must hold a secret. It is not passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// In lower case.
    pub header: String,
    /// The whole value.
    pub value: String,
}

/// A [`CohortSpec`], ready to serve.
#[derive(Debug)]
pub struct Cohort {
    /// Unique in the split.
    pub name: Name,
    /// Whether these requests vote like drawn ones.
    pub evidence: bool,
    /// Other flags that must answer so; for [`Table::decide`](super::Table::decide) to ask.
    pub prerequisites: Box<[Prerequisite]>,
    to: Leads,
    /// Where the exchanges of the cohort are counted, by variant.
    recorders: SmallVec<[Option<Arc<Recorder>>; 2]>,
    /// Lower case, without a dot at the end.
    hosts: Box<[Box<str>]>,
    conditions: Box<[Condition]>,
    networks: Box<[(IpAddr, u8)]>,
    secret: Option<Secret>,
    /// Any of these; empty: no condition.
    keys: SmallVec<[Arc<KeySet>; 2]>,
}

#[derive(Debug)]
enum Leads {
    To(usize),
    Divided(Split),
}

/// What keeps somebody from belonging to a cohort; prerequisites are another matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Missing<'c> {
    /// Another host is asked for.
    Host,
    /// This condition does not hold.
    Condition(&'c Condition),
    /// The client's address is in none of these networks, or not known.
    Networks(&'c [(IpAddr, u8)]),
    /// The secret is not known, or not there.
    Secret,
    /// The key is not listed, or not there.
    Keys,
}

/// What a cohort takes from beside its [`CohortSpec`].
#[derive(Clone, Debug, Default)]
pub struct CohortParts {
    /// The sets of keys that its spec names; any of them.
    pub keys: SmallVec<[Arc<KeySet>; 2]>,
    /// For each variant that it leads to.
    pub recorders: SmallVec<[Option<Arc<Recorder>>; 2]>,
}

impl Cohort {
    /// Makes `spec` ready to serve.
    ///
    /// # Panics
    /// When the weights of a [`Destination::Fractional`] add up to 0.
    #[must_use]
    pub fn new(spec: &CohortSpec, parts: CohortParts) -> Self {
        Self {
            name: spec.name.clone(),
            evidence: spec.evidence,
            prerequisites: spec.prerequisites.clone().into(),
            to: match &spec.to {
                Destination::Variant(variant) => Leads::To(*variant),
                Destination::Fractional(weights) => Leads::Divided(Split::new(
                    bounds(weights).expect("weights of a cohort add up to more than 0"),
                )),
            },
            recorders: parts.recorders,
            hosts: [].into(),
            conditions: spec.conditions.clone().into(),
            networks: spec.networks.clone().into(),
            secret: spec.secret.clone(),
            keys: parts.keys,
        }
    }

    /// Whoever asks for one of `hosts` (lower case, without port), on the way to `variant`; never evidence.
    #[must_use]
    pub fn of_hosts(name: Name, hosts: &[String], variant: usize, parts: CohortParts) -> Self {
        let spec = CohortSpec::of(name, Destination::Variant(variant));
        Self {
            hosts: hosts.iter().map(|host| without_end(host, '.').into()).collect(),
            ..Self::new(&spec, parts)
        }
    }

    /// Whether who asks with this key belongs, prerequisites aside. Does not allocate but for long parameters of
    /// the query; does not grow with the list of keys.
    #[must_use]
    pub fn holds(&self, facts: &impl Facts, key: Option<&Key<'_>>) -> bool {
        self.missing(facts, key).is_none()
    }

    /// The first thing that keeps who asks with this key from belonging; `None`: nothing does. As [`Cohort::holds`].
    #[must_use]
    pub fn missing(&self, facts: &impl Facts, key: Option<&Key<'_>>) -> Option<Missing<'_>> {
        if !self.hosts.is_empty() && !self.names(without_end(facts.host(), '.')) {
            return Some(Missing::Host);
        }
        if let Some(unmet) = self.conditions.iter().find(|condition| !condition.holds(facts)) {
            return Some(Missing::Condition(unmet));
        }
        if !self.networks.is_empty() && !facts.client().is_some_and(|client| is_in(&self.networks, client)) {
            return Some(Missing::Networks(&self.networks));
        }
        if self.secret.as_ref().is_some_and(|secret| !secret.is_known(facts)) {
            return Some(Missing::Secret);
        }
        let is_listed = |key: &Key<'_>| self.keys.iter().any(|keys| keys.contains(key.as_bytes()));
        (!self.keys.is_empty() && !key.is_some_and(is_listed)).then_some(Missing::Keys)
    }

    /// The variant that a member with this bucket goes to.
    #[must_use]
    pub fn variant_of(&self, bucket: u32) -> usize {
        match &self.to {
            Leads::To(variant) => *variant,
            Leads::Divided(split) => split.variant_of(bucket),
        }
    }

    /// Where its members' exchanges with `variant` are counted, beside the variant's own counters.
    #[must_use]
    pub fn recorder(&self, variant: usize) -> Option<&Arc<Recorder>> {
        self.recorders.get(variant)?.as_ref()
    }

    /// Whether members may go to `variant`.
    #[must_use]
    pub fn leads_to(&self, variant: usize) -> bool {
        match &self.to {
            Leads::To(only) => *only == variant,
            Leads::Divided(split) => split.share_ppm(variant) > 0,
        }
    }

    /// Whether more than one variant is possible: then a member's key, or chance, decides.
    #[must_use]
    pub fn divides(&self) -> bool {
        matches!(&self.to, Leads::Divided(split) if !split.is_whole())
    }

    /// The header that must not be passed on.
    #[must_use]
    pub fn secret_header(&self) -> Option<&str> {
        self.secret.as_ref().map(|secret| secret.header.as_str())
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

impl CohortSpec {
    /// Everybody, on the way to `to`; never evidence.
    #[must_use]
    pub const fn of(name: Name, to: Destination) -> Self {
        Self {
            name,
            conditions: Vec::new(),
            networks: Vec::new(),
            secret: None,
            keys: None,
            prerequisites: Vec::new(),
            to,
            internal: false,
            evidence: false,
        }
    }
}

impl KeysSpec {
    /// The keys that stand in the configuration.
    ///
    /// # Panics
    /// When there are more than a set can hold, which the size of a configuration rules out.
    #[must_use]
    pub fn inline_set(&self) -> KeySet {
        KeySet::of(self.inline.iter().map(String::as_str)).expect("a configuration is not that long")
    }
}

impl Destination {
    /// Whether members may go to `variant`.
    #[must_use]
    pub fn leads_to(&self, variant: usize) -> bool {
        match self {
            Self::Variant(only) => *only == variant,
            Self::Fractional(weights) => weights[variant] > 0,
        }
    }
}

impl Secret {
    /// Whether a field of this name has the secret for its value. How long the comparison takes says nothing but
    /// whether the length is right.
    fn is_known(&self, facts: &impl Facts) -> bool {
        let is_right = |value: &[u8]| verify_slices_are_equal(value, self.value.as_bytes()).is_ok();
        facts.any(Origin::Header, &self.header, is_right)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Whether `address` lies in one of `networks`, each an address and its leading bits that count.
#[must_use]
pub fn is_in(networks: &[(IpAddr, u8)], address: IpAddr) -> bool {
    networks.iter().any(|&(network, bits)| match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let outside = 32 - u32::from(bits.min(32));
            u64::from(network.to_bits()) >> outside == u64::from(address.to_bits()) >> outside
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            bits == 0 || differing >> (128 - u32::from(bits.min(128))) == 0
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Cohort, CohortParts, CohortSpec, Destination, Secret};
    use crate::head::{HeadBuilder, Method, RequestHead, Version};
    use crate::name::Name;
    use crate::route::{Condition, FieldTest, Key, KeySet, Origin, Request};

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        head.request(Method::Get, Version::Http11, "h", "/")
    }

    fn spec() -> CohortSpec {
        CohortSpec::of(Name::new("beta").unwrap(), Destination::Variant(1))
    }

    fn condition(name: &str, value: &str) -> Condition {
        Condition {
            origin: Origin::Header,
            name: name.to_owned(),
            test: FieldTest::Exact(value.to_owned()),
            negated: false,
        }
    }

    fn cohort(headers: &[(&str, &str)], keys: &[&str]) -> Cohort {
        let spec = CohortSpec {
            conditions: headers.iter().map(|(name, value)| condition(name, value)).collect(),
            ..spec()
        };
        let keys = (!keys.is_empty()).then(|| Arc::new(KeySet::of(keys.iter().copied()).unwrap()));
        let parts = CohortParts {
            keys: keys.into_iter().collect(),
            ..CohortParts::default()
        };
        Cohort::new(&spec, parts)
    }

    #[track_caller]
    fn check_cohort(cohort: &Cohort, fields: &[(&str, &str)], expected: bool) {
        let head = head(fields);
        let request = Request::of(&head, [10, 0, 0, 1].into());
        let key = head.fields().get("x-user-id").and_then(Key::of);
        assert_eq!(cohort.holds(&request, key.as_ref()), expected, "{cohort:?} {fields:?}");
    }

    #[test]
    fn all_conditions_of_a_cohort_must_hold() {
        let both = cohort(&[("x-canary", "true"), ("x-env", "test")], &[]);
        check_cohort(&both, &[("x-canary", "true"), ("x-env", "test")], true);
        check_cohort(&both, &[("x-canary", "true")], false);
        let staff = cohort(&[], &["alice", "bob"]);
        check_cohort(&staff, &[("x-user-id", "bob")], true);
        check_cohort(&staff, &[("x-user-id", "eve")], false);
        check_cohort(&staff, &[], false);
        let mixed = cohort(&[("x-canary", "true")], &["alice"]);
        check_cohort(&mixed, &[("x-canary", "true"), ("x-user-id", "alice")], true);
        check_cohort(&mixed, &[("x-user-id", "alice")], false);
        check_cohort(&mixed, &[("x-canary", "true")], false);
    }

    #[test]
    fn networks_secrets_and_what_must_not_be_are_conditions_too() {
        let of = |spec: CohortSpec| Cohort::new(&spec, CohortParts::default());
        let networks = |network: &str, bits| CohortSpec {
            networks: vec![(network.parse().unwrap(), bits)],
            ..spec()
        };
        check_cohort(&of(networks("10.0.0.0", 8)), &[], true);
        check_cohort(&of(networks("192.0.2.0", 24)), &[], false);
        let not = |name: &str, value: &str| CohortSpec {
            conditions: vec![Condition {
                negated: true,
                ..condition(name, value)
            }],
            ..spec()
        };
        check_cohort(&of(not("x-plan", "free")), &[("x-plan", "gold")], true);
        check_cohort(&of(not("x-plan", "free")), &[], true);
        check_cohort(&of(not("x-plan", "free")), &[("x-plan", "free")], false);
        let secret = of(CohortSpec {
            secret: Some(Secret {
                header: "x-override".to_owned(),
                value: "sesame-open".to_owned(),
            }),
            ..spec()
        });
        check_cohort(&secret, &[("x-override", "sesame-open")], true);
        check_cohort(&secret, &[("x-override", "sesame")], false);
        check_cohort(&secret, &[], false);
        assert!(!format!("{secret:?}").contains("sesame"));
    }

    #[test]
    fn a_cohort_may_divide_in_its_own_way() {
        let spec = CohortSpec {
            to: Destination::Fractional(vec![1, 3]),
            ..spec()
        };
        let cohort = Cohort::new(&spec, CohortParts::default());
        assert_eq!(
            [0, 249_999, 250_000, 999_999].map(|bucket| cohort.variant_of(bucket)),
            [0, 0, 1, 1]
        );
        assert!(cohort.divides() && cohort.leads_to(0) && cohort.leads_to(1));
    }

    #[test]
    fn a_cohort_of_hosts_holds_who_asks_for_one_of_them() {
        let hosts = ["green.example".to_owned(), "look.example.".to_owned()];
        let cohort = Cohort::of_hosts(Name::new("preview").unwrap(), &hosts, 1, CohortParts::default());
        assert!(!cohort.evidence && cohort.variant_of(0) == 1);
        let check = |host: &str, expected: bool| {
            let head = HeadBuilder::default().request(Method::Get, Version::Http11, host, "/");
            assert_eq!(
                cohort.holds(&Request::of(&head, [10, 0, 0, 1].into()), None),
                expected,
                "{host}"
            );
        };
        check("green.example", true);
        check("Green.Example:8080", true);
        check("green.example.", true);
        check("look.example", true);
        check("blue.example", false);
        check("x.green.example", false);
        check("", false);
    }
}
