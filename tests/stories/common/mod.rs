//! What every story needs: a Serin of its own, scripted backends, plain clients, and waiting for a condition.

mod backend;
mod client;
mod h2;
mod h2_backend;
mod load;
mod metrics;
mod serin;
pub mod tls;
mod wire;

pub use backend::{
    Act, Backend, Seen, answer, chunked, close, hang, ok, refusing_address, reset, status, text, tunnel,
};
pub use client::{Client, Response, fetch, get};
pub use h2::H2;
pub use h2_backend::{Call, Pair, Peer, Stream, fields, send_all};
pub use load::Load;
pub use metrics::Metrics;
pub use serin::{Options, Serin, binary, free_address};
pub use wire::{Head, Wire};

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a story waits for a condition before it fails. Far more than any takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; fails with `what` when it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `look` finds something; fails with `what` when it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        // The pause between two looks.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A backend entry of the configuration.
pub fn backend(name: &str, address: SocketAddr) -> String {
    format!("- {{ name: {name}, endpoints: [\"{address}\"] }}\n")
}

/// One backend behind one route, `app`, that takes every request.
pub fn one(address: SocketAddr) -> String {
    format!(
        "backends:\n{}routes:\n- name: app\n  match: {{ pathPrefix: / }}\n  split: {{ variants: [{{ name: stable, backend: app, weight: 1 }}] }}\n",
        backend("app", address)
    )
}

/// [`one`] with further keys of the backend and of the route, in YAML's flow style.
pub fn one_with(address: SocketAddr, backend: &str, route: &str) -> String {
    format!(
        "backends:\n- {{ name: app, endpoints: [\"{address}\"], {backend} }}\nroutes:\n- {{ name: app, match: {{ pathPrefix: / }}, \
         split: {{ variants: [{{ name: stable, backend: app, weight: 1 }}] }}, {route} }}\n"
    )
}

/// Two backends, `v1` and `v2`, behind one route, `shop`, whose variants are `stable` and `canary`.
pub fn pair(stable: SocketAddr, canary: SocketAddr, weights: (u32, u32)) -> String {
    pair_with(stable, canary, weights, "", "")
}

/// [`pair`] with further lines in the route (indented by two) and in its split (indented by four).
pub fn pair_with(stable: SocketAddr, canary: SocketAddr, weights: (u32, u32), route: &str, split: &str) -> String {
    format!(
        "backends:\n{}{}routes:\n- name: shop\n  match: {{ pathPrefix: / }}\n{route}  split:\n{split}    variants:\n    - {{ name: stable, backend: v1, weight: {} }}\n    - {{ name: canary, backend: v2, weight: {} }}\n",
        backend("v1", stable),
        backend("v2", canary),
        weights.0,
        weights.1
    )
}

/// A rollout `shop` on [`pair`]: `analysis` and `steps` in YAML's flow style.
pub fn rollout(analysis: &str, steps: &str) -> String {
    format!(
        "rollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, analysis: {analysis}, steps: {steps} }}\n"
    )
}

/// Some bytes that compress badly and repeat nowhere soon, the same on every run.
pub fn noise(len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}
