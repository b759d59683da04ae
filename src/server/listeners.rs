//! What each worker accepts on: its sockets of every listener.

use std::sync::Arc;

use super::StartError;
use super::sockets::Sockets;
use crate::config::Spec;
use crate::control::ListenerView;
use crate::proxy::Listening;

/// The listeners as they are, and what each worker accepts on.
pub(super) struct Listeners {
    pub(super) views: Vec<ListenerView>,
    pub(super) by_worker: Vec<Vec<Listening>>,
}

/// Divides the sockets among so many workers.
///
/// # Errors
/// No descriptors are left.
pub(super) fn divide(spec: &Spec, sockets: &Sockets, workers: usize) -> Result<Listeners, StartError> {
    let mut by_worker: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
    let mut views = Vec::with_capacity(spec.listeners.len());
    for (index, listener) in spec.listeners.iter().enumerate() {
        let group = sockets.listener(index);
        for (id, listening) in by_worker.iter_mut().enumerate() {
            let own = group.of_worker(id, workers).map_err(|cause| StartError::Bind {
                name: listener.name.to_string(),
                address: listener.address,
                cause,
            })?;
            listening.extend(own.into_iter().map(|socket| Listening {
                index,
                socket,
                kept: Arc::clone(&group.kept),
            }));
        }
        views.push(ListenerView {
            name: listener.name.clone(),
            address: group.address,
            tls: listener.tls.is_some(),
            certificates: Vec::new(),
            client_ca: None,
        });
    }
    Ok(Listeners { views, by_worker })
}
