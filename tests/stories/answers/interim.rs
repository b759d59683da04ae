//! Interim answers and switches of protocols (RFC 9110 §15.2, §7.8; RFC 9112 §7.3, RFC 6455 §4).

use super::case::Case;
use super::expected::{CLOSED, MALFORMED, ok, switched, whole};
use super::play::play;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn interim_answers_stop_here() {
    let before = |name: &str, interim: String| Case::get(name).says(interim + OK).gets(ok("ok"));
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    play(vec![
        before("100", "HTTP/1.1 100 Continue\r\n\r\n".into()),
        before("102", "HTTP/1.1 102 Processing\r\n\r\n".into()),
        before("103", hint.into()),
        before("199", "HTTP/1.1 199 Own\r\n\r\n".into()),
        before("no-phrase", "HTTP/1.1 100\r\n\r\n".into()),
        before("close", "HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n".into()),
        before("several", format!("HTTP/1.1 100 Continue\r\n\r\n{hint}{hint}")),
        before("sixteen", hint.repeat(16)),
        Case::get("apart")
            .says(hint)
            .drips(hint, std::time::Duration::from_millis(1))
            .says(OK)
            .gets(ok("ok")),
        Case::asked("before-head", "HEAD")
            .says(hint)
            .says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            .gets(whole("200 OK", "content-length: 2\r\n", "")),
        Case::get("before-204")
            .says(hint)
            .says("HTTP/1.1 204 No Content\r\n\r\n")
            .gets(whole("204 No Content", "", "")),
    ]);
}

#[test]
fn bad_interim_answers_are_no_answer() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let bad = |name: &str, says: &str| Case::get(name).says(says).refused(502, MALFORMED);
    play(vec![
        bad("seventeen", &format!("{}{OK}", hint.repeat(17))),
        bad("a-thousand", &hint.repeat(1000)),
        bad("bad-field", "HTTP/1.1 103 Early Hints\r\nno colon\r\n\r\n"),
        bad("bare-lf", "HTTP/1.1 100 Continue\n\n"),
        bad("status-1000", "HTTP/1.1 1000 What\r\n\r\n"),
        bad("bad-after-good", &format!("{hint}what?\r\n\r\n")),
        bad(
            "length",
            &format!("HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\n{OK}"),
        ),
        bad(
            "chunks",
            &format!("HTTP/1.1 100 Continue\r\ntransfer-encoding: gzip, chunked\r\n\r\n{OK}"),
        ),
        Case::get("flood").floods(hint, 100_000).refused(502, MALFORMED),
        Case::get("no-end").says(hint).ends().refused(502, CLOSED),
        Case::get("reset").says(hint).resets().refused(502, CLOSED),
        Case::get("half").says("HTTP/1.1 103 Early").ends().refused(502, CLOSED),
    ]);
}

const WEBSOCKET: &str = "GET {path} HTTP/1.1\r\nhost: serin.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n";
const ACCEPT: &str = "sec-websocket-accept: x\r\n";

fn granted() -> String {
    format!("HTTP/1.1 101 Fine\r\nupgrade: websocket\r\n{ACCEPT}connection: upgrade\r\n\r\n")
}

#[test]
fn a_switch_of_protocols_that_was_asked_for() {
    let case = |name: &str| Case::new(name).asks(WEBSOCKET).fresh("GET");
    play(vec![
        case("granted")
            .says(granted())
            .gets(switched(ACCEPT))
            .asks("ping")
            .takes("ping")
            .says("pong")
            .gets("pong")
            .ends()
            .closed(),
        case("first-words")
            .says(granted() + "hello")
            .gets(switched(ACCEPT))
            .gets("hello")
            .ends()
            .closed(),
        case("like-an-answer")
            .says(granted() + OK)
            .gets(switched(ACCEPT))
            .gets(OK)
            .ends()
            .closed(),
        case("upper-case")
            .says(format!("HTTP/1.1 101 Fine\r\nConnection: keep-alive, UPGRADE\r\nUpgrade: WebSocket\r\n{ACCEPT}\r\n"))
            .gets(switched(ACCEPT))
            .ends()
            .closed(),
        case("after-interim")
            .says("HTTP/1.1 100 Continue\r\n\r\n")
            .says(granted())
            .gets(switched(ACCEPT))
            .ends()
            .closed(),
        case("reset-in-the-tunnel")
            .says(granted())
            .gets(switched(ACCEPT))
            .resets()
            .closed(),
        // What the client says ahead of the 101 waits for it.
        Case::new("said-ahead")
            .asks(format!("{WEBSOCKET}ahead"))
            .fresh("GET")
            .hears_nothing()
            .says(granted())
            .gets(switched(ACCEPT))
            .takes("ahead")
            .ends()
            .closed(),
        case("declined").says(OK).gets(ok("ok")),
        case("declined-with-426")
            .says("HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno")
            .gets(whole("426 Upgrade Required", "content-length: 2\r\n", "no"))
            .no_evidence(),
        // Then it was the client's next request all the time.
        Case::new("declined-and-said-ahead")
            .asks(format!("{WEBSOCKET}GET {{path}} HTTP/1.1\r\nhost: serin.test\r\n\r\n"))
            .fresh("GET")
            .hears_nothing()
            .says(OK)
            .gets(ok("ok"))
            .again("GET")
            .says(OK)
            .gets(ok("ok"))
            .books(2, 0, 0),
    ]);
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for() {
    let asked = |name: &str| Case::new(name).asks(WEBSOCKET).fresh("GET");
    let h2c = "GET {path} HTTP/1.1\r\nhost: serin.test\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    play(vec![
        Case::get("unasked").says(granted()).refused(502, MALFORMED),
        Case::get("unasked-and-bare")
            .says("HTTP/1.1 101 Switching Protocols\r\n\r\n")
            .refused(502, MALFORMED),
        Case::get("unasked-after-interim")
            .says("HTTP/1.1 100 Continue\r\n\r\n")
            .says(granted())
            .refused(502, MALFORMED),
        Case::get("unasked-with-answer")
            .says(granted() + OK)
            .refused(502, MALFORMED),
        Case::new("h2c-asked")
            .asks(h2c)
            .fresh("GET")
            .says(granted())
            .refused(502, MALFORMED),
        asked("nothing-named")
            .says("HTTP/1.1 101 Switching Protocols\r\n\r\n")
            .refused(502, MALFORMED),
        asked("no-upgrade")
            .says("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n")
            .refused(502, MALFORMED),
        asked("no-connection")
            .says("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n")
            .refused(502, MALFORMED),
        asked("to-h2c")
            .says("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
            .refused(502, MALFORMED),
        asked("to-both")
            .says("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket, h2c\r\n\r\n")
            .refused(502, MALFORMED),
        asked("in-1-0")
            .says("HTTP/1.0 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .refused(502, MALFORMED),
        asked("closes").ends().refused(502, CLOSED),
        asked("no-http").says("what?\r\n\r\n").refused(502, MALFORMED),
    ]);
}
