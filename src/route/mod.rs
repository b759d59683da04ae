//! Where a request goes: match, cohort, split, backend. Pure.

mod backend;
mod breaker;
mod cohort;
mod matcher;
mod split;
mod table;

pub use backend::{Backend, Endpoint, EndpointCell, EndpointId, LoadBalancing};
pub use breaker::{Admission, Breaker};
pub use cohort::{CohortSpec, FieldMatch, FieldTest, KeyFallback, KeySource, KeySpec, bucket_of_draw, bucket_of_key};
pub use matcher::{HostMatch, Index, Match, PathMatch};
pub use split::Split;
pub use table::{AccessLog, Choice, ListenerSettings, Route, Table, Variant};
