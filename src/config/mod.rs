//! From the text a person writes to a checked `Spec`. Pure but for `${VAR}`, which the caller supplies.

mod spec;

pub use spec::{
    Backend, BackendLimits, Endpoint, Listener, ListenerLimits, ListenerTimeouts, Log, Network, Rollout, Route, Spec,
    Tls, Variant,
};
