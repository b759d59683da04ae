//! Where a request goes: one look at the table, with all that is known of who asks; then the breaker.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::fault::Fault;
use super::handle::Client;
use super::ledger::Placed;
use super::worker::Worker;
use crate::head::RequestHead;
use crate::jwt;
use crate::measure::Track;
use crate::route::{AccessLog, Admission, Request, Route, is_in};

/// Where a request goes: what it takes from the one table that it sees.
pub(super) struct Course {
    pub(super) route: Arc<Route>,
    pub(super) variant: usize,
    /// Index of the cohort that placed it.
    pub(super) cohort: Option<usize>,
    pub(super) track: Track,
    /// Hash of its key.
    pub(super) key: Option<u32>,
    /// The sticky cookie that the answer sets.
    pub(super) cookie: Option<Bytes>,
    /// Of the table, in decimal.
    pub(super) generation: Bytes,
    /// Whether the peer's own forwarding fields are believed.
    pub(super) peer_trusted: bool,
    /// Rightmost untrusted.
    pub(super) client: IpAddr,
    pub(super) access: AccessLog,
}

impl Course {
    /// One look at the table. Its guard ends here, before anything is awaited.
    pub(super) fn choose(worker: &Worker, head: &RequestHead, client: &Client, now_us: u64) -> Result<Self, Fault> {
        let draw = worker.draw();
        worker.with_table(|table| {
            let peer_trusted = client.is_trusted(table);
            let route = table.find(head, peer_trusted).ok_or(Fault::NoRoute)?;
            let origin = if peer_trusted {
                origin(&table.trusted_proxies, head, client.peer)
            } else {
                client.peer
            };
            let now_s = worker.unix_s(now_us);
            let asked = jwt::Asked {
                issuers: &table.issuers,
                head,
                client: origin,
                now_s,
            };
            let asks_claims = table.routes[route].flag.asks_claims;
            let claims = asks_claims.then(|| worker.claims(&asked)).flatten();
            let request = Request {
                head,
                client: origin,
                peer_trusted,
                certificate: client.certificate.as_deref(),
                claims: claims.as_deref(),
                now_s,
            };
            let choice = table.choose(route, &request, draw);
            let cookie = choice.cookie.and_then(|draw| {
                let https = client.https || (peer_trusted && came_encrypted(head));
                let field = choice.route.flag.sticky.as_ref()?.seal(draw, now_s, https);
                Some(Bytes::from(field))
            });
            Ok(Self {
                route: Arc::clone(choice.route),
                variant: choice.variant,
                cohort: choice.cohort,
                track: choice.track,
                key: choice.key,
                cookie,
                generation: table.generation_text.clone(),
                peer_trusted,
                client: origin,
                access: table.access_log,
            })
        })
    }

    /// Asks the breaker, and whether the key may vote once more. Both before anything is known of how the
    /// request will end.
    pub(super) fn admit(&self, worker: &Worker, now_us: u64) -> Placed {
        let variant = &self.route.variants[self.variant];
        let place = match &variant.breaker {
            None => None,
            Some((breaker, _)) => match breaker.admit(self.track, now_us) {
                Admission::Canary(place) => place,
                Admission::Stable => return self.divert(),
            },
        };
        let votes = self.track != Track::Cohort && variant.hears(worker.id, self.key, now_us);
        Placed {
            variant: self.variant,
            track: if votes { self.track } else { Track::Cohort },
            chosen: self.track,
            place,
        }
    }

    /// What the breaker refuses goes to stable, and is no evidence for it.
    pub(super) fn divert(&self) -> Placed {
        let breaker = self.route.variants[self.variant].breaker.as_ref();
        Placed {
            variant: breaker.map_or(self.variant, |&(_, stable)| stable),
            track: Track::Cohort,
            chosen: Track::Cohort,
            place: None,
        }
    }
}

/// The rightmost address of `x-forwarded-for` that is no trusted proxy.
fn origin(trusted: &[(IpAddr, u8)], head: &RequestHead, peer: IpAddr) -> IpAddr {
    let mut origin = peer;
    let values: smallvec::SmallVec<[&[u8]; 4]> = head.fields().get_all("x-forwarded-for").collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(|&b| b == b','));
    for hop in hops {
        let Some(address) = std::str::from_utf8(hop)
            .ok()
            .and_then(|hop| hop.trim().parse::<IpAddr>().ok())
        else {
            break;
        };
        origin = address.to_canonical();
        if !is_in(trusted, origin) {
            break;
        }
    }
    origin
}

/// Whether a proxy that is believed says that its client came over TLS.
pub(super) fn came_encrypted(head: &RequestHead) -> bool {
    let proto = head.fields().get("x-forwarded-proto");
    proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::{came_encrypted, origin};
    use crate::head::{HeadBuilder, Method, RequestHead, Version};

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        head.request(Method::Get, Version::Http11, "shop", "/")
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_nobody_vouches_for() {
        let check = |hops: &[&str], expected: &str| {
            let trusted = [("10.0.0.0".parse().unwrap(), 8)];
            let fields: Vec<_> = hops.iter().map(|hops| ("x-forwarded-for", *hops)).collect();
            let found = origin(&trusted, &head(&fields), "10.0.0.1".parse().unwrap());
            assert_eq!(found.to_string(), expected, "{hops:?}");
        };
        check(&[], "10.0.0.1");
        check(&["192.0.2.7"], "192.0.2.7");
        check(&["198.51.100.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7");
        check(&["198.51.100.1", "192.0.2.7 , 10.0.0.2"], "192.0.2.7");
        check(&["::ffff:192.0.2.7"], "192.0.2.7");
        check(&["2001:db8::1, 10.9.9.9"], "2001:db8::1");
        check(&["10.1.1.1, 10.2.2.2"], "10.1.1.1");
        check(&["192.0.2.7, nobody, 10.0.0.2"], "10.0.0.2");
    }

    #[test]
    fn only_https_is_encrypted() {
        let check = |fields: &[(&str, &str)], expected| assert_eq!(came_encrypted(&head(fields)), expected);
        check(&[("x-forwarded-proto", "HTTPS")], true);
        check(&[("x-forwarded-proto", "http")], false);
        check(&[("x-forwarded-proto", "https, http")], false);
        check(&[], false);
    }
}
