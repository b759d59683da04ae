//! Cohorts that stand behind one which takes all that they would take.

use std::collections::HashSet;

use super::cohorts::Checked;
use crate::config::read::Reader;
use crate::route::{CohortSpec, KeysSpec, is_in};

/// Reports each of `cohorts`, which are in the order of the file, that can never take anybody: an earlier one asks
/// for the same or less. Also those of other environments are compared, so that a file is as good in each.
pub(super) fn check(cohorts: &[&Checked], reader: &mut Reader<'_>) {
    let keys: Vec<HashSet<&str>> = cohorts.iter().map(|cohort| inline(&cohort.spec)).collect();
    for (i, later) in cohorts.iter().enumerate() {
        let first = (0..i).find(|&j| takes_all_of(cohorts[j], &keys[j], later));
        if let Some(first) = first {
            let first = cohorts[first];
            let line = reader.tree.get(first.at).place.0;
            let message = format!(
                "never takes anybody: the cohort on line {line} stands before it and takes all that it would take; \
                 move it up, or remove it"
            );
            reader.refuse(later.at, message);
        }
    }
}

/// Whether `earlier`, with these keys of its own, takes all that `later` would take. True only where that is certain.
fn takes_all_of(earlier: &Checked, keys: &HashSet<&str>, later: &Checked) -> bool {
    let (one, other) = (&earlier.spec, &later.spec);
    let same_environment = earlier.environment.is_none() || earlier.environment == later.environment;
    let same_secret = one.secret.is_none() || one.secret == other.secret;
    let networks = one.networks.is_empty()
        || (!other.networks.is_empty() && other.networks.iter().all(|network| lies_in(*network, &one.networks)));
    let of_file = |path| path == earlier.file.as_ref();
    let keys = match (&one.keys, &other.keys) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(_), Some(others)) => {
            (later.file.is_none() || of_file(later.file.as_ref()))
                && others.inline.iter().all(|key| keys.contains(key.as_str()))
        }
    };
    same_environment
        && same_secret
        && networks
        && one
            .prerequisites
            .iter()
            .all(|asked| other.prerequisites.contains(asked))
        && one
            .conditions
            .iter()
            .all(|condition| other.conditions.contains(condition))
        && keys
}

/// Whether all of `network` lies in one of `networks`.
fn lies_in((address, bits): (std::net::IpAddr, u8), networks: &[(std::net::IpAddr, u8)]) -> bool {
    let mut wider = networks
        .iter()
        .filter(|(other, others)| other.is_ipv4() == address.is_ipv4() && *others <= bits);
    wider.any(|wide| is_in(&[*wide], address))
}

fn inline(spec: &CohortSpec) -> HashSet<&str> {
    let keys: Option<&KeysSpec> = spec.keys.as_ref();
    keys.into_iter()
        .flat_map(|keys| keys.inline.iter().map(String::as_str))
        .collect()
}
