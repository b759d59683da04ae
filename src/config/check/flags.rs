//! Flags without a route.

use super::names::{Names, check_unique};
use super::whole::Whole;
use super::{cohorts, keys, rules};
use crate::config::file::{self, File};
use crate::config::read::{Reader, Slot};
use crate::config::spec::{Flag, FlagVariant, Rules};
use crate::route::{CohortSpec, Destination, KeySource, KeySpec, Origin};

/// All flags without a route; `None` when one does not come about, which is then reported.
pub(super) fn check(file: &File, whole: &mut Whole<'_>, reader: &mut Reader<'_>) -> Option<Vec<Flag>> {
    let mut flags = Vec::new();
    for (own, slot) in file.flags.items().enumerate() {
        let index = whole.of_own(own);
        flags.push(slot.get().and_then(|written| flag(index, written, whole, reader)));
    }
    (file.flags.left_out || file.flags.get().is_some()).then_some(())?;
    flags.into_iter().collect()
}

fn flag(index: usize, written: &file::Flag, whole: &mut Whole<'_>, reader: &mut Reader<'_>) -> Option<Flag> {
    let variant_names = || written.variants.items().map(|v| v.get().map(|v| &v.name));
    check_unique(reader, "variant", variant_names().flatten());
    let names = Names::of(reader, "variant", variant_names());
    let variants = || written.variants.items();
    rules::check_weights(
        written.variants.at,
        variants().map(|v| Some(v.get()?.weight.get()?.0)),
        reader,
    );
    let values = rules::values(variants().filter_map(|v| Some(&v.get()?.value)), reader);
    let key = keys::of_flag(&written.key, reader);
    let ruled = rules::check(index, &written.into(), &names, whole, reader);
    check_unique(
        reader,
        "cohort",
        written.cohorts.items().filter_map(Slot::get).map(|cohort| &cohort.name),
    );
    let owner = cohorts::Owner {
        flag: index,
        variants: &names,
        has_key: true,
        key: key.as_ref(),
        asked: ruled.as_ref().map_or(&[], |ruled| &ruled.prerequisites),
    };
    let cohorts = cohorts::of_flag(&written.cohorts, owner, whole, reader);
    let (ruled, values) = (ruled?, values?);
    let variants = variants().zip(values).enumerate().map(|(at, (slot, value))| {
        let variant = slot.get()?;
        let weight = variant.weight.get()?.0;
        Some(FlagVariant {
            name: variant.name.get()?.clone(),
            weight: ruled.weights.as_ref().map_or(weight, |weights| weights[at]),
            value,
        })
    });
    let variants: Vec<_> = variants.collect::<Option<_>>()?;
    let (key, cohorts) = (key?, cohorts?);
    whole.flags[index].beyond_requests = beyond_requests(&key, &variants, &cohorts);
    let name = written.name.get()?.clone();
    Some(Flag {
        variants,
        rules: Rules {
            listed: true,
            key: Some(key),
            salt: ruled.salt,
            schedule: ruled.schedule,
            default: ruled.default,
            prerequisites: ruled.prerequisites,
            cohorts,
            ..Rules::of(name.clone())
        },
        name,
    })
}

/// What such a flag goes by that no request has: then a route that leaned on it would answer by chance.
fn beyond_requests(key: &KeySpec, variants: &[FlagVariant], cohorts: &[CohortSpec]) -> Option<&'static str> {
    let attributes = cohorts.iter().any(|cohort| {
        cohort
            .conditions
            .iter()
            .any(|condition| condition.origin == Origin::Attribute)
    });
    let divides = |weights: &mut dyn Iterator<Item = u32>| weights.filter(|weight| *weight > 0).count() > 1;
    let by_key = divides(&mut variants.iter().map(|variant| variant.weight))
        || cohorts.iter().any(|cohort| {
            let fractional = match &cohort.to {
                Destination::Variant(_) => false,
                Destination::Fractional(weights) => divides(&mut weights.iter().copied()),
            };
            cohort.keys.is_some() || fractional
        });
    match key.source {
        _ if attributes => Some("looks at attributes, which requests do not have"),
        KeySource::Attribute(_) => Some("has an attribute for a key, which requests do not have"),
        _ if by_key => Some("places users by the targeting key, which requests do not have"),
        _ => None,
    }
}
