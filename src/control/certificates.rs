//! The files of TLS towards clients: read with the configuration, on the same thread. A pair that cannot be used while
//! the last one can changes nothing but what is said of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rustls::RootCertStore;
use rustls::server::ProducesTickets;

use super::controller::unix_ms;
use super::key_files::whole;
use super::view::{CertificateView, ClientCaView, Entry};
use crate::config::{CertificateFiles, Spec, Tls};
use crate::tls::{self, Certificate, Server, Setup};

/// Bytes of one file. A chain with its intermediates has some 10,000; bundles of roots have less than 300,000.
const FILE_BYTES_MAX: usize = 1 << 20;

/// On listeners, and on the admin API.
const PROTOCOLS: &[&str] = &["h2", "http/1.1"];
const ADMIN_PROTOCOLS: &[&str] = &["http/1.1"];

/// What was read lately, and what could not be.
#[derive(Default)]
pub(super) struct Certificates {
    ticketer: OnceLock<Arc<dyn ProducesTickets>>,
    known: Mutex<Known>,
}

/// Held by the configurations that are made of them, and by nobody else.
#[derive(Default)]
struct Known {
    pairs: HashMap<CertificateFiles, Weak<Certificate>>,
    /// With the bytes that they were read from.
    roots: HashMap<PathBuf, (Vec<u8>, Weak<RootCertStore>)>,
    servers: Vec<Weak<Server>>,
    /// Why the last reading of a file, a certificate's or of those who vouch, was not taken.
    problems: HashMap<PathBuf, String>,
    reloads: CertificateReloads,
}

/// Readings of certificates after the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateReloads {
    /// New ones that are shown from then on.
    pub ok: u64,
    /// Those that could not be used; the last good one is shown.
    pub failed: u64,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads every file that `spec` names, and hands it what they came to. What cannot be read, and never was, is told.
    pub(super) fn read_into(&self, spec: &mut Spec, problems: &mut Vec<Entry>) {
        let known = &mut *self.known();
        for listener in &mut spec.listeners {
            if let Some(tls) = &mut listener.tls {
                let place = format!("listeners.{}.tls", listener.name);
                self.read(known, tls, PROTOCOLS, &place, problems);
            }
        }
        if let Some(tls) = &mut spec.admin_tls {
            self.read(known, tls, ADMIN_PROTOCOLS, "admin.tls", problems);
        }
        known.forget();
    }

    fn read(
        &self,
        known: &mut Known,
        tls: &mut Tls,
        protocols: &'static [&'static str],
        place: &str,
        problems: &mut Vec<Entry>,
    ) {
        let problems_before = problems.len();
        let mut problem = |file: &Path, message: String| problems.push(entry(file, &message, place));
        let mut certificates = Vec::new();
        for files in &tls.certificates {
            match known.pair(files) {
                Ok(certificate) => certificates.push(certificate),
                Err((file, message)) => problem(file, message),
            }
        }
        let clients = tls.client_ca.as_deref().and_then(|file| match known.clients(file) {
            Ok(roots) => Some(roots),
            Err(message) => {
                problem(file, message);
                None
            }
        });
        if problems.len() > problems_before {
            return;
        }
        let setup = Setup {
            certificates,
            only_1_3: tls.only_1_3,
            clients,
            client_required: tls.client_required,
            protocols,
        };
        let mut servers = known.servers.iter().filter_map(Weak::upgrade);
        if let Some(server) = servers.find(|server| server.is_of(&setup)) {
            tls.server = Some(server);
            return;
        }
        let made = self.ticketer().and_then(|ticketer| Server::new(setup, &ticketer));
        match made {
            Ok(server) => {
                let server = Arc::new(server);
                known.servers.push(Arc::downgrade(&server));
                tls.server = Some(server);
            }
            Err(message) => problems.push(entry(
                tls.client_ca.as_deref().unwrap_or(Path::new("")),
                &message,
                place,
            )),
        }
    }

    /// One for the whole process, however often the files are read.
    fn ticketer(&self) -> Result<Arc<dyn ProducesTickets>, String> {
        if let Some(ticketer) = self.ticketer.get() {
            return Ok(Arc::clone(ticketer));
        }
        let ticketer = tls::ticketer().map_err(|error| format!("no keys for the tickets of sessions: {error}"))?;
        Ok(Arc::clone(self.ticketer.get_or_init(|| ticketer)))
    }

    /// The certificates of one listener, as they are shown.
    pub(super) fn views(&self, tls: &Tls) -> Vec<CertificateView> {
        let known = self.known();
        let shown = tls.server.as_ref().map_or(&[][..], |server| server.certificates());
        let view = |(files, shown): (&CertificateFiles, &Arc<Certificate>)| CertificateView {
            names: shown.names().texts().collect(),
            not_before_s: shown.not_before_s(),
            not_after_s: shown.not_after_s(),
            file: files.certificate.display().to_string(),
            problem: known.problems.get(&files.certificate).cloned(),
        };
        tls.certificates.iter().zip(shown).map(view).collect()
    }

    /// Who vouches for the clients of one listener.
    pub(super) fn client_ca(&self, tls: &Tls) -> Option<ClientCaView> {
        tls.client_ca.as_ref().map(|file| ClientCaView {
            file: file.display().to_string(),
            required: tls.client_required,
            problem: self.known().problems.get(file).cloned(),
        })
    }

    /// How often certificates were read again.
    pub(super) fn reloads(&self) -> CertificateReloads {
        self.known().reloads
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked left whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The pair of `files`: as it is now, else the last good one, else which of both is wrong, and why.
    fn pair<'f>(&mut self, files: &'f CertificateFiles) -> Result<Arc<Certificate>, (&'f Path, String)> {
        let last = self.pairs.get(files).and_then(Weak::upgrade);
        let read = read_pair(files, last.as_ref());
        match (read, last) {
            (Ok(pair), last) => {
                self.problems.remove(&files.certificate);
                if last.is_none_or(|last| !Arc::ptr_eq(&last, &pair)) {
                    warn_of_dates(files, &pair);
                    if self.pairs.insert(files.clone(), Arc::downgrade(&pair)).is_some() {
                        self.reloads.ok += 1;
                        tracing::info!(file = %files.certificate.display(), "a new certificate is shown");
                    }
                }
                Ok(pair)
            }
            (Err((_, message)), Some(last)) => {
                self.keep_last(&files.certificate, message);
                Ok(last)
            }
            (Err(problem), None) => Err(problem),
        }
    }

    /// Those in `file` who vouch for clients: as it is now, else the last good ones, else what is wrong.
    fn clients(&mut self, file: &Path) -> Result<Arc<RootCertStore>, String> {
        let last = self.roots.get(file);
        let last = last.and_then(|(bytes, roots)| Some((bytes, roots.upgrade()?)));
        let read = whole(file, FILE_BYTES_MAX).map(|contents| contents.text);
        if let (Ok(now), Some((before, roots))) = (&read, &last)
            && now == *before
        {
            let roots = Arc::clone(roots);
            self.problems.remove(file);
            return Ok(roots);
        }
        let roots = read.and_then(|bytes| Ok((tls::roots(&bytes)?, bytes)));
        let last = last.map(|(_, roots)| roots);
        match (roots, last) {
            (Ok((roots, bytes)), last) => {
                let roots = Arc::new(roots);
                self.roots.insert(file.to_owned(), (bytes, Arc::downgrade(&roots)));
                self.problems.remove(file);
                if last.is_some() {
                    self.reloads.ok += 1;
                }
                Ok(roots)
            }
            (Err(message), last) => {
                let message = format!("{message}; give a PEM file with the certificates of those who sign for clients");
                let last = last.ok_or_else(|| message.clone())?;
                self.keep_last(file, message);
                Ok(last)
            }
        }
    }

    /// The last good reading of `file` goes on. Told, and counted, once for each problem: the file may be read often.
    fn keep_last(&mut self, file: &Path, message: String) {
        if self.problems.get(file) == Some(&message) {
            return;
        }
        tracing::warn!(file = %file.display(), problem = %message, "not taken; the last good one goes on");
        self.reloads.failed += 1;
        self.problems.insert(file.to_owned(), message);
    }

    /// Nobody uses them any more.
    fn forget(&mut self) {
        self.pairs.retain(|_, pair| pair.strong_count() > 0);
        self.roots.retain(|_, (_, roots)| roots.strong_count() > 0);
        self.servers.retain(|server| server.strong_count() > 0);
        let Self {
            pairs, roots, problems, ..
        } = self;
        problems.retain(|file, _| roots.contains_key(file) || pairs.keys().any(|files| files.certificate == *file));
    }
}

/// Reads a pair; `last` where it has not changed.
fn read_pair<'f>(
    files: &'f CertificateFiles,
    last: Option<&Arc<Certificate>>,
) -> Result<Arc<Certificate>, (&'f Path, String)> {
    let read = |file: &'f Path| {
        whole(file, FILE_BYTES_MAX)
            .map(|contents| contents.text)
            .map_err(|message| (file, message))
    };
    let (chain, key) = (read(&files.certificate)?, read(&files.key)?);
    if let Some(last) = last
        && last.is_of(&chain, &key)
    {
        return Ok(Arc::clone(last));
    }
    let parsed = Certificate::parse(&chain, &key).map(Arc::new);
    parsed.map_err(|bad| {
        let file = match bad {
            tls::BadPair::Key(_) => &files.key,
            tls::BadPair::Certificate(_) | tls::BadPair::Mismatch => &files.certificate,
        };
        (file.as_path(), bad.to_string())
    })
}

fn warn_of_dates(files: &CertificateFiles, certificate: &Certificate) {
    let now_s = i64::try_from(unix_ms() / 1_000).unwrap_or(i64::MAX);
    let file = files.certificate.display();
    if certificate.not_after_s() < now_s {
        tracing::warn!(%file, "this certificate has expired; clients will refuse it");
    } else if certificate.not_before_s() > now_s {
        tracing::warn!(%file, "this certificate is not valid yet; clients will refuse it");
    }
    if certificate.names().texts().next().is_none() {
        tracing::warn!(%file, "this certificate has no alternative names; clients will refuse it");
    }
}

fn entry(file: &Path, message: &str, place: &str) -> Entry {
    Entry {
        place: String::new(),
        path: file.display().to_string(),
        message: format!("{message} ({place})"),
    }
}

/// The files that `spec` is made of here.
pub(super) fn named(spec: &Spec) -> impl Iterator<Item = &Path> + Clone {
    let listeners = spec.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    listeners.chain(&spec.admin_tls).flat_map(|tls| {
        let pairs = tls
            .certificates
            .iter()
            .flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
        pairs.chain(tls.client_ca.as_deref())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::{CertificateReloads, Certificates, named};
    use crate::config::{CertificateFiles, Spec, Tls};
    use crate::control::fixture;
    use crate::control::view::Entry;
    use crate::tls::Server;

    fn write(at: &Path, name: &str, host: &str) {
        let signed = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        fs::write(at.join(format!("{name}.pem")), signed.cert.pem()).unwrap();
        fs::write(at.join(format!("{name}.key")), signed.signing_key.serialize_pem()).unwrap();
    }

    /// One listener with these pairs, and `ca.pem` for its clients.
    fn spec(at: &Path, pairs: &[&str]) -> Spec {
        let mut spec = Arc::unwrap_or_clone(fixture::spec(|_| {}));
        let pair = |name: &&str| CertificateFiles {
            certificate: at.join(format!("{name}.pem")),
            key: at.join(format!("{name}.key")),
        };
        spec.listeners[0].tls = Some(Tls {
            certificates: pairs.iter().map(pair).collect(),
            only_1_3: false,
            client_ca: Some(at.join("ca.pem")),
            client_required: false,
            hsts: None,
            server: None,
        });
        spec
    }

    fn read(certificates: &Certificates, spec: &mut Spec) -> Result<Arc<Server>, Vec<Entry>> {
        let mut problems = Vec::new();
        certificates.read_into(spec, &mut problems);
        let server = spec.listeners[0].tls.as_ref().and_then(|tls| tls.server.clone());
        server.filter(|_| problems.is_empty()).ok_or(problems)
    }

    #[test]
    fn what_has_not_changed_is_the_same_and_what_has_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path();
        let certificates = Certificates::default();
        for (name, host) in [("a", "a.test"), ("b", "b.test"), ("ca", "ca.test")] {
            write(at, name, host);
        }
        let first = read(&certificates, &mut spec(at, &["a", "b"])).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &read(&certificates, &mut spec(at, &["a", "b"])).unwrap()
        ));
        assert_eq!(certificates.reloads(), CertificateReloads::default());
        write(at, "b", "b.test");
        let second = read(&certificates, &mut spec(at, &["a", "b"])).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&first.certificates()[0], &second.certificates()[0]));
        assert!(!Arc::ptr_eq(&first.certificates()[1], &second.certificates()[1]));
        write(at, "ca", "ca.test");
        let third = read(&certificates, &mut spec(at, &["a", "b"])).unwrap();
        assert!(!Arc::ptr_eq(&second, &third));
        assert_eq!(certificates.reloads(), CertificateReloads { ok: 2, failed: 0 });
    }

    #[test]
    fn the_last_good_one_goes_on_while_somebody_has_it() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path();
        let certificates = Certificates::default();
        write(at, "a", "a.test");
        write(at, "ca", "ca.test");
        let mut live = spec(at, &["a"]);
        let good = read(&certificates, &mut live).unwrap();
        fs::write(at.join("a.key"), "").unwrap();
        fs::remove_file(at.join("ca.pem")).unwrap();
        for _ in 0..3 {
            let again = read(&certificates, &mut spec(at, &["a"])).unwrap();
            assert!(Arc::ptr_eq(&good, &again));
        }
        assert_eq!(certificates.reloads(), CertificateReloads { ok: 0, failed: 2 });
        let tls = live.listeners[0].tls.as_ref().unwrap();
        let problem = certificates.views(tls)[0].problem.clone().unwrap();
        assert!(problem.starts_with("no private key in it"), "{problem}");
        assert!(certificates.client_ca(tls).unwrap().problem.is_some());
        // Nobody serves by it any more: now it is a problem of the configuration, with every file that is wrong.
        drop((live, good));
        let problems = read(&certificates, &mut spec(at, &["a"])).unwrap_err();
        let told: Vec<_> = problems.iter().map(|entry| Path::new(&entry.path)).collect();
        assert_eq!(told, [at.join("a.key"), at.join("ca.pem")]);
        assert!(
            problems
                .iter()
                .all(|entry| entry.message.ends_with("(listeners.public.tls)"))
        );
        assert!(certificates.known().problems.is_empty());
    }

    #[test]
    fn every_file_is_watched() {
        let at = Path::new("/etc/serin");
        let mut spec = spec(at, &["a"]);
        spec.admin_tls = spec.listeners[0].tls.clone();
        let files: Vec<_> = named(&spec).collect();
        let expected = ["a.pem", "a.key", "ca.pem"].map(|name| at.join(name));
        assert_eq!(
            (&files[..3], &files[3..]),
            (&expected.each_ref().map(std::path::PathBuf::as_path)[..], &files[..3])
        );
    }
}
