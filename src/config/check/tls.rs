//! TLS towards clients and towards backends: which files, and what goes together.

use std::collections::HashMap;
use std::path::Path;

use crate::config::file::{self, ClientAuth, TlsVersion};
use crate::config::read::{Reader, Slot};
use crate::config::scalar::Text;
use crate::config::spec::{BackendTls, CertificateFiles, Tls};
use crate::route::Hsts;

/// TLS of a listener; `None` when a part is missing, which is then reported.
pub(super) fn of_listener(written: &file::Tls, directory: &Path, reader: &mut Reader<'_>) -> Option<Tls> {
    check_unique(written, reader);
    let certificates: Option<Vec<_>> = written
        .certificates
        .items()
        .map(|slot| files(slot.get()?, directory))
        .collect();
    let client_auth = written.client_auth.known_or(ClientAuth::Optional);
    if client_auth == Some(ClientAuth::Required) && written.client_ca.left_out {
        reader.refuse(
            written.client_auth.at,
            "has nobody to vouch for clients; give `clientCa`, a PEM file with who may sign their certificates",
        );
    }
    let hsts = match written.hsts.left_out {
        true => Some(None),
        false => written.hsts.get().and_then(|written| hsts(written, reader)).map(Some),
    };
    Some(Tls {
        certificates: certificates?,
        only_1_3: written.min_version.or(TlsVersion::Tls12) == TlsVersion::Tls13,
        client_ca: path(&written.client_ca, directory)?,
        client_required: client_auth? == ClientAuth::Required,
        hsts: hsts?,
        server: None,
    })
}

/// TLS of the admin API, which no browser is to remember: it has no HSTS.
pub(super) fn of_admin(written: &file::Tls, directory: &Path, reader: &mut Reader<'_>) -> Option<Tls> {
    if !written.hsts.left_out {
        reader.refuse(written.hsts.at, "is for listeners; leave it out of the admin API");
    }
    of_listener(written, directory, reader)
}

/// TLS towards a backend.
pub(super) fn of_backend(written: &file::BackendTls, directory: &Path, reader: &mut Reader<'_>) -> Option<BackendTls> {
    let (certificate, key) = (&written.certificate, &written.key);
    for (given, missing, name, why) in [
        (
            certificate,
            key,
            "key",
            "has no key; give the PEM file of its private key",
        ),
        (
            key,
            certificate,
            "certificate",
            "has no certificate; give the PEM file of its chain",
        ),
    ] {
        if !given.left_out && missing.left_out {
            reader.refuse_text(given.at, &format!("{why} as `{name}`"));
        }
    }
    let certificate = match (path(certificate, directory)?, path(key, directory)?) {
        (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return None,
    };
    Some(BackendTls {
        ca: path(&written.ca, directory)?,
        server_name: match written.server_name.left_out {
            true => None,
            false => Some(written.server_name.get()?.0.clone()),
        },
        certificate,
    })
}

fn files(written: &file::Certificate, directory: &Path) -> Option<CertificateFiles> {
    Some(CertificateFiles {
        certificate: directory.join(&written.certificate.get()?.0),
        key: directory.join(&written.key.get()?.0),
    })
}

/// A file that may be left out.
fn path(slot: &Slot<Text>, directory: &Path) -> Option<Option<std::path::PathBuf>> {
    match slot.left_out {
        true => Some(None),
        false => Some(Some(directory.join(&slot.get()?.0))),
    }
}

/// Of two certificates for the same names only one would ever be shown.
fn check_unique(written: &file::Tls, reader: &mut Reader<'_>) {
    let mut lines = HashMap::new();
    for slot in written.certificates.items() {
        let Some(file) = slot.get().and_then(|written| written.certificate.get()) else {
            continue;
        };
        if let Some(line) = lines.insert(&file.0, reader.tree.get(slot.at).place.0) {
            let message = format!("is the certificate of line {line} once more; keep one");
            reader.refuse(slot.at, message);
        }
    }
}

fn hsts(written: &file::Hsts, reader: &mut Reader<'_>) -> Option<Hsts> {
    let max_age_s = match written.max_age.left_out {
        true => Some(YEAR_S),
        false => written.max_age.get().map(|age| age.seconds),
    };
    let include_subdomains = written.include_subdomains.known_or(false);
    let preload = written.preload.known_or(false);
    if preload == Some(true) && (max_age_s.is_some_and(|s| s < YEAR_S) || include_subdomains == Some(false)) {
        reader.refuse(
            written.preload.at,
            "is taken by no browser's list so; it needs `includeSubdomains: true` and a `maxAge` of at least 365d",
        );
    }
    Some(Hsts {
        max_age_s: max_age_s?,
        include_subdomains: include_subdomains?,
        preload: preload?,
    })
}

/// What the lists that are built into browsers ask for.
const YEAR_S: u64 = 365 * 86_400;
