//! Files of TLS towards backends: roots, our own certificate and its key. They are read when the configuration is;
//! what has not changed since is shared, so that its backend stays as it is.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::key_files::{Contents, entry, whole};
use super::reload::Fingerprint;
use super::view::Entry;
use crate::config::{Backend, BackendTls, Spec};
use crate::route::BackendProtocol;
use crate::tls::{BadUpstream, Upstream, UpstreamFiles};

/// Bytes of a file: far more than the roots of all the world.
const FILE_BYTES_MAX: usize = 4 << 20;

/// What one reading was for, and whether for HTTP/2.
type Wanted = (BackendTls, bool);

/// What the files looked like, and what they came to.
type Known = HashMap<Wanted, (Vec<Fingerprint>, Weak<Upstream>)>;

/// What was read lately.
#[derive(Debug, Default)]
pub(super) struct UpstreamTls {
    /// Held by the configurations that are made of them, and by nobody else.
    known: Mutex<Known>,
}

impl UpstreamTls {
    /// Reads every file that a backend of `spec` names, and hands it what they come to.
    pub(super) fn read_into(&self, spec: &mut Spec, problems: &mut Vec<Entry>) {
        let read = |backend: &Backend| {
            let tls = backend.tls.as_ref()?;
            match self.upstream(tls, backend.protocol == BackendProtocol::Http2) {
                Ok(upstream) => Some(upstream),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            }
        };
        spec.upstream_tls = spec.backends.iter().map(read).collect();
        self.lock().retain(|_, (_, upstream)| upstream.strong_count() > 0);
    }

    fn upstream(&self, tls: &BackendTls, http2: bool) -> Result<Arc<Upstream>, Entry> {
        let wanted = (tls.clone(), http2);
        let found: Vec<_> = files(tls).map(Fingerprint::of).collect();
        if let Some((known, upstream)) = self.lock().get(&wanted)
            && *known == found
            && let Some(upstream) = upstream.upgrade()
        {
            return Ok(upstream);
        }
        let read = |file: &Path| whole(file, FILE_BYTES_MAX).map_err(|problem| entry(file, problem));
        let ca = tls.ca.as_deref().map(read).transpose()?;
        let shown = match &tls.certificate {
            Some(pair) => Some((read(&pair.certificate)?, read(&pair.key)?)),
            None => None,
        };
        let held = UpstreamFiles {
            ca: ca.as_ref().map(|ca| &*ca.text),
            shown: shown.as_ref().map(|(chain, key)| (&*chain.text, &*key.text)),
        };
        let made = Upstream::new(held, tls.server_name.as_deref(), http2);
        let upstream = Arc::new(made.map_err(|bad| blamed(tls, &bad))?);
        let contents = || ca.iter().chain(shown.iter().flat_map(|(chain, key)| [chain, key]));
        if contents().all(|contents: &Contents| contents.settled) {
            let looks = contents().map(|contents| contents.fingerprint.clone()).collect();
            self.lock().insert(wanted, (looks, Arc::downgrade(&upstream)));
        }
        Ok(upstream)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Whoever panicked left whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that TLS towards one backend is made of.
pub(super) fn files(tls: &BackendTls) -> impl Iterator<Item = &Path> + Clone {
    let pair = tls.certificate.iter().flat_map(|pair| [&*pair.certificate, &*pair.key]);
    tls.ca.as_deref().into_iter().chain(pair)
}

/// A problem with the file that it is in.
fn blamed(tls: &BackendTls, bad: &BadUpstream) -> Entry {
    let pair = tls.certificate.as_ref();
    let file = match bad {
        BadUpstream::Ca(_) => tls.ca.as_deref(),
        BadUpstream::Certificate(_) => pair.map(|pair| &*pair.certificate),
        BadUpstream::Key(_) => pair.map(|pair| &*pair.key),
        BadUpstream::System(_) | BadUpstream::ServerName(_) => None,
    };
    entry(file.unwrap_or(Path::new("backends.tls")), bad.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, KeyPair};

    use super::UpstreamTls;
    use crate::config::{BackendTls, CertificateFiles, Spec};
    use crate::control::fixture;
    use crate::control::view::Entry;

    /// Long enough ago that the file will not be written again in the same tick of its clock.
    fn write(file: &Path, text: &str, seconds_ago: u64) {
        fs::write(file, text).unwrap();
        let at = SystemTime::now() - Duration::from_secs(seconds_ago);
        let open = fs::File::options().write(true).open(file).unwrap();
        open.set_times(FileTimes::new().set_modified(at)).unwrap();
    }

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["app".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn spec(directory: &Path) -> Spec {
        let mut spec = Arc::unwrap_or_clone(fixture::spec(|_| {}));
        spec.backends[0].tls = Some(BackendTls {
            ca: Some(directory.join("ca.pem")),
            server_name: None,
            certificate: Some(CertificateFiles {
                certificate: directory.join("me.pem"),
                key: directory.join("me.key"),
            }),
        });
        spec
    }

    fn read(files: &UpstreamTls, directory: &Path) -> (Spec, Vec<Entry>) {
        let (mut spec, mut problems) = (spec(directory), Vec::new());
        files.read_into(&mut spec, &mut problems);
        (spec, problems)
    }

    #[test]
    fn what_has_not_changed_is_shared_and_what_has_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let (certificate, key) = pair();
        write(&at("ca.pem"), &certificate, 60);
        write(&at("me.pem"), &certificate, 60);
        write(&at("me.key"), &key, 60);
        let files = UpstreamTls::default();
        let (first, problems) = read(&files, temp.path());
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(first.upstream_tls.len(), first.backends.len());
        assert!(first.upstream_tls[0].is_some() && first.upstream_tls[1..].iter().all(Option::is_none));
        assert_eq!(read(&files, temp.path()).0.upstream_tls, first.upstream_tls);

        let (other, other_key) = pair();
        write(&at("me.pem"), &other, 30);
        let (_, problems) = read(&files, temp.path());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place, at("me.key").display().to_string());
        assert!(
            problems[0].message.starts_with("certificate and key do not fit"),
            "{problems:?}"
        );
        write(&at("me.key"), &other_key, 30);
        let (second, problems) = read(&files, temp.path());
        assert!(problems.is_empty(), "{problems:?}");
        assert_ne!(second.upstream_tls, first.upstream_tls);

        fs::remove_file(at("ca.pem")).unwrap();
        let (_, problems) = read(&files, temp.path());
        assert_eq!(problems[0].place, at("ca.pem").display().to_string());
        assert!(problems[0].message.starts_with("cannot be read: "), "{problems:?}");
    }
}
