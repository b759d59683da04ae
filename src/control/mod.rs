//! The one writer: it owns the checked configuration and the rollout states, and publishes tables.
//!
//! An event comes in ([`Controller`]), a new ground comes of it (pure: what stands, and what each
//! event changes), it is written down, compiled, published and told of.

mod answers;
mod audit_log;
mod certificates;
mod commit;
mod controller;
mod cookie_secret;
mod court;
mod directory;
mod draft;
mod errands;
mod evidence;
#[cfg(test)]
mod fixture;
mod flags;
mod ground;
mod handle;
mod handover;
mod journal;
mod jwks;
mod key_files;
mod log;
mod outside;
mod publisher;
mod readings;
mod reload;
mod restart;
mod saver;
mod standing;
mod store;
mod upstream_tls;
mod view;
mod views;
mod weights;
mod windows;
mod yardstick;

pub use audit_log::{AuditPage, AuditQuery, AuditView, audit_page, list_audit, records_behind, verify_audit};
pub use certificates::CertificateReloads;
pub use controller::{Controller, Start, StartError};
pub use directory::StateError;
pub use evidence::{EvidenceBody, StatisticBody};
pub use handle::{Asked, By, Handle, Order, Refusal, SetWeights};
pub use key_files::KeyFiles;
pub use readings::{Loaded, check_config, read_config};
#[doc(hidden)]
pub use store::rewritten_state;
pub use view::{
    Afterwards, BackendView, ByHandView, CertificateView, ClientCaView, CohortView, Course, EndpointView, Entry,
    EventRecord, FlagVariantView, FlagView, FreezeView, IssuerView, ListenerView, MetricsView, ReloadView,
    RolloutMetrics, RolloutView, RouteView, StatusView, VariantMetrics, VariantStats, VariantView,
};
