//! A steady load: a few keep-alive clients that note every answer, and everything that was lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Client;

/// One answered request.
#[derive(Clone, Debug)]
pub struct Sample {
    pub sent: Instant,
    pub done: Instant,
    pub status: u16,
    pub variant: String,
    pub generation: u64,
}

/// What the clients have seen so far.
#[derive(Debug, Default)]
struct Book {
    samples: Mutex<Vec<Sample>>,
    lost: Mutex<Vec<String>>,
    over: AtomicBool,
    answered: AtomicUsize,
}

/// Runs until it is stopped or dropped.
pub struct Load {
    book: Arc<Book>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// `clients` connections that each send `GET target` again and again. Stops itself after a minute.
    pub fn start(address: SocketAddr, clients: usize, target: &str) -> Self {
        let book = Arc::new(Book::default());
        let one = |_| {
            let (book, target) = (Arc::clone(&book), target.to_owned());
            thread::spawn(move || book.client(address, &target))
        };
        let clients = (0..clients).map(one).collect();
        Self { book, clients }
    }

    /// Answers so far.
    pub fn answered(&self) -> usize {
        self.book.answered.load(Ordering::SeqCst)
    }

    /// Requests without a whole answer so far.
    pub fn lost(&self) -> Vec<String> {
        self.book.lost.lock().expect("clients do not panic").clone()
    }

    /// Ends it: every answer, and why each lost request was lost.
    pub fn stop(mut self) -> (Vec<Sample>, Vec<String>) {
        self.end();
        let samples = std::mem::take(&mut *self.book.samples.lock().expect("clients do not panic"));
        (samples, self.lost())
    }

    fn end(&mut self) {
        self.book.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().ok();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

impl Book {
    fn client(&self, address: SocketAddr, target: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut connection = None;
        while !self.over.load(Ordering::SeqCst) && Instant::now() < deadline {
            let mut client = match connection.take().map_or_else(|| Client::try_connect(address), Ok) {
                Ok(client) => client,
                Err(error) if self.over.load(Ordering::SeqCst) || self.draining(&error) => return,
                Err(error) => {
                    self.lost
                        .lock()
                        .expect("clients do not panic")
                        .push(format!("connect: {error}"));
                    return;
                }
            };
            let sent = Instant::now();
            match client.try_request("GET", target, &[], b"") {
                Ok(response) => {
                    let close = response
                        .head
                        .all("connection")
                        .iter()
                        .any(|v| v.eq_ignore_ascii_case("close"));
                    let sample = Sample {
                        sent,
                        done: Instant::now(),
                        status: response.status,
                        variant: response.head.get("x-serin-variant").unwrap_or_default().to_owned(),
                        generation: response
                            .head
                            .get("x-serin-generation")
                            .and_then(|g| g.parse().ok())
                            .unwrap_or(0),
                    };
                    self.samples.lock().expect("clients do not panic").push(sample);
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    connection = (!close).then_some(client);
                }
                Err(error) => self.lost.lock().expect("clients do not panic").push(error.to_string()),
            }
            // The pace: without it two cores would be busy with the load alone.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A closed port after the last answer is the end of a drain, no loss.
    fn draining(&self, error: &std::io::Error) -> bool {
        error.kind() == std::io::ErrorKind::ConnectionRefused && self.answered.load(Ordering::SeqCst) > 0
    }
}
