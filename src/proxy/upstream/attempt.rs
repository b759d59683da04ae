//! One HTTP/2 connection in the making, for all who wait for it: a rush of requests to an endpoint makes one
//! connection, not one each. It goes on when those who began it have left.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::connect::{ClientAddresses, NOT_IN_TIME, Terms, dial};
use super::link::Link;
use crate::proxy::fault::Fault;
use crate::proxy::worker::Worker;
use crate::route::{Backend, Endpoint};

/// A connection in the making.
pub(in crate::proxy) struct Attempt {
    terms: Terms,
    /// Who waits, as far as they will find room.
    expected: Cell<u32>,
    room: u32,
    outcome: Cell<Option<Result<(), Fault>>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Attempt {
    /// Begins to connect to `endpoint` of `backend` for a request of `client`, who waits first. What comes of it is
    /// found in the pools.
    pub(in crate::proxy) fn begin(
        worker: &Rc<Worker>,
        backend: &Arc<Backend>,
        endpoint: &Arc<Endpoint>,
        client: ClientAddresses,
    ) -> Rc<Self> {
        let attempt = Rc::new(Self {
            terms: Terms::of(backend, client.source.ip()),
            expected: Cell::new(1),
            room: backend.max_streams,
            outcome: Cell::new(None),
            waiting: RefCell::default(),
        });
        worker.pools.borrow_mut().begin(endpoint.id, Rc::clone(&attempt));
        let (worker, backend, endpoint) = (Rc::clone(worker), Arc::clone(backend), Arc::clone(endpoint));
        let making = Rc::clone(&attempt);
        tokio::task::spawn_local(async move {
            let made = make(&worker, &backend, &endpoint, client).await;
            let (link, outcome) = match made {
                Ok(link) => (Some(link), Ok(())),
                Err(fault) => (None, Err(fault)),
            };
            worker.pools.borrow_mut().end(endpoint.id, &making, link);
            making.outcome.set(Some(outcome));
            for waker in making.waiting.take() {
                waker.wake();
            }
        });
        attempt
    }

    /// Whether one more request of `client` to `backend` may wait for it.
    pub(in crate::proxy) fn joins(&self, backend: &Backend, client: IpAddr) -> bool {
        self.expected.get() < self.room && self.terms.fit(backend, client)
    }

    /// One more waits.
    pub(in crate::proxy) fn join(&self) {
        self.expected.set(self.expected.get() + 1);
    }

    /// Ready when it is over: then there is a connection, unless somebody was faster.
    pub(in crate::proxy) fn poll(&self, cx: &Context<'_>) -> Poll<Result<(), Fault>> {
        match self.outcome.get() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

async fn make(
    worker: &Rc<Worker>,
    backend: &Backend,
    endpoint: &Arc<Endpoint>,
    client: ClientAddresses,
) -> Result<Rc<Link>, Fault> {
    let making = async {
        let socket = dial(worker, backend, endpoint, client).await?;
        let terms = Terms::of(backend, client.source.ip());
        let opened = Link::open(socket, terms, endpoint, worker, backend.max_streams).await;
        opened.map_err(|error| {
            worker.warn_of_endpoint(endpoint, &error);
            Fault::Connect
        })
    };
    let made = tokio::time::timeout(backend.connect_timeout, making).await;
    made.unwrap_or_else(|_| {
        worker.warn_of_endpoint(endpoint, &NOT_IN_TIME);
        Err(Fault::ConnectTimeout)
    })
}
