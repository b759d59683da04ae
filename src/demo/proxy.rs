//! Serin itself, as the demo starts it and asks it.

use std::net::SocketAddr;
use std::time::Duration;

use super::DemoError;
use super::files::{Files, SHOP};
use crate::control::{Asked, Handle, Order, RolloutView};
use crate::rollout::Verb;
use crate::server::{self, Server};

/// Control answers within microseconds; after so long it does not any more.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Serin itself. It is stopped when this is dropped.
pub(super) struct Proxy {
    /// `None` only while it is dropped.
    server: Option<Server>,
    handle: Handle,
    /// Where it takes requests.
    pub(super) address: SocketAddr,
    admin: SocketAddr,
}

impl Proxy {
    /// Starts it, and answers when it is ready.
    pub(super) fn start(files: &Files) -> Result<Self, DemoError> {
        let server = server::start(server::Options {
            config_file: files.config_file(),
            workers: Some(1),
            drain_timeout: Duration::from_secs(1),
            init_logging: false,
            upgrade: false,
        })?;
        let (handle, admin) = (server.handle().clone(), server.admin_address());
        let address = server.listeners().first().map(|listener| listener.address);
        let server = Some(server);
        let address = address.ok_or(DemoError::Control("no listener"))?;
        Ok(Self {
            server,
            handle,
            address,
            admin,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Begins the one rollout.
    pub(super) async fn start_rollout(&self) -> Result<(), DemoError> {
        let question = self.handle.ask(|reply| Asked::Command {
            rollout: SHOP.into(),
            verb: Verb::Start,
            order: Order::default(),
            if_match: None,
            reason: "the demo begins".into(),
            by: "demo".into(),
            reply,
        });
        match tokio::time::timeout(ANSWER_MAX, question).await {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(Some(Err(_))) => Err(DemoError::Control("not started the rollout")),
            Ok(None) | Err(_) => Err(DemoError::Control("ended")),
        }
    }

    /// Where the one rollout stands.
    pub(super) async fn rollout(&self) -> Result<RolloutView, DemoError> {
        let answer = tokio::time::timeout(ANSWER_MAX, self.handle.ask(Asked::Rollouts)).await;
        let rollouts = answer.ok().flatten().ok_or(DemoError::Control("ended"))?;
        rollouts.into_iter().next().ok_or(DemoError::Control("no rollout"))
    }

    /// Commands for who stays.
    pub(super) fn what_to_try(&self, files: &Files) -> String {
        let (url, admin) = (self.url(), self.admin_url());
        let program = std::env::args().next().unwrap_or_else(|| "serin".into());
        format!(
            "
All of it stays up until Ctrl-C:
  curl -is {url}/checkout
  curl -s {admin}/v1/rollouts/{SHOP}
  curl -s {admin}/v1/routes/{SHOP}
  curl -sN {admin}/v1/events
  curl -s {admin}/metrics
  curl -s -X POST {admin}/v1/rollouts/{SHOP}/start
  {program} status --admin {admin}
The configuration is {}
",
            files.config_file().display()
        )
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}
