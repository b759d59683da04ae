//! Recent snapshots; what happened since an instant.

/// Recent values of a cumulative quantity, oldest first, bounded in number.
#[derive(Clone, Debug)]
pub struct Window<T> {
    _entries: std::collections::VecDeque<(u64, T)>,
}
