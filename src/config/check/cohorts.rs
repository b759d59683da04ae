//! Cohorts: who belongs, and where they go. Those of other environments are checked, too, and left out.

use std::path::PathBuf;

use super::conditions::{Placed, check_contradictions, condition};
use super::keys::{NO_CLIENT_CA, NO_ISSUER};
use super::names::Names;
use super::rules::{prerequisites, some_weights};
use super::shadows;
use super::whole::Whole;
use crate::config::asker::UserKey;
use crate::config::file;
use crate::config::read::{AtLeastOne, Reader, Slot};
use crate::config::scalar::{Text, Weight};
use crate::config::shapes::Fields;
use crate::config::spec::Network;
use crate::config::tree::NodeId;
use crate::name::Name;
use crate::route::{CohortSpec, Destination, FieldTest, KeySource, KeySpec, KeysSpec, Origin, Prerequisite, Secret};

/// The flag that cohorts belong to.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    /// Its index among all flags.
    pub(super) flag: usize,
    /// Its variants.
    pub(super) variants: &'a Names<'a>,
    /// Whether it has a key.
    pub(super) has_key: bool,
    /// Its key, where that came about.
    pub(super) key: Option<&'a KeySpec>,
    /// What it asks of others itself, as far as that came about.
    pub(super) asked: &'a [Prerequisite],
}

/// A cohort, and what its spec does not say.
pub(super) struct Checked {
    /// Where it stands.
    pub(super) at: NodeId,
    /// The environment that it is for; `None`: all.
    pub(super) environment: Option<String>,
    /// Its file of keys.
    pub(super) file: Option<PathBuf>,
    /// Without the index of its file.
    pub(super) spec: CohortSpec,
}

/// Cohorts of a route, as far as they are for this environment.
pub(super) fn of_split(
    slots: &Slot<file::List<file::Cohort>>,
    owner: Owner<'_>,
    whole: &mut Whole<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<CohortSpec>> {
    let all = slots.items().map(|slot| {
        let written = slot.get()?;
        let conditions = split_conditions(written, whole, reader);
        let common = Common {
            at: slot.at,
            name: &written.name,
            client_ips: &written.client_ips,
            environment: &written.environment,
            keys: &written.keys,
            keys_file: &written.keys_file,
            prerequisites: &written.prerequisites,
            variant: &written.variant,
            fractional: &written.fractional,
            conditions,
            secret: secret(&written.secret, reader),
        };
        let mut checked = check(common, owner, whole, reader)?;
        if written.internal.value == Some(true) && !keeps_outsiders_out(&checked, owner) {
            reader.refuse(slot.at, why_outsiders_come_in(&checked));
        }
        checked.spec.evidence = written.evidence.known_or(false)?;
        checked.spec.internal = written.internal.known_or(false)?;
        Some(checked)
    });
    let all: Vec<_> = all.collect();
    kept(all, slots, whole, reader)
}

/// Cohorts of a flag without a route, as far as they are for this environment.
pub(super) fn of_flag(
    slots: &Slot<file::List<file::FlagCohort>>,
    owner: Owner<'_>,
    whole: &mut Whole<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<CohortSpec>> {
    let all = slots.items().map(|slot| {
        let written = slot.get()?;
        let conditions: Vec<_> = written
            .attributes
            .items()
            .map(|slot| {
                let written = slot.get()?;
                let name = written.name.get()?;
                condition(slot.at, (Origin::Attribute, &name.0), written.tests(), reader)
            })
            .collect();
        let common = Common {
            at: slot.at,
            name: &written.name,
            client_ips: &written.client_ips,
            environment: &written.environment,
            keys: &written.keys,
            keys_file: &written.keys_file,
            prerequisites: &written.prerequisites,
            variant: &written.variant,
            fractional: &written.fractional,
            conditions: all_or_none(conditions, written.attributes.known()),
            secret: Some(None),
        };
        check(common, owner, whole, reader)
    });
    let all: Vec<_> = all.collect();
    kept(all, slots, whole, reader)
}

/// What cohorts of routes and of flags have in common.
struct Common<'f> {
    at: NodeId,
    name: &'f Slot<Name>,
    client_ips: &'f Slot<AtLeastOne<Network>>,
    environment: &'f Slot<Text>,
    keys: &'f Slot<AtLeastOne<UserKey>>,
    keys_file: &'f Slot<Text>,
    prerequisites: &'f Slot<AtLeastOne<file::Prerequisite>>,
    variant: &'f Slot<Name>,
    fractional: &'f Slot<Fields<Name, Weight>>,
    /// `None`: one does not come about.
    conditions: Option<Vec<Placed>>,
    /// Likewise.
    secret: Option<Option<Secret>>,
}

fn check(written: Common<'_>, owner: Owner<'_>, whole: &mut Whole<'_>, reader: &mut Reader<'_>) -> Option<Checked> {
    let environment = environment(written.environment, whole, reader);
    let to = destination(&written, owner.variants, reader);
    let networks: Option<Vec<_>> = written
        .client_ips
        .items()
        .map(|slot| slot.get().map(|network| (network.address, network.prefix_bits)))
        .collect();
    let inline: Option<Vec<_>> = written
        .keys
        .items()
        .map(|slot| slot.get().map(|key| key.0.clone()))
        .collect();
    let mut lists = [
        (written.keys.at, written.keys.get().is_some()),
        (written.keys_file.at, written.keys_file.get().is_some()),
    ]
    .into_iter();
    if let Some((at, _)) = lists.find(|(_, is_given)| *is_given && !owner.has_key) {
        reader.refuse(
            at,
            "the split has no key to compare these with; give it `key: { header: x-user-id }`",
        );
    }
    let is_in_force = environment
        .as_ref()
        .is_some_and(|environment| environment.as_ref().is_none_or(|environment| whole.serves(environment)));
    let known_leans = whole.leans.len();
    let prerequisites = prerequisites(owner.flag, written.prerequisites, whole, reader);
    let differs = |one: &Prerequisite, other: &Prerequisite| one.flag == other.flag && one.variant != other.variant;
    let mut asked = prerequisites.iter().flatten();
    if asked.any(|asked| owner.asked.iter().any(|other| differs(asked, other))) {
        reader.refuse(
            written.prerequisites.at,
            "contradict those of the flag itself, so that nobody can belong; remove one of them",
        );
    }
    if !is_in_force {
        // Elsewhere nobody is asked for it.
        whole.leans.truncate(known_leans);
    }
    if let Some(conditions) = &written.conditions {
        if conditions.len() > CONDITIONS_MAX {
            let message = format!("has {} conditions; give at most {CONDITIONS_MAX}", conditions.len());
            reader.refuse(written.at, message);
            return None;
        }
        check_contradictions(conditions, reader);
    }
    let has_keys = !written.keys.left_out || !written.keys_file.left_out;
    let file = match written.keys_file.get() {
        Some(path) => Some(whole.directory.join(&path.0)),
        None => None,
    };
    (written.keys.known() && written.keys_file.known() && written.client_ips.known()).then_some(())?;
    let conditions = written
        .conditions?
        .into_iter()
        .map(|(_, condition)| condition)
        .collect();
    let checked = Checked {
        at: written.at,
        environment: environment?,
        file,
        spec: CohortSpec {
            conditions,
            networks: networks?,
            secret: written.secret?,
            keys: inline.map(|inline| has_keys.then_some(KeysSpec { inline, file: None }))?,
            prerequisites: prerequisites?,
            ..CohortSpec::of(written.name.get()?.clone(), to?)
        },
    };
    if takes_everyone(&checked) {
        reader.refuse(
            written.at,
            "takes everyone; give it a condition, such as `headers` or `keys`",
        );
        return None;
    }
    Some(checked)
}

/// Those of this environment; that one can never take anybody is reported.
fn kept<T>(
    all: Vec<Option<Checked>>,
    slots: &Slot<file::List<T>>,
    whole: &mut Whole<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<CohortSpec>> {
    if all.len() > COHORTS_MAX {
        let message = format!(
            "there are {} cohorts, each of which costs time; give at most {COHORTS_MAX}",
            all.len()
        );
        reader.refuse(slots.at, message);
        return None;
    }
    shadows::check(&all.iter().flatten().collect::<Vec<_>>(), reader);
    let all: Vec<Checked> = all.into_iter().collect::<Option<_>>()?;
    if !slots.left_out {
        slots.get()?;
    }
    let here = all.into_iter().filter(|cohort| match &cohort.environment {
        Some(environment) => whole.environment.get().is_some_and(|text| text.0 == *environment),
        None => true,
    });
    let here: Vec<_> = here.collect();
    let with_file = |cohort: Checked| {
        let mut spec = cohort.spec;
        if let (Some(keys), Some(path)) = (&mut spec.keys, cohort.file) {
            keys.file = Some(whole.key_file(path));
        }
        spec
    };
    Some(here.into_iter().map(with_file).collect())
}

fn split_conditions(written: &file::Cohort, whole: &Whole<'_>, reader: &mut Reader<'_>) -> Option<Vec<Placed>> {
    if !written.claims.left_out && !whole.has_issuers {
        reader.refuse(written.claims.at, NO_ISSUER);
    }
    if !written.client_certificates.left_out && !whole.has_client_ca {
        reader.refuse(written.client_certificates.at, NO_CLIENT_CA);
    }
    let mut all = Vec::new();
    for slot in written.headers.items() {
        let one = slot.get().and_then(|w| Some((&w.name.get()?.0, w.tests())));
        all.push(one.and_then(|(name, tests)| condition(slot.at, (Origin::Header, name), tests, reader)));
    }
    for slot in written.cookies.items() {
        let one = slot.get().and_then(|w| Some((&w.name.get()?.0, w.tests())));
        all.push(one.and_then(|(name, tests)| condition(slot.at, (Origin::Cookie, name), tests, reader)));
    }
    for slot in written.query.items() {
        let one = slot.get().and_then(|w| Some((&w.name.get()?.0, w.tests())));
        all.push(one.and_then(|(name, tests)| condition(slot.at, (Origin::Query, name), tests, reader)));
    }
    for slot in written.claims.items() {
        let one = slot.get().and_then(|w| Some((&w.name.get()?.0, w.tests())));
        all.push(one.and_then(|(name, tests)| condition(slot.at, (Origin::Claim, name), tests, reader)));
    }
    for slot in written.client_certificates.items() {
        let tests = slot.get().map(file::AskerCertificate::tests);
        all.push(tests.and_then(|tests| condition(slot.at, (Origin::ClientCertificate, ""), tests, reader)));
    }
    let known = written.headers.known()
        && written.cookies.known()
        && written.query.known()
        && written.claims.known()
        && written.client_certificates.known();
    all_or_none(all, known)
}

fn all_or_none(all: Vec<Option<Placed>>, known: bool) -> Option<Vec<Placed>> {
    all.into_iter().collect::<Option<_>>().filter(|_| known)
}

fn environment(slot: &Slot<Text>, whole: &Whole<'_>, reader: &mut Reader<'_>) -> Option<Option<String>> {
    if slot.left_out {
        return Some(None);
    }
    whole.check_environment(slot.at, reader);
    slot.get().map(|text| Some(text.0.clone()))
}

fn destination(written: &Common<'_>, variants: &Names<'_>, reader: &mut Reader<'_>) -> Option<Destination> {
    match (written.variant.left_out, written.fractional.left_out) {
        (false, true) => variants.find(written.variant, reader).map(Destination::Variant),
        (true, false) => {
            let weights = some_weights(written.fractional, variants, reader)?;
            let weights = weights.into_iter().map(|weight| weight.unwrap_or(0)).collect();
            Some(Destination::Fractional(weights))
        }
        (true, true) => {
            reader.refuse(
                written.at,
                "leads nowhere; give it a `variant`, or `fractional` with weights",
            );
            None
        }
        (false, false) => {
            reader.refuse(written.fractional.at, "excludes `variant`; keep one of the two");
            None
        }
    }
}

fn secret(slot: &Slot<file::Secret>, reader: &mut Reader<'_>) -> Option<Option<Secret>> {
    let Some(written) = slot.get() else {
        return slot.left_out.then_some(None);
    };
    let header = written.header.get()?;
    if NEEDED.contains(&header.0.as_str()) {
        reader.refuse_text(
            written.header.at,
            "is needed behind Serin, and the header of a secret is not passed on; name one of its own, such as \
             x-override",
        );
    }
    Some(Some(Secret {
        header: header.0.clone(),
        value: written.value.get()?.0.clone(),
    }))
}

fn takes_everyone(cohort: &Checked) -> bool {
    let spec = &cohort.spec;
    spec.conditions.is_empty()
        && spec.networks.is_empty()
        && spec.secret.is_none()
        && spec.keys.is_none()
        && spec.prerequisites.is_empty()
        && cohort.environment.is_none()
}

/// Whether some condition needs what an outsider does not have.
fn keeps_outsiders_out(cohort: &Checked, owner: Owner<'_>) -> bool {
    let spec = &cohort.spec;
    let mut conditions = spec.conditions.iter();
    let by_identity = conditions.any(|condition| {
        let needs_one = match condition.test {
            FieldTest::Present(wanted) => wanted != condition.negated,
            _ => !condition.negated,
        };
        needs_one && matches!(condition.origin, Origin::Claim | Origin::ClientCertificate)
    });
    let by_key = spec.keys.is_some()
        && owner.key.is_some_and(|key| match key.source {
            KeySource::Claim(_) | KeySource::ClientCertificate | KeySource::ClientIp => true,
            // These everybody can write.
            KeySource::Header(_) | KeySource::Cookie(_) | KeySource::Query(_) => false,
            KeySource::Attribute(_) | KeySource::TargetingKey => false,
        });
    let by_range = !spec.networks.is_empty() && spec.networks.iter().all(|(_, bits)| *bits > 0);
    by_identity || by_key || by_range || spec.secret.is_some()
}

/// For a cohort that is internal and keeps nobody out.
fn why_outsiders_come_in(cohort: &Checked) -> String {
    let mut networks = cohort.spec.networks.iter();
    match networks.find(|(_, bits)| *bits == 0) {
        Some((address, _)) => format!(
            "is internal, and the range {address}/0 of its clientIps holds everybody; give the ranges of insiders, \
             such as 10.0.0.0/8, or add secret, claims or clientCertificates"
        ),
        None => "is internal, and outsiders could meet its conditions; give it secret, clientIps, claims or \
                 clientCertificates, none of them `not: true`"
            .to_owned(),
    }
}

/// Headers that applications go by.
const NEEDED: [&str; 2] = ["authorization", "cookie"];
/// Each is tried for each request, in its turn.
const COHORTS_MAX: usize = 1_000;
/// Of one cohort.
const CONDITIONS_MAX: usize = 64;
