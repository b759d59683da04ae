//! Floods (RFC 9113 §10.5): each kind is ended with ENHANCE_YOUR_CALM, and counted; the next client is served.

use super::cases::{Case, data, fields, get, post};
use super::protocol::{reset, window};
use super::wire::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, block, frame, literal_as, number, setting,
};

/// More than a connection may have, less than what makes a test slow.
const MANY: u32 = 4_000;

fn streams(many: u32) -> impl Iterator<Item = u32> {
    (0..many).map(|n| 2 * n + 1)
}

pub fn cases() -> Vec<Case> {
    let flood = |name, bytes: Vec<u8>| Case::refused(name, bytes, "goaway 11").counted("flood").perhaps();
    let often = |frame: Vec<u8>| frame.repeat(MANY as usize);
    let bomb = {
        // One large field in the table, then nothing but its number.
        let first = literal_as(0x40, b"x-bomb", &[b'a'; 4_000]);
        let again = number(0x80, 7, 62).repeat(12_000);
        [block(&fields(&[])), first, again].concat()
    };
    vec![
        flood("pings", often(frame(PING, 0, 0, &[7; 8]))),
        flood("pings-that-nobody-asked", often(frame(PING, 1, 0, &[7; 8]))),
        flood("settings", often(frame(SETTINGS, 0, 0, &setting(3, 100)))),
        flood("empty-settings", often(frame(SETTINGS, 0, 0, &[]))),
        flood(
            "settings-in-few-frames",
            frame(SETTINGS, 0, 0, &setting(3, 100).repeat(2_700)).repeat(10),
        ),
        flood("priorities", often(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]))),
        flood("windows", often(window(0, 1))),
        flood("windows-of-a-stream", [post(1, &[]), often(window(1, 1))].concat()),
        flood("unknown-frames", often(frame(0xfa, 0, 0, b"x"))),
        flood("large-unknown-frames", frame(0xfa, 0, 0, &[0; 16_000]).repeat(132)),
        flood("empty-data", [post(1, &[]), often(data(1, false, b""))].concat()),
        flood("padding-alone", [post(1, &[]), often(frame(0, 8, 1, &[1, 0]))].concat()),
        flood(
            "rapid-resets",
            streams(MANY)
                .flat_map(|stream| [get(stream, &[]), reset(stream, 8)].concat())
                .collect(),
        ),
        flood(
            "streams-that-we-are-made-to-reset",
            streams(MANY)
                .flat_map(|stream| [post(stream, &[]), window(stream, 0x7fff_ffff)].concat())
                .collect(),
        ),
        flood(
            "malformed-heads",
            streams(MANY)
                .flat_map(|stream| get(stream, &[("connection", "close")]))
                .collect(),
        ),
        flood(
            "malformed-heads-that-are-answered",
            streams(MANY)
                .flat_map(|stream| get(stream, &[("host", "other.test")]))
                .collect(),
        ),
        flood(
            "continuations",
            [
                frame(HEADERS, END_STREAM, 1, &block(&fields(&[]))),
                frame(CONTINUATION, 0, 1, &[]).repeat(MANY as usize),
            ]
            .concat(),
        ),
        flood(
            "a-head-that-never-ends",
            [
                frame(HEADERS, END_STREAM, 1, &block(&fields(&[]))),
                frame(CONTINUATION, 0, 1, &literal_as(0, b"x-a", &[b'a'; 16_000])).repeat(40),
            ]
            .concat(),
        ),
        flood(
            "a-bomb-of-the-table",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb),
        ),
    ]
}
