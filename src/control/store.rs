//! The stored form of what stands beside the file, and what it means: `state.json`.

mod forms;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::directory::{Directory, StateError};
use super::standing::Standing;
use crate::audit::Anchor;

use forms::{
    StoredFlagWeights, StoredFreeze, StoredRollout, StoredRoute, StoredSwitch, named, plain, switches, words_of,
};

/// The version of the form that is written.
const VERSION: u32 = 3;
/// And the oldest that is read: what it did not have is as it was before there was such a thing.
const VERSION_MIN: u32 = 1;
/// How a form is called that is whole, and not ours.
const FOREIGN: &str = "of the form";

/// All that is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Saved {
    /// The newest generation when this was written.
    pub(super) generation: u64,
    /// Whether the process ended in order after this: then no later generation was used.
    pub(super) clean: bool,
    /// What stands beside the file.
    pub(super) standing: Standing,
    /// Both ends of the audit log; `None`: there was none then.
    pub(super) audit: Option<Anchor>,
}

/// The state directory, held by this process.
#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
}

/// What was found in the directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) saved: Option<Saved>,
    /// What was damaged, and what was done about it.
    pub(super) note: Option<String>,
    /// There was a state, and nothing of it can be read.
    pub(super) lost: bool,
}

impl Store {
    /// Takes hold of the directory and reads what is there. A damaged file gives way to the one before
    /// it; where both are damaged they are put aside, and nothing is known.
    ///
    /// # Errors
    /// [`StateError`]: it cannot be used, is held by another process, or was written by a newer Serin.
    pub(super) fn open(path: &Path) -> Result<(Self, Found), StateError> {
        let directory = Directory::open(path)?;
        let unusable = |error| StateError::Unusable {
            path: path.to_owned(),
            error,
        };
        let mut found = match directory.read(parse) {
            Ok((saved, note)) => Found {
                saved,
                note,
                lost: false,
            },
            Err(StateError::Damaged { problem, .. }) if !problem.contains(FOREIGN) => {
                let aside = directory.put_aside(true).map_err(unusable)?;
                Found {
                    saved: None,
                    note: Some(format!("{problem}; put aside as {aside}, every rollout begins aborted")),
                    lost: true,
                }
            }
            Err(error) => return Err(error),
        };
        if let (Some(saved), Some(_)) = (&mut found.saved, &found.note) {
            // The damaged one was newer: generations after this one have been used.
            saved.clean = false;
            directory.put_aside(false).map_err(unusable)?;
        }
        Ok((Self { directory }, found))
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn save(&mut self, saved: &Saved) -> std::io::Result<()> {
        self.directory.write(&text(saved)?)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredState {
    version: u32,
    generation: u64,
    clean: bool,
    #[serde(default)]
    frozen: Option<StoredFreeze>,
    routes: BTreeMap<String, StoredRoute>,
    rollouts: BTreeMap<String, StoredRollout>,
    #[serde(default)]
    switches: BTreeMap<String, StoredSwitch>,
    #[serde(default)]
    flag_weights: BTreeMap<String, StoredFlagWeights>,
    #[serde(default)]
    aborts: BTreeMap<String, u32>,
    #[serde(default)]
    audit: Option<Anchor>,
}

/// Only the version, to tell another form from a damaged file.
#[derive(Deserialize)]
struct StoredVersion {
    version: u32,
}

pub(super) fn text(saved: &Saved) -> serde_json::Result<Vec<u8>> {
    // A route with neither hand nor rollout needs no memory; one with a rollout always has its entry.
    let routes = saved.standing.routes.iter();
    let rollouts = saved.standing.rollouts.iter();
    let switches = saved.standing.switches.iter();
    let flag_weights = saved.standing.flag_weights.iter();
    serde_json::to_vec_pretty(&StoredState {
        version: VERSION,
        generation: saved.generation,
        clean: saved.clean,
        frozen: saved.standing.frozen.as_ref().map(StoredFreeze::of),
        routes: routes
            .map(|(name, standing)| (name.to_string(), StoredRoute::of(standing)))
            .collect(),
        rollouts: rollouts
            .map(|(name, standing)| (name.to_string(), StoredRollout::of(standing)))
            .collect(),
        switches: switches
            .map(|(owner, switch)| (words_of(owner), StoredSwitch::of(switch)))
            .collect(),
        flag_weights: flag_weights
            .map(|(name, weights)| (name.to_string(), StoredFlagWeights::of(weights)))
            .collect(),
        aborts: plain(&saved.standing.aborts),
        audit: saved.audit.clone(),
    })
}

pub(super) fn parse(text: &str) -> Result<Saved, String> {
    let StoredVersion { version } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return Err(format!(
            "version {version} {FOREIGN}; this Serin reads versions {VERSION_MIN} to {VERSION}"
        ));
    }
    let stored: StoredState = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Saved {
        generation: stored.generation,
        clean: stored.clean,
        standing: Standing {
            routes: named(stored.routes, StoredRoute::into_standing)?,
            rollouts: named(stored.rollouts, StoredRollout::into_standing)?,
            switches: switches(stored.switches)?,
            flag_weights: named(stored.flag_weights, StoredFlagWeights::into_weights)?,
            aborts: named(stored.aborts, Ok)?,
            frozen: stored.frozen.map(StoredFreeze::into_freeze),
        },
        audit: stored.audit,
    })
}

/// The text of a state file as this version writes it: nothing of what is stored gets lost or changed by that. For
/// tests of the form.
///
/// # Errors
/// Why it is no state of a known version.
#[doc(hidden)]
pub fn rewritten_state(state: &str) -> Result<String, String> {
    let written = text(&parse(state)?).map_err(|error| error.to_string())?;
    String::from_utf8(written).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
