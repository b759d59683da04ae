//! Answers in good order, and which connections serve on after them (RFC 9112 §9.3, §9.6).

use super::case::Case;
use super::expected::{chunked, last, ok, whole};
use super::play::play;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_backend_that_means_to_close_is_not_asked_again() {
    let answer = |name: &str, version: &str, fields: &str| {
        Case::get(name)
            .says(format!("{version} 200 OK\r\n{fields}content-length: 2\r\n\r\nok"))
            .gets(ok("ok"))
    };
    play(vec![
        answer("kept", "HTTP/1.1", ""),
        answer("keep-alive", "HTTP/1.1", "connection: keep-alive\r\n"),
        answer("keep-alive-in-1-0", "HTTP/1.0", "connection: Keep-Alive\r\n"),
        answer("close", "HTTP/1.1", "connection: close\r\n").dropped(),
        answer("close-in-any-case", "HTTP/1.1", "Connection: CLOSE\r\n").dropped(),
        answer("close-among-others", "HTTP/1.1", "connection: x-a,close ,x-b\r\n").dropped(),
        answer(
            "close-in-a-second-line",
            "HTTP/1.1",
            "connection: x-a\r\nconnection: close\r\n",
        )
        .dropped(),
        answer("close-and-keep-alive", "HTTP/1.1", "connection: keep-alive, close\r\n").dropped(),
        answer("almost-close", "HTTP/1.1", "connection: closed\r\n"),
        answer("only-1-0", "HTTP/1.0", "").dropped(),
        answer("close-in-1-0", "HTTP/1.0", "connection: close\r\n").dropped(),
        answer(
            "close-and-keep-alive-in-1-0",
            "HTTP/1.0",
            "connection: keep-alive, close\r\n",
        )
        .dropped(),
        Case::get("close-and-closes")
            .says("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .ends()
            .gets(ok("ok"))
            .dropped(),
        Case::get("closes-without-a-word")
            .says(OK)
            .ends()
            .gets(ok("ok"))
            .dropped(),
        Case::get("half-closes").says(OK).finishes().gets(ok("ok")).dropped(),
        Case::get("close-after-chunks")
            .says("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .gets(chunked("200 OK", ""))
            .gets_chunks("ok")
            .gets("0\r\n\r\n")
            .dropped(),
        Case::get("close-after-204")
            .says("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            .gets(whole("204 No Content", "", ""))
            .dropped(),
        Case::asked("close-after-head", "HEAD")
            .says("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n")
            .gets(whole("200 OK", "content-length: 2\r\n", ""))
            .dropped(),
    ]);
}

#[test]
fn the_close_is_the_end_where_nothing_else_is() {
    let until = |name: &str, start: &str| {
        Case::get(name)
            .says(format!("{start}\r\n\r\nhel"))
            .gets(chunked("200 OK", ""))
            .gets_chunks("hel")
            .says("lo")
            .gets_chunks("lo")
            .ends()
            .gets("0\r\n\r\n")
            .dropped()
    };
    play(vec![
        until("in-1-1", "HTTP/1.1 200 OK"),
        until("in-1-0", "HTTP/1.0 200 OK"),
        until("told", "HTTP/1.1 200 OK\r\nconnection: close"),
        until("keep-alive-in-1-0", "HTTP/1.0 200 OK\r\nconnection: keep-alive"),
        until("keep-alive-in-1-1", "HTTP/1.1 200 OK\r\nconnection: keep-alive"),
        Case::get("half-closed")
            .says("HTTP/1.1 200 OK\r\n\r\nhello")
            .finishes()
            .gets(chunked("200 OK", ""))
            .gets_chunks("hello")
            .gets("0\r\n\r\n")
            .dropped(),
        Case::get("nothing")
            .says("HTTP/1.1 200 OK\r\n\r\n")
            .gets(chunked("200 OK", ""))
            .ends()
            .gets("0\r\n\r\n")
            .dropped(),
        Case::get("like-an-answer")
            .says(format!("HTTP/1.1 200 OK\r\n\r\n{OK}"))
            .gets(chunked("200 OK", ""))
            .gets_chunks(OK)
            .ends()
            .gets("0\r\n\r\n")
            .dropped(),
        Case::new("to-an-old-client")
            .asks("GET {path} HTTP/1.0\r\nhost: serin.test\r\n\r\n")
            .fresh("GET")
            .says("HTTP/1.1 200 OK\r\n\r\nhello")
            .gets(last("200 OK", "", "hello"))
            .ends()
            .closed()
            .dropped(),
    ]);
}

#[test]
fn one_connection_serves_many() {
    let ask = "GET {path} HTTP/1.1\r\nhost: serin.test\r\n\r\n";
    let mut many = Case::get("twenty").says(OK).gets(ok("ok"));
    for _ in 1..20 {
        many = many.asks(ask).again("GET").says(OK).gets(ok("ok"));
    }
    let mixed = Case::get("mixed")
        .says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        .gets(chunked("200 OK", ""))
        .gets_chunks("ok")
        .gets("0\r\n\r\n")
        .asks(ask.replace("GET", "HEAD"))
        .again("HEAD")
        .says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        .gets(whole("200 OK", "content-length: 2\r\n", ""))
        .asks(ask.replace("GET", "DELETE"))
        .again("DELETE")
        .says("HTTP/1.1 204 No Content\r\n\r\n")
        .gets(whole("204 No Content", "", ""))
        .asks("POST {path} HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 5\r\n\r\nhello")
        .again("POST")
        .takes("hello")
        .says("HTTP/1.1 100 Continue\r\n\r\n")
        .says("HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno")
        .gets(whole("500 Internal Server Error", "content-length: 2\r\n", "no"))
        .asks(ask)
        .again("GET")
        .says("HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n")
        .gets(whole("304 Not Modified", "content-length: 2\r\n", ""))
        .asks(ask)
        .again("GET")
        .says(OK)
        .gets(ok("ok"))
        .books(5, 1, 0);
    let client_closes = Case::new("the-client-closes")
        .asks("GET {path} HTTP/1.1\r\nhost: serin.test\r\nconnection: close\r\n\r\n")
        .fresh("GET")
        .says(OK)
        .gets(last("200 OK", "content-length: 2\r\n", "ok"))
        .closed();
    play(vec![many.books(20, 0, 0), mixed, client_closes]);
}
