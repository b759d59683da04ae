//! What happened: outcomes, counters, histograms, and windows over them. Pure.

mod histogram;
mod outcome;
mod pressure;
mod proxy_cells;
mod recorder;
mod snapshot;
mod window;

pub use histogram::{Histogram, LatencyHistogram};
pub use outcome::{CodeClass, FailureStatuses, Outcome, Track};
pub use pressure::{Bounds, Pressure, Room};
pub use proxy_cells::{ProxyCells, RejectReason, TokenRefusal};
pub use recorder::{AT_P90, AT_P99, Cell, LIMITS, NO_LIMIT, PATIENCE, Recorder, RecorderKey};
pub use snapshot::{Counts, Snapshot};
pub use window::Window;
