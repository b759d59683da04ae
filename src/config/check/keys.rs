//! Where the key of a split stands: exactly one place, and one that somebody vouches for where it must be.

use super::whole::Whole;
use crate::config::file::{self, Fallback};
use crate::config::read::{Reader, Slot};
use crate::config::tree::NodeId;
use crate::route::{KeyFallback, KeySource, KeySpec};

/// The key of a route's split; `None` when it does not come about, which is then reported.
pub(super) fn of_split(at: NodeId, written: &file::Key, whole: &Whole<'_>, reader: &mut Reader<'_>) -> Option<KeySpec> {
    let places = [
        ("header", written.header.left_out),
        ("cookie", written.cookie.left_out),
        ("query", written.query.left_out),
        ("jwt", written.jwt.left_out),
        ("clientCertificate", written.client_certificate.left_out),
        ("clientIp", written.client_ip.left_out),
    ];
    let given: Vec<_> = places
        .iter()
        .filter(|(_, left_out)| !left_out)
        .map(|(key, _)| *key)
        .collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            reader.refuse(
                at,
                "names no key; give one of header, cookie, query, jwt, clientCertificate, clientIp, such as \
                 `header: x-user-id`",
            );
            return None;
        }
        [one, "clientIp"] => {
            let message =
                format!("names two keys; keep `{one}`, and write `fallback: clientIp` for requests without it");
            reader.refuse(at, message);
            return None;
        }
        several => {
            reader.refuse(at, format!("names several keys, {}; keep one", several.join(" and ")));
            return None;
        }
    }
    if !written.jwt.left_out && !whole.has_issuers {
        reader.refuse(written.jwt.at, NO_ISSUER);
    }
    let certificate = &written.client_certificate;
    if !certificate.left_out && !whole.has_client_ca {
        reader.refuse(certificate.at, NO_CLIENT_CA);
    }
    only_true(certificate, reader);
    only_true(&written.client_ip, reader);
    if !written.client_ip.left_out && !written.fallback.left_out {
        reader.refuse(
            written.fallback.at,
            "every client has an address, so there is nothing to fall back from; leave it out",
        );
    }
    let source = None
        .or_else(|| written.header.get().map(|name| KeySource::Header(name.0.clone())))
        .or_else(|| written.cookie.get().map(|name| KeySource::Cookie(name.0.clone())))
        .or_else(|| written.query.get().map(|name| KeySource::Query(name.0.clone())))
        .or_else(|| written.jwt.get().map(|name| KeySource::Claim(name.0.clone())))
        .or_else(|| certificate.value.map(|_| KeySource::ClientCertificate))
        .or_else(|| written.client_ip.value.map(|_| KeySource::ClientIp))?;
    let fallback = fallback(&written.fallback)?;
    Some(KeySpec { source, fallback })
}

/// The key of a flag without a route.
pub(super) fn of_flag(slot: &Slot<file::FlagKey>, reader: &mut Reader<'_>) -> Option<KeySpec> {
    let targeting_key = KeySpec {
        source: KeySource::TargetingKey,
        fallback: KeyFallback::FreshDraw,
    };
    let Some(written) = slot.get() else {
        return slot.left_out.then_some(targeting_key);
    };
    if written.attribute.left_out && written.fallback.left_out {
        reader.refuse(
            slot.at,
            "names no key; give it an `attribute`, or leave `key` out for the targeting key",
        );
    }
    let fallback = fallback(&written.fallback)?;
    let source = match written.attribute.get() {
        Some(name) => KeySource::Attribute(name.0.clone()),
        None if written.attribute.left_out => KeySource::TargetingKey,
        None => return None,
    };
    Some(KeySpec { source, fallback })
}

fn fallback(slot: &Slot<Fallback>) -> Option<KeyFallback> {
    match (slot.value, slot.left_out) {
        (Some(Fallback::ClientIp), _) => Some(KeyFallback::ClientIp),
        (None, true) => Some(KeyFallback::FreshDraw),
        (None, false) => None,
    }
}

fn only_true(slot: &Slot<bool>, reader: &mut Reader<'_>) {
    if slot.value == Some(false) {
        reader.refuse(
            slot.at,
            "can only be true; leave `key` out to draw anew for each request",
        );
    }
}

/// Claims are looked at, and nobody's tokens are believed.
pub(super) const NO_ISSUER: &str = "goes by tokens, and nobody's are believed; say in `jwt` whose are";
/// Certificates are looked at, and no listener asks for one.
pub(super) const NO_CLIENT_CA: &str =
    "goes by certificates of clients, and no listener asks for them; give one a `tls.clientCa`";
