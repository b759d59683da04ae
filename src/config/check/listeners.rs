//! Listeners and the admin API: addresses, clocks, bounds, and who may come in how.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{duration_or, tls};
use crate::config::file::{self, File, Paths, Redirect};
use crate::config::read::{Reader, Slot};
use crate::config::spec::{Listener, ListenerLimits, ListenerTimeouts};
use crate::config::units::Size;
use crate::path::PathPolicy;

/// The listener that is `written`; `None` when a part is missing, which is then reported.
pub(super) fn listener(
    written: &file::Listener,
    file: &File,
    directory: &Path,
    reader: &mut Reader<'_>,
) -> Option<Listener> {
    let tls = match written.tls.left_out {
        true => Some(None),
        false => written
            .tls
            .get()
            .and_then(|tls| tls::of_listener(tls, directory, reader))
            .map(Some),
    };
    let (timeouts, limits) = (timeouts(written, reader), limits(written));
    let proxy_protocol = proxy_protocol(written, file, reader);
    let redirect_to_https = redirect(written, reader);
    Some(Listener {
        name: written.name.get()?.clone(),
        address: *written.address.get()?,
        tls: tls?,
        timeouts,
        limits,
        paths: match written.paths.or(Paths::Strict) {
            Paths::Strict => PathPolicy::Strict,
            Paths::Normalize => PathPolicy::Normalize,
        },
        ofrep: written.ofrep.known_or(false)?,
        proxy_protocol: proxy_protocol?,
        redirect_to_https: redirect_to_https?,
    })
}

fn timeouts(written: &file::Listener, reader: &mut Reader<'_>) -> ListenerTimeouts {
    let written = written.timeouts.get();
    let age = written.and_then(|t| Some((t.connection_age.at, t.connection_age.get()?.0)));
    if let Some((at, _)) = age.filter(|(_, age)| *age < AGE_MIN) {
        reader.refuse_text(
            at,
            "is shorter than 1s: clients would do nothing but connect; give 1s or more",
        );
    }
    ListenerTimeouts {
        handshake: duration_or(written.map(|t| &t.handshake), Duration::from_secs(10)),
        request_head: duration_or(written.map(|t| &t.request_head), Duration::from_secs(10)),
        body: duration_or(written.map(|t| &t.body), Duration::from_secs(30)),
        idle: duration_or(written.map(|t| &t.idle), Duration::from_secs(60)),
        connection_age: age.map(|(_, age)| age),
    }
}

fn limits(written: &file::Listener) -> ListenerLimits {
    let limits = written.limits.get();
    let connections = limits.and_then(|l| l.connections.value).map_or(16_384, |n| n.0);
    ListenerLimits {
        connections,
        connections_per_client: limits
            .and_then(|l| l.connections_per_client.value)
            .map_or(connections, |n| n.0),
        streams: limits.and_then(|l| l.streams.value).map_or(128, |n| n.0),
        upgrades: limits.and_then(|l| l.upgrades.value).map_or(4_096, |n| n.0),
        headers: limits.and_then(|l| l.headers.value).map_or(100, |n| n.0),
        header_bytes: limits
            .and_then(|l| l.header_bytes.value)
            .map_or(64 << 10, Size::in_memory),
        uri_bytes: limits.and_then(|l| l.uri_bytes.value).map_or(16 << 10, Size::in_memory),
    }
}

/// Whoever may say for whom a connection is may say it of anybody: there must be somebody who is believed.
fn proxy_protocol(written: &file::Listener, file: &File, reader: &mut Reader<'_>) -> Option<bool> {
    let wanted = written.proxy_protocol.known_or(false)?;
    let nobody = file.trusted_proxies.known() && file.trusted_proxies.items().next().is_none();
    if wanted && nobody {
        reader.refuse(
            written.proxy_protocol.at,
            "lets nobody in, as nobody is trusted; give the addresses of the balancers in `trustedProxies`, \
             such as [10.0.0.0/8]",
        );
    }
    Some(wanted)
}

fn redirect(written: &file::Listener, reader: &mut Reader<'_>) -> Option<Option<u16>> {
    let slot = &written.redirect_to_https;
    let port = match slot.get() {
        None => return slot.left_out.then_some(None),
        Some(Redirect::Word(false)) => return Some(None),
        Some(Redirect::Word(true)) => 443,
        Some(Redirect::To(to)) => to.port.known_or(file::HTTPS)?.0,
    };
    if !written.tls.left_out {
        reader.refuse(
            slot.at,
            "is for clear text, and this listener has `tls`: requests would be sent round in circles; \
             keep one of the two",
        );
    }
    Some(Some(u16::try_from(port).expect("the format has no larger port")))
}

/// Where the admin API listens.
pub(super) fn admin(file: &File, reader: &mut Reader<'_>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 9901));
    let Some(written) = file.admin.get() else {
        return default;
    };
    let address = written.address.or(default);
    if !address.ip().to_canonical().is_loopback() && written.tokens_file.left_out {
        reader.refuse_text(
            written.address.at,
            "is no loopback address; give one, such as 127.0.0.1:9901, or a `tokensFile` that says who may use it",
        );
    }
    address
}

/// No two sockets on one address. Port 0 is a free port each time.
pub(super) fn check_addresses(file: &File, reader: &mut Reader<'_>) {
    let listeners = file
        .listeners
        .items()
        .filter_map(Slot::get)
        .map(|listener| &listener.address);
    let admin = file.admin.get().map(|admin| &admin.address);
    let mut taken = HashMap::new();
    for slot in listeners.chain(admin) {
        let Some(address) = slot.get().filter(|address| address.port() != 0) else {
            continue;
        };
        if let Some(line) = taken.insert(*address, reader.tree.get(slot.at).place.0) {
            reader.refuse_text(
                slot.at,
                &format!("is taken on line {line} already; give this one another port"),
            );
        }
    }
}

const AGE_MIN: Duration = Duration::from_secs(1);
