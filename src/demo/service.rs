//! The two services behind the demo's proxy: real HTTP/1.1 servers on free ports, on a thread of their own.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::{oneshot, watch};

use super::scenario::{ERROR_SHARE, SLOW, Scenario};

/// A well service works so long on an answer, drawn anew for each.
const WORK_MS: std::ops::RangeInclusive<u64> = 1..=5;

/// When all descriptors are in use: how long until the next try to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Both services. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Services {
    /// The one that serves today.
    pub(super) stable: Service,
    /// The one on trial.
    pub(super) canary: Service,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One service, as the demo sees it.
#[derive(Debug)]
pub(super) struct Service {
    address: SocketAddr,
    temper: watch::Sender<Scenario>,
    marks: Arc<Mutex<Marks>>,
}

/// What a service noted of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Requests that came.
    pub(super) requests: u64,
    /// When the last one came.
    pub(super) last_request: Option<Instant>,
    /// When it first did harm: sent an error, took a request that it answers late or never, or went down.
    pub(super) first_bad: Option<Moment>,
}

/// An instant, and what the calendar said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// For differences.
    pub(super) at: Instant,
    /// For comparing with what control shows.
    pub(super) unix_ms: u64,
}

/// One service, as its own thread sees it.
struct Running {
    name: &'static str,
    temper: watch::Receiver<Scenario>,
    marks: Arc<Mutex<Marks>>,
}

impl Services {
    /// Starts both on loopback.
    ///
    /// # Errors
    /// Without a free port or a thread.
    pub(super) fn start() -> io::Result<Self> {
        let (stable, stable_parts) = Service::bind("shop-v1")?;
        let (canary, canary_parts) = Service::bind("shop-v2")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::LocalRuntime::new;
        let thread = std::thread::Builder::new()
            .name("demo-services".into())
            .spawn(move || {
                let Ok(runtime) = runtime() else { return };
                runtime.block_on(async move {
                    for (listener, running) in [stable_parts, canary_parts] {
                        tokio::task::spawn_local(serve(listener, running));
                    }
                    // Either way it is time to end.
                    let _ = stopped.await;
                });
            })?;
        Ok(Self {
            stable,
            canary,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Service {
    fn bind(name: &'static str) -> io::Result<(Self, (TcpListener, Running))> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (temper, told) = watch::channel(Scenario::Healthy);
        let marks = Arc::new(Mutex::new(Marks::default()));
        let running = Running {
            name,
            temper: told,
            marks: Arc::clone(&marks),
        };
        Ok((Self { address, temper, marks }, (listener, running)))
    }

    /// Where it listens, or did.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it behaves so. Down is for good.
    pub(super) fn turn(&self, temper: Scenario) {
        self.temper.send_replace(temper);
    }

    /// What it noted so far.
    pub(super) fn marks(&self) -> Marks {
        *lock(&self.marks)
    }
}

impl Marks {
    fn note_bad(&mut self) {
        self.first_bad.get_or_insert_with(Moment::now);
    }
}

impl Moment {
    fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at: Instant::now(),
            unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Accepts until it is told to go down; then the port and all connections are closed.
async fn serve(listener: TcpListener, running: Running) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let running = Rc::new(running);
    loop {
        tokio::select! {
            biased;
            () = running.down() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    tokio::task::spawn_local(converse(TokioIo::new(stream), Rc::clone(&running)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    lock(&running.marks).note_bad();
}

/// One connection, until its client leaves or the service goes down.
async fn converse(stream: TokioIo<tokio::net::TcpStream>, running: Rc<Running>) {
    let answering = Rc::clone(&running);
    let service = service_fn(move |_: Request<Incoming>| {
        let running = Rc::clone(&answering);
        async move { Ok::<_, Infallible>(running.answer().await) }
    });
    tokio::select! {
        biased;
        () = running.down() => {}
        // A connection that breaks is its client's business.
        _ = http1::Builder::new().serve_connection(stream, service) => {}
    }
}

impl Running {
    /// Waits until the service is to go down, or nobody is left to say so.
    async fn down(&self) {
        let _ = self.temper.clone().wait_for(|temper| *temper == Scenario::Down).await;
    }

    async fn answer(&self) -> Response<Full<Bytes>> {
        let temper = *self.temper.borrow();
        {
            let mut marks = lock(&self.marks);
            marks.requests += 1;
            marks.last_request = Some(Instant::now());
            if matches!(temper, Scenario::Slow | Scenario::Hang) {
                marks.note_bad();
            }
        }
        match temper {
            Scenario::Healthy | Scenario::Errors => {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(WORK_MS))).await;
            }
            Scenario::Slow => tokio::time::sleep(SLOW).await,
            Scenario::Hang | Scenario::Down => std::future::pending().await,
        }
        let ill = temper == Scenario::Errors && fastrand::f64() < ERROR_SHARE;
        if ill {
            lock(&self.marks).note_bad();
        }
        let (status, state) = if ill { (500, "out of order") } else { (200, "ok") };
        let body = format!("{{\"service\":\"{}\",\"state\":\"{state}\"}}\n", self.name);
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = hyper::StatusCode::from_u16(status).expect("200 and 500 are statuses");
        response.headers_mut().insert(
            "content-type",
            hyper::header::HeaderValue::from_static("application/json"),
        );
        response
    }
}

/// Marks are plain values: whole, whatever happened to who last held them.
fn lock(marks: &Mutex<Marks>) -> MutexGuard<'_, Marks> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn get(stream: &mut TcpStream) -> io::Result<String> {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        while !answer.ends_with(b"}\n") {
            match stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => answer.extend_from_slice(&piece[..n]),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn connect(service: &Service) -> TcpStream {
        let stream = TcpStream::connect(service.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    #[test]
    fn a_well_service_answers_and_notes_no_harm() {
        let services = Services::start().unwrap();
        let mut stream = connect(&services.stable);
        for _ in 0..3 {
            let answer = get(&mut stream).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("shop-v1"),
                "{answer}"
            );
        }
        let marks = services.stable.marks();
        assert_eq!((marks.requests, marks.first_bad), (3, None));
    }

    #[test]
    fn an_ill_service_answers_some_requests_with_500_and_notes_the_first() {
        let services = Services::start().unwrap();
        services.canary.turn(Scenario::Errors);
        let mut stream = connect(&services.canary);
        // 8 % of 400 requests: none at all has a chance of 3e-15.
        let first = (0..400).position(|_| get(&mut stream).unwrap().starts_with("HTTP/1.1 500 "));
        let first_bad = services.canary.marks().first_bad;
        assert!(first.is_some() && first_bad.is_some());
        while !get(&mut stream).unwrap().starts_with("HTTP/1.1 500 ") {}
        assert_eq!(services.canary.marks().first_bad, first_bad, "only the first counts");
        assert_eq!(services.stable.marks().first_bad, None);
    }

    #[test]
    fn a_hanging_service_notes_harm_when_it_takes_the_request() {
        let services = Services::start().unwrap();
        services.canary.turn(Scenario::Hang);
        let mut stream = connect(&services.canary);
        stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while services.canary.marks().first_bad.is_none() {
            assert!(Instant::now() < deadline, "the request was not taken");
            std::thread::sleep(Duration::from_millis(1));
        }
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(stream.read(&mut [0]).is_err(), "it answered");
    }

    #[test]
    fn a_service_that_goes_down_closes_its_port_and_its_connections() {
        let services = Services::start().unwrap();
        let mut stream = connect(&services.canary);
        get(&mut stream).unwrap();
        services.canary.turn(Scenario::Down);
        assert!(get(&mut stream).is_err());
        while TcpStream::connect(services.canary.address()).is_ok() {}
        assert!(services.canary.marks().first_bad.is_some());
        get(&mut connect(&services.stable)).unwrap();
    }
}
