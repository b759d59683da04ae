//! The one writer: it owns the checked configuration and the rollout states, and publishes tables.

mod directory;
mod handle;
mod journal;
mod reload;
mod view;

pub use handle::{Asked, By, Handle, Refusal, SetWeights};
pub use view::{
    BackendView, EndpointView, Entry, EventRecord, ListenerView, MetricsView, ReloadView, RolloutMetrics, RolloutView,
    RouteView, StatusView, VariantMetrics, VariantStats, VariantView,
};
