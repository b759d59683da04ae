//! An environment that the file names nowhere, but nearly: `stagin`, where it speaks of `staging`.

use std::collections::BTreeSet;

use crate::config::file::File;
use crate::config::read::{Reader, Slot};

/// Reports the environment where it is one letter away from one that flags speak of, and they do not speak of it
/// itself. One that nobody speaks of may be right: it has nothing of its own.
pub(super) fn check(file: &File, reader: &mut Reader<'_>) {
    let Some(served) = file.environment.get() else { return };
    let named = named(file);
    if named.contains(served.0.as_str()) {
        return;
    }
    if let Some(near) = named.into_iter().find(|near| is_slip(&served.0, near)) {
        // Shown although a variable may hold it: it is all but the name that stands in the file.
        let message = format!(
            "is {:?}, of which no flag speaks; did you mean `{near}`? If not, name it in an `environments`, too",
            served.0
        );
        reader.refuse(file.environment.at, message);
    }
}

/// Environments that flags speak of.
fn named(file: &File) -> BTreeSet<&str> {
    let mut named = BTreeSet::new();
    let splits = file.routes.items().filter_map(|slot| slot.get()?.split.get());
    for split in splits {
        let own = split.environments.get().into_iter();
        named.extend(own.flat_map(|all| all.slots().map(|(name, _)| name.0.as_str())));
        let cohorts = split.cohorts.items().filter_map(Slot::get);
        named.extend(cohorts.filter_map(|cohort| Some(cohort.environment.get()?.0.as_str())));
    }
    for flag in file.flags.items().filter_map(Slot::get) {
        let own = flag.environments.get().into_iter();
        named.extend(own.flat_map(|all| all.slots().map(|(name, _)| name.0.as_str())));
        let cohorts = flag.cohorts.items().filter_map(Slot::get);
        named.extend(cohorts.filter_map(|cohort| Some(cohort.environment.get()?.0.as_str())));
    }
    named
}

/// Whether `served` is `near` with a slip of the pen. Environments have siblings that must not pass for one, such as
/// `eu-1` and `eu-2`, `zone-a` and `zone-b`, `us-east` and `us-west`: so the slip must be in one word of letters.
fn is_slip(served: &str, near: &str) -> bool {
    if served.eq_ignore_ascii_case(near) {
        return served != near;
    }
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words.map(str::to_lowercase).collect()
    };
    let (ours, theirs) = (words(served), words(near));
    if ours.len() != theirs.len() {
        return ours.concat() == theirs.concat();
    }
    let mut other = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
    match (other.next(), other.next()) {
        (Some((ours, theirs)), None) => {
            let letters = |word: &str| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            let is_long = ours.chars().count().max(theirs.chars().count()) >= SHORTEST;
            is_long && letters(ours) != letters(theirs) && strsim::osa_distance(ours, theirs) == 1
        }
        // Another sign between the words.
        (None, _) => true,
        (Some(_), Some(_)) => false,
    }
}

/// Letters of a word that is not taken for another one: `uk` is no slip of `us`, nor `qa` of `qb`.
const SHORTEST: usize = 4;

#[cfg(test)]
mod tests {
    use super::is_slip;

    #[test]
    fn a_slip_is_told_from_a_sibling() {
        let check = |served: &str, near: &str, expected| assert_eq!(is_slip(served, near), expected, "{served} {near}");
        check("stagin", "staging", true);
        check("stgaing", "staging", true);
        check("prd", "prod", true);
        check("Prod", "prod", true);
        check("eu_prod", "eu-prod", true);
        check("euprod", "eu-prod", true);
        check("eu-prdo", "eu-prod", true);
        check("production", "prod", false);
        check("eu-1", "eu-2", false);
        check("staging2", "staging", false);
        check("staging2", "staging1", false);
        check("uk", "us", false);
        check("dev", "des", false);
        check("zone-a", "zone-b", false);
        check("us-east", "us-west", false);
        check("prod-eu", "prod-us", false);
    }
}
