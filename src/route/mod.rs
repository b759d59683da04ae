//! Where a request goes: match, cohort, split, backend. Pure.

mod backend;
mod breaker;
mod cohort;
mod curfew;
mod field;
mod index;
mod lookup;
mod matcher;
mod murmur;
mod split;
mod table;
mod votes;

pub use backend::{Backend, BackendSettings, Endpoint, EndpointCell, EndpointId, LoadBalancing};
pub use breaker::{Admission, Bounds, Breaker, Place};
pub use cohort::{
    Cohort, CohortSpec, Key, KeyFallback, KeySource, KeySpec, RouteKey, bucket_of_draw, bucket_of_hash, bucket_of_key,
};
pub use curfew::Curfew;
pub use field::{FieldMatch, FieldTest};
pub use index::Index;
pub use matcher::{HostMatch, Match, PathMatch, RankKey};
pub use split::Split;
pub use table::{AccessLog, Choice, ListenerSettings, Route, Table, Variant, VoteLimit};
pub use votes::Votes;
