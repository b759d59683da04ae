//! Files of keys that the configuration names: allowlists of cohorts, key sets of issuers, certificates. They are read when it is,
//! and on the same thread; a long list that has not changed since is shared and not read again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::certificates::{self, Certificates};
use super::reload::Fingerprint;
use super::upstream_tls::{self, UpstreamTls};
use super::view::Entry;
use crate::config::Spec;
use crate::jwt::{JWKS_BYTES_MAX, Keys, KeysAt};
use crate::route::{KEY_FILE_BYTES_MAX, KeySet};

/// A file that was written so shortly before it was read may be written again without looking different: the clock
/// of a file system moves in steps.
const SETTLED: Duration = Duration::from_secs(2);

/// What was read lately.
#[derive(Debug, Default)]
pub struct KeyFiles {
    /// Held by the configurations that are made of them, and by nobody else.
    sets: Mutex<HashMap<PathBuf, (Fingerprint, Weak<KeySet>)>>,
    pub(super) certificates: Certificates,
    upstream_tls: UpstreamTls,
}

impl KeyFiles {
    /// Reads every file that `spec` names, and hands it what they hold.
    ///
    /// # Errors
    /// For each file that cannot be used, why.
    pub(super) fn read_into(&self, spec: &mut Spec) -> Result<(), Vec<Entry>> {
        let mut problems = Vec::new();
        for (file, keys) in &mut spec.key_files {
            match self.set(file) {
                Ok(set) => *keys = Some(set),
                Err(problem) => problems.push(entry(file, problem)),
            }
        }
        let jwks = spec.issuers.iter().map(|issuer| match &issuer.keys {
            KeysAt::Url { .. } => None,
            KeysAt::File(file) => match jwks(file) {
                Ok(keys) => Some(Arc::new(keys)),
                Err(problem) => {
                    problems.push(entry(file, problem));
                    None
                }
            },
        });
        spec.jwks = jwks.collect();
        self.certificates.read_into(spec, &mut problems);
        self.upstream_tls.read_into(spec, &mut problems);
        self.forget();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn set(&self, file: &Path) -> Result<Arc<KeySet>, String> {
        let found = Fingerprint::of(file);
        if let Some((known, set)) = self.lock().get(file)
            && *known == found
            && let Some(set) = set.upgrade()
        {
            return Ok(set);
        }
        let read = whole(file, KEY_FILE_BYTES_MAX)?;
        let set = KeySet::parse(read.text).map_err(|bad| bad.to_string())?;
        let set = Arc::new(set);
        if read.settled {
            let known = (read.fingerprint, Arc::downgrade(&set));
            self.lock().insert(file.to_owned(), known);
        }
        Ok(set)
    }

    /// Nobody uses them any more.
    fn forget(&self) {
        self.lock().retain(|_, (_, set)| set.strong_count() > 0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Fingerprint, Weak<KeySet>)>> {
        // Whoever panicked left whole entries.
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files beside the configuration that `spec` is made of: a change of one of them is a change of it.
pub(super) fn beside(spec: &Spec) -> impl Iterator<Item = &Path> + Clone {
    let sets = spec.key_files.iter().map(|(file, _)| file.as_path());
    let jwks = spec.issuers.iter().filter_map(|issuer| match &issuer.keys {
        KeysAt::File(file) => Some(file.as_path()),
        KeysAt::Url { .. } => None,
    });
    let own = spec.tokens_file.as_deref().into_iter();
    let upstream = spec.backends.iter().filter_map(|backend| backend.tls.as_ref());
    let upstream = upstream.flat_map(upstream_tls::files);
    own.chain(sets)
        .chain(jwks)
        .chain(certificates::named(spec))
        .chain(upstream)
}

fn jwks(file: &Path) -> Result<Keys, String> {
    let read = whole(file, JWKS_BYTES_MAX)?;
    Keys::parse(&read.text).map_err(|bad| bad.to_string())
}

/// What a file holds.
pub(super) struct Contents {
    pub(super) text: Vec<u8>,
    pub(super) fingerprint: Fingerprint,
    /// Another content would look different.
    pub(super) settled: bool,
}

/// All of a file that nobody writes meanwhile, of at most `bytes_max` bytes; or why not.
pub(super) fn whole(file: &Path, bytes_max: usize) -> Result<Contents, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    if super::readings::may_never_end(file) {
        return Err("cannot be read: it is no regular file".to_owned());
    }
    let mut open = File::open(file).map_err(unreadable)?;
    let data = open.metadata().map_err(unreadable)?;
    let too_large = || format!("the file has more than {bytes_max} bytes");
    let length = usize::try_from(data.len()).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(too_large());
    }
    let fingerprint = Fingerprint::from(&data);
    // A byte more shows the end without growing.
    let mut text = Vec::with_capacity(length + 1);
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    Read::by_ref(&mut open)
        .take(limit)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() > bytes_max {
        return Err(too_large());
    }
    let after = open.metadata().map_err(unreadable)?;
    if Fingerprint::from(&after) != fingerprint {
        return Err("was written while it was read; it is read again when it rests".to_owned());
    }
    let age = after
        .modified()
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    Ok(Contents {
        text,
        fingerprint,
        settled: age.is_some_and(|age| age > SETTLED),
    })
}

/// A problem with `file`.
pub(super) fn entry(file: &Path, message: String) -> Entry {
    Entry {
        place: file.display().to_string(),
        path: String::new(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::{KeyFiles, beside};
    use crate::config::Spec;
    use crate::control::fixture;
    use crate::jwt::{IssuerSpec, KeysAt};

    fn spec(sets: &[&PathBuf], jwks: &[&PathBuf]) -> Spec {
        let mut spec = Arc::unwrap_or_clone(fixture::spec(|_| {}));
        spec.key_files = sets.iter().map(|file| (file.to_path_buf(), None)).collect();
        let issuer = |file: &&PathBuf| IssuerSpec {
            issuer: file.display().to_string(),
            audiences: Vec::new(),
            keys: KeysAt::File(file.to_path_buf()),
            header: "authorization".to_owned(),
            cookie: None,
            leeway: Duration::from_secs(60),
        };
        spec.issuers = jwks.iter().map(issuer).collect();
        spec
    }

    fn write(file: &Path, text: &str, age: Duration) {
        fs::write(file, text).unwrap();
        let times = FileTimes::new().set_modified(SystemTime::now() - age);
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_times(times)
            .unwrap();
    }

    const OLD: Duration = Duration::from_secs(60);

    const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[test]
    fn every_file_is_read_and_every_problem_told() {
        let temp = tempfile::tempdir().unwrap();
        let [staff, cut, gone, keys, page] =
            ["staff", "cut", "gone", "jwks.json", "page.json"].map(|name| temp.path().join(name));
        write(&staff, "alice\nbob\n", OLD);
        write(&cut, "alice\nbo", OLD);
        write(&keys, JWKS, OLD);
        write(&page, "<html>", OLD);
        let files = KeyFiles::default();
        let mut good = spec(&[&staff], &[&keys]);
        files.read_into(&mut good).unwrap();
        assert_eq!(good.key_files[0].1.as_ref().unwrap().len(), 2);
        assert_eq!(good.jwks[0].as_ref().unwrap().count(), 1);
        assert_eq!(beside(&good).collect::<Vec<_>>(), [&staff, &keys]);

        let problems = files
            .read_into(&mut spec(&[&staff, &cut, &gone], &[&page]))
            .unwrap_err();
        let told: Vec<_> = problems
            .iter()
            .map(|entry| (Path::new(&entry.place), &*entry.message))
            .collect();
        assert_eq!(
            (told.len(), told[0].0, told[1].0, told[2].0),
            (3, &*cut, &*gone, &*page)
        );
        assert!(
            told[0].1.starts_with("line 2: the file ends in the middle of a line"),
            "{}",
            told[0].1
        );
        assert!(told[1].1.starts_with("cannot be read: "), "{}", told[1].1);
        assert!(told[2].1.starts_with("it is no key set (JWKS)"), "{}", told[2].1);
    }

    #[test]
    fn a_list_that_has_not_changed_is_shared() {
        let temp = tempfile::tempdir().unwrap();
        let staff = temp.path().join("staff");
        let files = KeyFiles::default();
        let read = || {
            let mut spec = spec(&[&staff], &[]);
            files.read_into(&mut spec).unwrap();
            spec.key_files[0].1.take().unwrap()
        };
        write(&staff, "alice\n", OLD);
        let first = read();
        assert!(Arc::ptr_eq(&first, &read()));
        write(&staff, "carol\n", OLD / 2);
        let second = read();
        assert!(second.contains(b"carol"));
        assert!(Arc::ptr_eq(&second, &read()));
        // What was written just now may be written again in the same tick of the file's clock.
        write(&staff, "david\n", Duration::ZERO);
        let third = read();
        assert!(!Arc::ptr_eq(&third, &read()) && third.contains(b"david"));
        drop((first, second, third));
        files.forget();
        assert!(files.lock().is_empty(), "nobody else holds them");
    }

    #[test]
    fn what_may_never_end_is_not_opened() {
        let temp = tempfile::tempdir().unwrap();
        let pipe = temp.path().join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        let zeros = PathBuf::from("/dev/zero");
        let problems = KeyFiles::default()
            .read_into(&mut spec(&[&pipe, &zeros], &[&zeros]))
            .unwrap_err();
        let messages: Vec<_> = problems.iter().map(|entry| &*entry.message).collect();
        assert_eq!(messages, ["cannot be read: it is no regular file"; 3]);
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let (long, jwks) = (temp.path().join("long"), temp.path().join("jwks"));
        fs::File::create(&long).unwrap().set_len((64 << 20) + 1).unwrap();
        fs::File::create(&jwks).unwrap().set_len((256 << 10) + 1).unwrap();
        let problems = KeyFiles::default()
            .read_into(&mut spec(&[&long], &[&jwks]))
            .unwrap_err();
        assert_eq!(problems[0].message, "the file has more than 67108864 bytes");
        assert_eq!(problems[1].message, "the file has more than 262144 bytes");
    }
}
