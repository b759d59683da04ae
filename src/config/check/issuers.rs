//! Whose tokens are believed, and where their keys are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::Uri;

use crate::config::file::{self, File};
use crate::config::read::{Reader, Slot};
use crate::jwt::{IssuerSpec, KeysAt};

/// All issuers; `None` when one does not come about, which is then reported.
pub(super) fn check(file: &File, directory: &Path, reader: &mut Reader<'_>) -> Option<Vec<IssuerSpec>> {
    let mut lines = HashMap::new();
    let mut all = Vec::new();
    for slot in file.jwt.items() {
        let Some(written) = slot.get() else {
            all.push(None);
            continue;
        };
        if let Some(issuer) = written.issuer.get() {
            let line = reader.tree.get(written.issuer.at).place.0;
            if let Some(first) = lines.insert(&issuer.0, line) {
                let message = format!("stands on line {first} already; join the two");
                reader.refuse_text(written.issuer.at, &message);
            }
        }
        all.push(issuer(slot, written, directory, reader));
    }
    (file.jwt.left_out || file.jwt.get().is_some()).then_some(())?;
    all.into_iter().collect()
}

fn issuer(
    slot: &Slot<file::Issuer>,
    written: &file::Issuer,
    directory: &Path,
    reader: &mut Reader<'_>,
) -> Option<IssuerSpec> {
    let audiences: Option<Vec<_>> = written
        .audiences
        .items()
        .map(|slot| slot.get().map(|text| text.0.clone()))
        .collect();
    let refresh = written.refresh.value.map(|limit| limit.0);
    if refresh.is_some_and(|refresh| refresh < REFRESH_MIN || REFRESH_MAX < refresh) {
        reader.refuse_text(written.refresh.at, "is out of range; give 10s to 24h");
    }
    if written.leeway.value.is_some_and(|leeway| leeway > LEEWAY_MAX) {
        reader.refuse_text(
            written.leeway.at,
            "lets tokens live on for long after their end; give at most 10m",
        );
    }
    let keys = match (written.jwks_file.left_out, written.jwks_url.left_out) {
        (false, true) => {
            if !written.refresh.left_out {
                reader.refuse(
                    written.refresh.at,
                    "goes with `jwksUrl` alone: a file is watched; leave it out",
                );
            }
            written
                .jwks_file
                .get()
                .map(|path| KeysAt::File(directory.join(&path.0)))
        }
        (true, false) => written.jwks_url.get().map(|url| {
            if !is_safe(&url.0) {
                reader.refuse(
                    written.jwks_url.at,
                    "fetches keys where everybody on the way can change them; give an https:// address",
                );
            }
            KeysAt::Url {
                url: url.0.clone(),
                refresh: refresh.unwrap_or(REFRESH),
            }
        }),
        (true, true) => {
            reader.refuse(slot.at, "has no keys to believe; give it `jwksFile` or `jwksUrl`");
            None
        }
        (false, false) => {
            reader.refuse(written.jwks_url.at, "excludes `jwksFile`; keep one of the two");
            None
        }
    };
    if !written.header.left_out {
        written.header.get()?;
    }
    let cookie = match written.cookie.left_out {
        true => None,
        false => Some(written.cookie.get()?.0.clone()),
    };
    Some(IssuerSpec {
        issuer: written.issuer.get()?.0.clone(),
        audiences: audiences.filter(|_| written.audiences.known())?,
        keys: keys?,
        header: written
            .header
            .get()
            .map_or_else(|| "authorization".into(), |name| name.0.clone()),
        cookie,
        leeway: written.leeway.known_or(LEEWAY)?,
    })
}

/// Whether nobody on the way can change what is fetched from `url`.
fn is_safe(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    let is_loopback = |host: String| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
    };
    url.starts_with("https://") || host.is_some_and(is_loopback)
}

const REFRESH: Duration = Duration::from_secs(300);
const REFRESH_MIN: Duration = Duration::from_secs(10);
const REFRESH_MAX: Duration = Duration::from_secs(86_400);
const LEEWAY: Duration = Duration::from_secs(60);
const LEEWAY_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::is_safe;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for (url, expected) in [
            ("https://id.example.com/jwks", true),
            ("http://127.0.0.1:9/jwks", true),
            ("http://[::1]/jwks", true),
            ("http://localhost/jwks", true),
            ("http://id.example.com/jwks", false),
            ("http://127.0.0.1.example.com/", false),
        ] {
            assert_eq!(is_safe(url), expected, "{url}");
        }
    }
}
