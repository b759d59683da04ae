//! What a route's split and a flag without one have in common: when it is on, its weights here, its default, its
//! prerequisites, what its variants mean.

use serde_json::Value as Json;

use super::names::Names;
use super::whole::Whole;
use crate::config::file;
use crate::config::read::{AtLeastOne, Reader, Slot};
use crate::config::scalar::{Text, Weight};
use crate::config::shapes::Fields;
use crate::config::tree::NodeId;
use crate::config::value::FlagValue;
use crate::config::when::PointInTime;
use crate::name::Name;
use crate::rollout::Schedule;
use crate::route::Prerequisite;

/// The keys that both have.
pub(super) struct Common<'f> {
    pub(super) salt: &'f Slot<Text>,
    pub(super) enabled: &'f Slot<bool>,
    pub(super) enable_at: &'f Slot<PointInTime>,
    pub(super) disable_at: &'f Slot<PointInTime>,
    pub(super) default_variant: &'f Slot<Name>,
    pub(super) prerequisites: &'f Slot<AtLeastOne<file::Prerequisite>>,
    pub(super) environments: &'f Slot<Fields<Text, file::Environment>>,
}

/// What comes of them.
pub(super) struct Ruled {
    pub(super) salt: String,
    pub(super) schedule: Schedule,
    pub(super) default: Option<usize>,
    pub(super) prerequisites: Vec<Prerequisite>,
    /// The weights of this environment, where it has some of its own.
    pub(super) weights: Option<Vec<u32>>,
}

impl<'f> From<&'f file::Split> for Common<'f> {
    fn from(split: &'f file::Split) -> Self {
        Self {
            salt: &split.salt,
            enabled: &split.enabled,
            enable_at: &split.enable_at,
            disable_at: &split.disable_at,
            default_variant: &split.default_variant,
            prerequisites: &split.prerequisites,
            environments: &split.environments,
        }
    }
}

impl<'f> From<&'f file::Flag> for Common<'f> {
    fn from(flag: &'f file::Flag) -> Self {
        Self {
            salt: &flag.salt,
            enabled: &flag.enabled,
            enable_at: &flag.enable_at,
            disable_at: &flag.disable_at,
            default_variant: &flag.default_variant,
            prerequisites: &flag.prerequisites,
            environments: &flag.environments,
        }
    }
}

/// The rules of the flag with the index `flag`; `None` when one does not come about, which is then reported.
pub(super) fn check(
    flag: usize,
    written: &Common<'_>,
    variants: &Names<'_>,
    whole: &mut Whole<'_>,
    reader: &mut Reader<'_>,
) -> Option<Ruled> {
    let here = environments(written.environments, variants, whole, reader);
    let times = (written.enable_at, written.disable_at);
    if let (Some(enable_at), Some(disable_at)) = (times.0.value, times.1.value)
        && enable_at == disable_at
    {
        reader.refuse_text(
            times.1.at,
            "is the time of `enableAt`, too; say whether it is on or off then",
        );
    }
    let default = match written.default_variant.left_out {
        true => Some(None),
        false => variants.find(written.default_variant, reader).map(Some),
    };
    let prerequisites = prerequisites(flag, written.prerequisites, whole, reader);
    let here = here?;
    let enabled = written.enabled.known_or(true)?;
    Some(Ruled {
        salt: match written.salt.get() {
            Some(salt) => salt.0.clone(),
            None if written.salt.left_out => String::new(),
            None => return None,
        },
        schedule: Schedule {
            enabled: here.enabled.unwrap_or(enabled),
            enable_at_ms: time(times.0)?,
            disable_at_ms: time(times.1)?,
        },
        default: default?,
        prerequisites: prerequisites?,
        weights: here.weights,
    })
}

fn time(slot: &Slot<PointInTime>) -> Option<Option<u64>> {
    match slot.value {
        Some(time) => Some(Some(time.0)),
        None => slot.left_out.then_some(None),
    }
}

/// Which other flags must answer how; one that is asked for twice can answer in one way only.
pub(super) fn prerequisites(
    flag: usize,
    slot: &Slot<AtLeastOne<file::Prerequisite>>,
    whole: &mut Whole<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Prerequisite>> {
    let mut all = Some(Vec::<(u32, Prerequisite)>::new());
    for slot in slot.items() {
        let resolved = slot.get().and_then(|written| whole.prerequisite(flag, written, reader));
        let (Some(all), Some(resolved)) = (&mut all, resolved) else {
            all = None;
            continue;
        };
        let line = reader.tree.get(slot.at).place.0;
        if let Some((first, _)) = all.iter().find(|(_, other)| other.flag == resolved.flag) {
            let message = format!("asks for the same flag as line {first}, and it has one answer; keep one of them");
            reader.refuse(slot.at, message);
        }
        all.push((line, resolved));
    }
    let all = all?.into_iter().map(|(_, prerequisite)| prerequisite).collect();
    (slot.left_out || slot.get().is_some()).then_some(all)
}

/// What is different here.
#[derive(Default)]
struct Here {
    weights: Option<Vec<u32>>,
    enabled: Option<bool>,
}

/// Checks what is said of all environments, and answers with what is said of this one.
fn environments(
    slot: &Slot<Fields<Text, file::Environment>>,
    variants: &Names<'_>,
    whole: &Whole<'_>,
    reader: &mut Reader<'_>,
) -> Option<Here> {
    let Some(written) = slot.get() else {
        return slot.left_out.then(Here::default);
    };
    whole.check_environment(slot.at, reader);
    let mut here = Some(Here::default());
    for (name, slot) in written.slots() {
        let found = slot.get().and_then(|environment| {
            if environment.weights.left_out && environment.enabled.left_out {
                reader.refuse(slot.at, "says nothing; give it `weights` or `enabled`");
            }
            let weights = match environment.weights.left_out {
                true => None,
                false => Some(all_weights(&environment.weights, variants, reader)?),
            };
            let enabled = match environment.enabled.left_out {
                true => None,
                false => Some(environment.enabled.value?),
            };
            Some(Here { weights, enabled })
        });
        match found {
            None => here = None,
            Some(found) if whole.serves(&name.0) => here = here.map(|_| found),
            Some(_) => {}
        }
    }
    here
}

/// Reports weights that leave nobody anywhere. `None`: a weight that does not fit.
pub(super) fn check_weights(at: NodeId, weights: impl Iterator<Item = Option<u32>>, reader: &mut Reader<'_>) {
    let weights: Option<Vec<u32>> = weights.collect();
    if weights.is_some_and(|weights| !weights.is_empty() && weights.iter().all(|&weight| weight == 0)) {
        reader.refuse(at, NO_WEIGHT);
    }
}

/// A weight for each variant; one that is left out is reported.
fn all_weights(slot: &Slot<Fields<Name, Weight>>, variants: &Names<'_>, reader: &mut Reader<'_>) -> Option<Vec<u32>> {
    let weights = some_weights(slot, variants, reader)?;
    let missing = weights.iter().filter(|weight| weight.is_none()).count();
    if missing > 0 {
        let message = format!(
            "gives weights to {} of {} variants; name them all",
            weights.len() - missing,
            weights.len()
        );
        reader.refuse(slot.at, message);
        return None;
    }
    weights.into_iter().collect()
}

/// A weight for each variant that is named, by the variants' order; they add up to more than 0.
pub(super) fn some_weights(
    slot: &Slot<Fields<Name, Weight>>,
    variants: &Names<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Option<u32>>> {
    let mut weights = vec![None; variants.len()];
    let mut good = true;
    for (name, slot) in slot.get()?.slots() {
        match (variants.find_key(name, slot.at, reader), slot.get()) {
            (Some(variant), Some(weight)) => weights[variant] = Some(weight.0),
            _ => good = false,
        }
    }
    if good && weights.iter().all(|weight| weight.unwrap_or(0) == 0) {
        reader.refuse(slot.at, NO_WEIGHT);
        good = false;
    }
    good.then_some(weights)
}

/// What the variants mean: all of them, or none, and in values of one type.
pub(super) fn values<'a>(
    variants: impl Iterator<Item = &'a Slot<FlagValue>>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Option<Json>>> {
    let slots: Vec<_> = variants.collect();
    let first = slots.iter().find_map(|slot| Some((slot.at, slot.get()?.kind())));
    let mut good = true;
    for slot in &slots {
        match (first, slot.get()) {
            (Some((at, kind)), Some(value)) if value.kind() != kind => {
                let line = reader.tree.get(at).place.0;
                let own = value.kind();
                let message =
                    format!("is {own}, but the value on line {line} is {kind}; give all variants values of one type");
                reader.refuse_text(slot.at, &message);
            }
            (Some((at, kind)), None) if slot.left_out => {
                let line = reader.tree.get(at).place.0;
                let message = format!("has no `value`, as the variant on line {line} has; give it {kind}, too");
                reader.refuse(slot.at, message);
            }
            _ => good &= slot.left_out || slot.get().is_some(),
        }
    }
    good.then(|| {
        slots
            .iter()
            .map(|slot| slot.get().map(|value| value.0.clone()))
            .collect()
    })
}

const NO_WEIGHT: &str = "the weights add up to 0; give at least one variant a weight above 0";
