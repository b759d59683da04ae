//! The thread of control and the admin API, which can delay no request.

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::{LAST_LINES, StartError};
use crate::admin::{self, AdminContext, Doors};
use crate::control::{Controller, Handle, Start};
use crate::live::Live;

/// Starts both; the answer comes when a table is live.
///
/// # Errors
/// [`StartError::Control`]: the state directory cannot be held, read or written.
pub(super) fn start(
    begin: Start,
    admin_socket: TcpListener,
    context: impl FnOnce(Arc<Live>) -> AdminContext + Send + 'static,
    stopped: oneshot::Receiver<()>,
    mut doors: watch::Receiver<Doors>,
) -> Result<(JoinHandle<()>, Handle, Arc<Live>), StartError> {
    let (started, starting) = mpsc::channel();
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        let runtime = match tokio::runtime::LocalRuntime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
                return;
            }
        };
        runtime.block_on(async move {
            let (mut controller, live, handle) = match Controller::start(begin) {
                Ok(parts) => parts,
                Err(error) => {
                    let _ = started.send(Err(error.to_string()));
                    return;
                }
            };
            let context = context(Arc::clone(&live));
            let _ = started.send(Ok((handle.clone(), live)));
            let notifier = controller.notifier();
            let telling = tokio::task::spawn_local(async {
                if let Some(notifier) = notifier {
                    notifier.run().await;
                }
            });
            // The admin side ends after control, so that what was asked last is answered.
            let (over, control_over) = oneshot::channel::<()>();
            let serving = admin::serve(admin_socket, handle, context, async move {
                tokio::select! {
                    _ = control_over => {}
                    Ok(_) = doors.wait_for(|doors| *doors == Doors::HandedOver) => {}
                }
            });
            let controlling = async {
                controller
                    .run(async {
                        let _ = stopped.await;
                    })
                    .await;
                drop(over);
            };
            let (served, ()) = tokio::join!(serving, controlling);
            // With control the last one who tells is gone: places are written down, letters are not waited for.
            let _ = tokio::time::timeout(LAST_LINES, telling).await;
            if let Err(error) = served {
                tracing::error!(%error, "the admin API has ended");
            }
        });
    });
    let thread = thread.map_err(StartError::Thread)?;
    match starting.recv() {
        Ok(Ok((handle, live))) => Ok((thread, handle, live)),
        Ok(Err(cause)) => Err(StartError::Control(cause)),
        Err(_) => Err(StartError::Died("the control task")),
    }
}
