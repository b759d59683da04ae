//! What the log says of backends that cannot be reached.

use std::net::{SocketAddr, TcpListener};

use tempfile::TempDir;

use crate::common::{Client, Options, Pair, Peer, Serin, one_with, refusing_address, wait_until};

/// A backend of this name for paths below it.
fn part(name: &str, endpoint: &str, more: &str) -> (String, String) {
    (
        format!("- {{ name: {name}, endpoints: [\"{endpoint}\"], {more} }}\n"),
        format!(
            "- {{ name: {name}, match: {{ pathPrefix: /{name} }}, split: {{ variants: [{{ name: stable, backend: {name}, \
             weight: 1 }}] }} }}\n"
        ),
    )
}

/// Starts a Serin of one worker with these backends.
fn serin(parts: &[(String, String)]) -> Serin {
    let all = |side: fn(&(String, String)) -> &str| parts.iter().map(side).collect::<String>();
    let body = format!("backends:\n{}routes:\n{}", all(|part| &part.0), all(|part| &part.1));
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    Serin::with(options, &body)
}

/// How many warnings there are of this backend.
fn warnings(serin: &Serin, backend: &str) -> usize {
    let needle = format!("backend={backend} ");
    let is_one = |line: &&str| line.contains("no connection to an endpoint") && line.contains(&needle);
    serin.log().lines().filter(is_one).count()
}

#[test]
fn whoever_cannot_be_reached_is_in_the_log_and_hides_nobody() {
    let ((first, _kept), (second, _kept_too)) = (refusing_address(), refusing_address());
    // It takes connections, and says nothing on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let silent: SocketAddr = silent.local_addr().expect("it is bound");
    let (first, second, silent) = (first.to_string(), second.to_string(), silent.to_string());
    let serin = serin(&[
        part("first", &first, ""),
        part("second", &second, "protocol: http2"),
        part("silent", &silent, "protocol: http2, limits: { connectTimeout: 100ms }"),
        part("nobody", "nobody.invalid:80", ""),
    ]);
    let mut client = Client::connect(serin.address());
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        for backend in ["first", "second"] {
            client.get(&format!("/{backend}")).problem(502);
        }
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("few") + 1;
    for (backend, endpoint) in [("first", &first), ("second", &second)] {
        wait_until(backend, || warnings(&serin, backend) > 0);
        assert!(warnings(&serin, backend) <= seconds + 1, "{}", serin.log());
        assert!(
            serin.log().contains(&format!("endpoint=\"{endpoint}\"")),
            "{}",
            serin.log()
        );
    }
    assert!(serin.log().contains("refused"), "{}", serin.log());
    client.get("/silent").problem(504);
    wait_until("its silence is told", || serin.log().contains("limits.connectTimeout"));
    assert_eq!(warnings(&serin, "silent"), 1);
    assert!(client.get("/nobody").status >= 502);
    wait_until("a name that leads nowhere is told", || warnings(&serin, "nobody") == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_wants_a_certificate_of_ours_is_told_as_one() {
    let (app, clients) = (Pair::of(&["app.test"]), Pair::of(&["me"]));
    for (alpn, protocol) in [("h2", "http2"), ("http/1.1", "http1")] {
        let serve = |stream: Box<dyn crate::common::Stream>, _| async move { drop(stream) };
        let peer = Peer::start(Some(app.acceptor(alpn, Some(&clients))), serve).await;
        let dir = TempDir::new().expect("a temporary directory");
        std::fs::write(dir.path().join("ca.pem"), &app.certificate_pem).expect("it can be written");
        let keys = format!("protocol: {protocol}, tls: {{ ca: ca.pem, serverName: app.test }}");
        let serin = Serin::in_dir(dir, Options::default(), &one_with(peer.address(), &keys, ""));
        let asked = tokio::task::spawn_blocking(move || {
            Client::connect(serin.address()).get("/").problem(502);
            wait_until("it is told", || {
                serin.log().contains("it may want a client certificate")
            });
        });
        asked.await.expect("no panic");
    }
}
