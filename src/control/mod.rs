//! The one writer: it owns the checked configuration and the rollout states, and publishes tables.

mod directory;
mod draft;
#[cfg(test)]
mod fixture;
mod ground;
mod handle;
mod journal;
mod reload;
mod standing;
mod view;
mod weights;

pub use handle::{Asked, By, Handle, Refusal, SetWeights};
pub use view::{
    BackendView, EndpointView, Entry, EventRecord, ListenerView, MetricsView, ReloadView, RolloutMetrics, RolloutView,
    RouteView, StatusView, VariantMetrics, VariantStats, VariantView,
};
