//! What each worker accepts on: its sockets of every listener, with their certificates.

use std::sync::Arc;

use super::StartError;
use super::sockets::Sockets;
use crate::config::{self, Spec};
use crate::control::ListenerView;
use crate::proxy::{self, Listening, TlsFiles};

/// The listeners as they are, and what each worker accepts on.
pub(super) struct Listeners {
    pub(super) views: Vec<ListenerView>,
    pub(super) by_worker: Vec<Vec<Listening>>,
}

/// Divides the sockets among so many workers.
///
/// # Errors
/// A certificate cannot be used, or no descriptors are left.
pub(super) fn divide(spec: &Spec, sockets: &Sockets, workers: usize) -> Result<Listeners, StartError> {
    let mut by_worker: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
    let mut views = Vec::with_capacity(spec.listeners.len());
    for (index, listener) in spec.listeners.iter().enumerate() {
        let group = sockets.listener(index);
        let load = |tls: &config::Tls| {
            let files = TlsFiles {
                certificate: &tls.certificates[0].certificate,
                key: &tls.certificates[0].key,
                client_ca: tls.client_ca.as_deref(),
            };
            proxy::load_tls(files, tls.only_1_3)
        };
        let tls = listener.tls.as_ref().map(load).transpose();
        let tls = tls.map_err(|error| StartError::Tls(format!("listeners.{}.tls: {error}", listener.name)))?;
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
                tls: tls.clone(),
            }));
        }
        views.push(ListenerView {
            name: listener.name.clone(),
            address: group.address,
            tls: tls.is_some(),
        });
    }
    Ok(Listeners { views, by_worker })
}
