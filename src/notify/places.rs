//! How far each channel has been told, in a file that outlives the process: written whole, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::letter::{Sort, Trouble};

/// A file that is longer than this is none of ours.
const BYTES_MAX: u64 = 4 << 20;

/// How far one channel has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Everything up to this record.
    pub(super) seq: u64,
    /// What it has been told that is not over.
    pub(super) open: BTreeSet<Trouble>,
}

/// The places of all channels, by name.
pub(super) type Places = BTreeMap<String, Place>;

/// Reads the places. `None`: there is no file.
///
/// # Errors
/// Why the file is of no use.
pub(super) fn load(file: &Path) -> Result<Option<Places>, String> {
    let mut text = String::new();
    match File::open(file) {
        Ok(open) => open.take(BYTES_MAX).read_to_string(&mut text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .map_err(|error| error.to_string())?;
    parse(&text).map(Some)
}

/// Writes the places, for its owner alone to read; durable when it returns.
///
/// # Errors
/// Why not; the file is as it was then.
pub(super) fn save(file: &Path, places: &Places) -> io::Result<()> {
    let next = PathBuf::from(format!("{}.new", file.display()));
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let mut written = options.write(true).create_new(true).mode(0o600).open(&next)?;
    written.write_all(text(places).as_bytes())?;
    written.sync_all()?;
    fs::rename(&next, file)?;
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn text(places: &Places) -> String {
    let open = |trouble: &Trouble| json!({ "rollout": trouble.rollout, "sort": trouble.sort.as_str() });
    let channel = |(name, place): (&String, &Place)| {
        let open: Vec<Value> = place.open.iter().map(open).collect();
        (name.clone(), json!({ "seq": place.seq, "open": open }))
    };
    let channels: serde_json::Map<String, Value> = places.iter().map(channel).collect();
    format!("{:#}\n", json!({ "version": 1, "channels": channels }))
}

fn parse(text: &str) -> Result<Places, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if file["version"] != 1 {
        return Err("it is not of version 1".to_owned());
    }
    let channels = file["channels"].as_object().ok_or("it has no channels")?;
    let place = |(name, place): (&String, &Value)| {
        let bad = |what: &str| format!("channel {name} has no {what}");
        let open = place["open"].as_array().ok_or_else(|| bad("list of what is open"))?;
        let open: Option<BTreeSet<Trouble>> = open.iter().map(trouble).collect();
        let place = Place {
            seq: place["seq"].as_u64().ok_or_else(|| bad("place"))?,
            open: open.ok_or_else(|| bad("good list of what is open"))?,
        };
        Ok((name.clone(), place))
    };
    channels.iter().map(place).collect()
}

fn trouble(value: &Value) -> Option<Trouble> {
    let sort = [Sort::Aborted, Sort::Waits]
        .into_iter()
        .find(|sort| value["sort"] == sort.as_str())?;
    Some(Trouble {
        rollout: value["rollout"].as_str()?.to_owned(),
        sort,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn places() -> Places {
        let trouble = |sort| Trouble {
            rollout: "checkout-v2".to_owned(),
            sort,
        };
        let place = Place {
            seq: 17,
            open: BTreeSet::from([trouble(Sort::Aborted), trouble(Sort::Waits)]),
        };
        Places::from([("ops".to_owned(), place), ("pager".to_owned(), Place::default())])
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("notified.json");
        assert_eq!(load(&file), Ok(None));
        for places in [places(), Places::new()] {
            save(&file, &places).unwrap();
            assert_eq!(load(&file), Ok(Some(places)));
        }
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    }

    #[test]
    fn a_torn_file_is_of_no_use() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("notified.json");
        let whole = text(&places());
        // Without its last line end it is whole, too.
        for end in 0..whole.len() - 1 {
            fs::write(&file, &whole[..end]).unwrap();
            assert!(load(&file).is_err(), "{end}");
        }
        fs::write(&file, b"\xff\xfe").unwrap();
        assert!(load(&file).is_err());
        assert!(load(directory.path()).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_stays() {
        let directory = tempfile::tempdir().unwrap();
        assert!(save(&directory.path().join("nowhere/notified.json"), &places()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
