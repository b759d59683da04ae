//! Flags: who gets which variant of a split, from what the file says and what is in force.

use std::collections::{BTreeSet, HashMap};
use std::ptr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Book, InForce, Last, Trial};
use crate::config::{self, Rules, Spec};
use crate::measure::RecorderKey;
use crate::name::Name;
use crate::route::{
    Cohort, CohortParts, CohortSpec, Condition, Destination, Flag, FlagId, FlagKeys, KeySource, Origin, PREVIEW,
    Prerequisite, RouteKey, Split, Sticky,
};
use crate::share::{bounds, divide_pair};

/// What one flag is made of.
pub(super) struct FlagInput<'a> {
    /// Of the route, or of the flag.
    pub(super) name: &'a Name,
    pub(super) rules: &'a Rules,
    /// Of the variants, in file order.
    pub(super) names: SmallVec<[&'a Name; 2]>,
    pub(super) values: SmallVec<[Option<&'a serde_json::Value>; 2]>,
    /// Where the variants lead.
    pub(super) backends: SmallVec<[Option<&'a Name>; 2]>,
    /// For which releases sticky cookies are.
    pub(super) binding: u32,
    /// The rollout whose preview reaches the variant with this index.
    pub(super) previews: Option<(&'a config::Rollout, usize)>,
    pub(super) now: &'a InForce,
    /// What it was made of before, and what became of it: cohorts that are defined alike are not built again.
    pub(super) before: Option<(&'a Rules, &'a Flag)>,
}

/// A flag as [`FlagInput::now`] wants it.
pub(super) fn new_flag(spec: &Spec, book: &mut Book, input: &FlagInput<'_>) -> Flag {
    let FlagInput { rules, now, .. } = *input;
    let count = input.names.len();
    assert_eq!(count, now.weights.len(), "each variant has a weight");
    let aborted = now.trial.as_ref().filter(|trial| trial.aborted);
    let default = default_of(rules, now.trial.as_ref());
    let ends = match aborted {
        _ if !now.enabled => bounds(&only(default, count)),
        Some(trial) => divide_pair(&now.weights, trial.from, trial.to, 0).and_then(|weights| bounds(&weights)),
        None => bounds(&now.weights),
    };
    let mut cohorts = Vec::new();
    if now.enabled {
        if let Some((rollout, idle)) = input.previews {
            cohorts.extend(previews_of(book, input, rollout, idle));
        }
        for cohort in &rules.cohorts {
            let Some(spared) = spared(cohort, aborted) else {
                continue;
            };
            let known = input.before.filter(|_| spared == *cohort).and_then(|(old, flag)| {
                let old = old.cohorts.iter().find(|&old| ptr::eq(old, cohort) || old == cohort)?;
                let known = flag.cohorts.iter().find(|known| known.name == old.name)?;
                // One that was spared a canary before is another one.
                (0..count)
                    .all(|variant| known.leads_to(variant) == cohort.to.leads_to(variant))
                    .then(|| Arc::clone(known))
            });
            cohorts.push(known.unwrap_or_else(|| {
                let parts = parts_of(spec, book, input, &spared);
                Arc::new(Cohort::new(&spared, parts))
            }));
        }
    }
    let values: Option<Vec<_>> = input.values.iter().map(|value| value.cloned()).collect();
    let rule = rules
        .key
        .as_ref()
        .map(|key| RouteKey::new(input.name, &rules.salt, book.key(key)));
    let sticky = rules.sticky.as_ref().filter(|_| now.enabled);
    Flag {
        key: rules.flag.clone(),
        rule,
        enabled: now.enabled,
        default,
        prerequisites: match now.enabled {
            true => rules.prerequisites.clone().into(),
            false => [].into(),
        },
        cohorts: cohorts.into(),
        split: Split::new(ends.expect("weights in force add up to more than 0")),
        sticky: sticky.map(|sticky| {
            let secret = book.cookie_secret();
            Arc::new(Sticky::new(input.name.as_str(), sticky, secret, input.binding))
        }),
        names: input.names.iter().copied().cloned().collect(),
        values: values.map(Into::into),
        asks_claims: asks_claims(spec, rules),
    }
}

/// The variant of those whom a flag is not for: never an aborted canary.
fn default_of(rules: &Rules, trial: Option<&Trial>) -> usize {
    let from = trial.map_or(0, |trial| trial.from);
    let aborted = trial.filter(|trial| trial.aborted).map(|trial| trial.to);
    rules
        .default
        .filter(|default| Some(*default) != aborted)
        .unwrap_or(from)
}

fn only(variant: usize, count: usize) -> Vec<u32> {
    (0..count).map(|at| u32::from(at == variant)).collect()
}

/// `cohort` without an aborted canary: the part that it had goes to those that share the cohort with it. `None`:
/// nothing is left of it.
fn spared(cohort: &CohortSpec, aborted: Option<&Trial>) -> Option<CohortSpec> {
    let mut spared = cohort.clone();
    if let Some(trial) = aborted {
        match &mut spared.to {
            Destination::Variant(variant) if *variant == trial.to => return None,
            Destination::Variant(_) => {}
            Destination::Fractional(weights) => {
                let canarys = std::mem::take(&mut weights[trial.to]);
                weights[trial.from] += canarys;
                if weights.iter().all(|&weight| weight == 0) {
                    return None;
                }
            }
        }
    }
    Some(spared)
}

/// What a cohort takes from beside its spec: sets of keys that were read, and recorders that outlive it.
fn parts_of(spec: &Spec, book: &mut Book, input: &FlagInput<'_>, cohort: &CohortSpec) -> CohortParts {
    let keys = cohort.keys.as_ref().into_iter().flat_map(|keys| {
        let file = keys.file.and_then(|file| spec.key_files[file].1.clone());
        let inline = (!keys.inline.is_empty() || file.is_none()).then(|| Arc::new(keys.inline_set()));
        inline.into_iter().chain(file)
    });
    let keys = keys.collect();
    CohortParts {
        keys,
        recorders: recorders(book, input, &cohort.name, |variant| cohort.to.leads_to(variant)),
    }
}

fn recorders(
    book: &mut Book,
    input: &FlagInput<'_>,
    cohort: &Name,
    leads_to: impl Fn(usize) -> bool,
) -> SmallVec<[Option<Arc<crate::measure::Recorder>>; 2]> {
    let recorder = |(at, backend): (usize, &Option<&Name>)| {
        let backend = backend.filter(|_| leads_to(at))?;
        Some(book.recorder(&RecorderKey {
            route: input.name.clone(),
            variant: input.names[at].clone(),
            backend: backend.clone(),
            cohort: Some(cohort.clone()),
        }))
    };
    input.backends.iter().enumerate().map(recorder).collect()
}

/// What a preview of `rollout` reaches the `idle` variant by: a cohort for its hosts, and one for its header.
fn previews_of(book: &mut Book, input: &FlagInput<'_>, rollout: &config::Rollout, idle: usize) -> Vec<Arc<Cohort>> {
    let Some(preview) = &rollout.preview else {
        return Vec::new();
    };
    let name = Name::new(PREVIEW).expect("letters are a name");
    let mut parts = || CohortParts {
        recorders: recorders(book, input, &name, |variant| variant == idle),
        ..CohortParts::default()
    };
    let hosts = (!preview.hosts.is_empty()).then(|| Cohort::of_hosts(name.clone(), &preview.hosts, idle, parts()));
    let header = preview.header.clone().map(|header| {
        let spec = CohortSpec {
            conditions: vec![Condition {
                origin: Origin::Header,
                name: header.name,
                test: header.test,
                negated: false,
            }],
            ..CohortSpec::of(name.clone(), Destination::Variant(idle))
        };
        Cohort::new(&spec, parts())
    });
    [hosts, header].into_iter().flatten().map(Arc::new).collect()
}

/// Says for which releases a draw is, and that no abort lies in between. The same in every process with the same
/// file, as long as their rollouts were aborted equally often.
pub(super) fn binding(spec: &Spec, route: &config::Route, aborts: u32) -> u32 {
    let mut text = Vec::new();
    for variant in &route.variants {
        let release = spec.backends[variant.backend].release.as_deref().unwrap_or_default();
        for part in [variant.name.as_str(), release] {
            text.extend_from_slice(part.as_bytes());
            text.push(0);
        }
    }
    text.extend_from_slice(route.rules.salt.as_bytes());
    text.extend_from_slice(&aborts.to_be_bytes());
    crate::route::murmur3(&text)
}

/// Flags without a route.
pub(super) fn flags(spec: &Spec, in_force: &[InForce], book: &mut Book, last: Option<Last<'_>>) -> Box<[Arc<Flag>]> {
    let same_spec = last.filter(|last| ptr::eq(Arc::as_ptr(last.spec), spec));
    let flag = |(at, (written, now)): (usize, (&config::Flag, &InForce))| {
        let before = same_spec.map(|last| {
            let then = &last.in_force[last.spec.routes.len() + at];
            (then, &last.table.flags[at])
        });
        if let Some((then, flag)) = before
            && then == now
        {
            return Arc::clone(flag);
        }
        Arc::new(new_flag(
            spec,
            book,
            &FlagInput {
                name: &written.name,
                rules: &written.rules,
                names: written.variants.iter().map(|variant| &variant.name).collect(),
                values: written.variants.iter().map(|variant| variant.value.as_ref()).collect(),
                backends: written.variants.iter().map(|_| None).collect(),
                binding: 0,
                previews: None,
                now,
                before: before.map(|(_, flag)| (&written.rules, &**flag)),
            },
        ))
    };
    spec.flags.iter().zip(in_force).enumerate().map(flag).collect()
}

/// How applications call the flags of `spec`.
pub(super) fn flag_keys(spec: &Spec) -> FlagKeys {
    let routes = spec.routes.iter().enumerate();
    let routes = routes.map(|(at, route)| (FlagId::Route(at), &route.rules));
    let own = spec.flags.iter().enumerate();
    let own = own.map(|(at, flag)| (FlagId::Own(at), &flag.rules));
    let all: Vec<_> = routes.chain(own).collect();
    let by_key: HashMap<_, _> = all.iter().map(|(id, rules)| (rules.flag.clone(), *id)).collect();
    let listed = all.iter().filter(|(_, rules)| rules.listed).map(|(id, _)| *id);
    FlagKeys::new(by_key, listed.collect())
}

/// The headers that hold secrets of cohorts: they stop here whatever route they come by.
pub(super) fn secret_headers(spec: &Spec) -> Box<[Box<str>]> {
    let cohorts = spec.routes.iter().flat_map(|route| &route.rules.cohorts);
    let secrets = cohorts.filter_map(|cohort| cohort.secret.as_ref());
    let headers: BTreeSet<&str> = secrets.map(|secret| secret.header.as_str()).collect();
    headers.into_iter().map(Into::into).collect()
}

/// Whether claims matter to `rules`, or to the flags that they ask.
fn asks_claims(spec: &Spec, rules: &Rules) -> bool {
    let by_key = rules
        .key
        .as_ref()
        .is_some_and(|key| matches!(key.source, KeySource::Claim(_)));
    let is_claim = |condition: &Condition| condition.origin == Origin::Claim;
    let by_cohort = rules
        .cohorts
        .iter()
        .any(|cohort| cohort.conditions.iter().any(is_claim));
    by_key || by_cohort || asked(rules).any(|other| asks_claims(spec, rules_of(spec, other.flag)))
}

/// The flags that `rules` ask. There are no circles: the configuration has none.
fn asked(rules: &Rules) -> impl Iterator<Item = &Prerequisite> {
    let in_cohorts = rules.cohorts.iter().flat_map(|cohort| &cohort.prerequisites);
    rules.prerequisites.iter().chain(in_cohorts)
}

fn rules_of(spec: &Spec, id: FlagId) -> &Rules {
    match id {
        FlagId::Route(route) => &spec.routes[route].rules,
        FlagId::Own(own) => &spec.flags[own].rules,
    }
}
