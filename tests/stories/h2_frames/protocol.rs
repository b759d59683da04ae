//! Frames that break the protocol itself (RFC 9113 §3 to §6): the stream or the connection ends, with a code. The engine
//! says PROTOCOL_ERROR also where the RFC has a narrower word (COMPRESSION_ERROR; the others we say ourselves).

use super::cases::{Case, data, fields, get, post};
use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HAS_PRIORITY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, number, setting,
};

/// The client gives a stream up.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

pub fn cases() -> Vec<Case> {
    const MOST: u32 = 0x7fff_ffff;
    let whole = block(&fields(&[]));
    let open = frame(HEADERS, 0, 1, &whole[..10]);
    let ends = |name, bytes: Vec<u8>, told| Case::refused(name, bytes, told);
    let after = |name, frames: &[Vec<u8>], told| Case::refused(name, frames.concat(), told).perhaps();
    vec![
        // §3.4 and §4.
        ends("data-instead-of-settings", data(1, true, b"x"), "goaway 1"),
        ends("frame-too-large", frame(DATA, 0, 1, &[0; 16_385]), "goaway 6"),
        ends(
            "head-behind-padding",
            frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[200, 0, 0]),
            "goaway 1",
        ),
        ends(
            "head-of-no-stream",
            frame(HEADERS, END_HEADERS | END_STREAM, 0, &whole),
            "goaway 1",
        ),
        ends(
            "head-of-a-server's-stream",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &whole),
            "goaway 1",
        ),
        after("stream-of-a-lower-number", &[get(5, &[]), get(3, &[])], "goaway 1"),
        // §4.3 and §6.10: heads in parts.
        ends(
            "continuation-of-nothing",
            frame(CONTINUATION, END_HEADERS, 1, &whole),
            "goaway 1",
        ),
        ends(
            "frame-inside-a-head",
            [open.clone(), frame(PING, 0, 0, &[0; 8])].concat(),
            "goaway 1",
        ),
        ends(
            "data-inside-a-head",
            [open.clone(), data(1, true, b"x")].concat(),
            "goaway 1",
        ),
        ends(
            "another-head-inside-a-head",
            [open.clone(), get(3, &[])].concat(),
            "goaway 1",
        ),
        ends(
            "continuation-of-another",
            [open, frame(CONTINUATION, END_HEADERS, 3, &whole[10..])].concat(),
            "goaway 1",
        ),
        // RFC 7541.
        ends("index-of-nothing", frame(HEADERS, END_HEADERS, 1, &[0x80]), "goaway 1"),
        ends(
            "index-beyond-the-table",
            frame(HEADERS, END_HEADERS, 1, &number(0x80, 7, 100)),
            "goaway 1",
        ),
        ends(
            "table-too-large",
            frame(HEADERS, END_HEADERS, 1, &number(0x20, 5, 1 << 20)),
            "goaway 1",
        ),
        ends(
            "number-without-end",
            frame(HEADERS, END_HEADERS, 1, &[0xff; 12]),
            "goaway 1",
        ),
        ends(
            "text-that-is-cut",
            frame(HEADERS, END_HEADERS, 1, &[0, 20, b'x']),
            "goaway 1",
        ),
        ends(
            "bad-huffman",
            frame(HEADERS, END_HEADERS, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']),
            "goaway 1",
        ),
        // §5.1: streams that are not there.
        ends("data-of-an-idle-stream", data(3, true, b"x"), "goaway 1"),
        ends("data-of-no-stream", frame(DATA, 0, 0, b"x"), "goaway 1"),
        ends("reset-of-an-idle-stream", reset(3, 8), "goaway 1"),
        ends("reset-of-no-stream", reset(0, 8), "goaway 1"),
        ends("window-of-an-idle-stream", window(3, 1), "goaway 1"),
        after("data-behind-the-end", &[get(1, &[]), data(1, false, b"x")], "goaway 5"),
        after("head-behind-the-end", &[get(1, &[]), get(1, &[])], "goaway 5"),
        after(
            "trailers-behind-the-end",
            &[
                post(1, &[]),
                data(1, true, b"x"),
                super::cases::trailers(1, &[("x-sum", "1")]),
            ],
            "goaway 5",
        ),
        after(
            "data-behind-trailers",
            &[
                post(1, &[]),
                super::cases::trailers(1, &[("x-sum", "1")]),
                data(1, true, b"x"),
            ],
            "goaway 5",
        ),
        after(
            "head-behind-a-reset",
            &[post(1, &[]), reset(1, 8), get(1, &[])],
            "goaway 5",
        ),
        Case {
            sends: vec![get(1, &[]), Vec::new(), data(1, false, b"x")],
            told: "200, over, goaway 5",
            ..after("data-behind-the-answer", &[], "")
        },
        Case {
            sends: vec![get(1, &[]), Vec::new(), get(1, &[])],
            told: "200, over, goaway 5",
            ..after("head-behind-the-answer", &[], "")
        },
        after(
            "data-on-its-way-behind-a-reset",
            &[post(1, &[]), reset(1, 8), data(1, true, b"x"), get(3, &[])],
            "rst 5, 200, over",
        ),
        // §8.4: also where the rest of it never comes.
        ends(
            "a-promise-that-is-not-whole",
            frame(PUSH_PROMISE, 0, 1, &[&[0, 0, 0, 2][..], &whole].concat()),
            "goaway 1",
        ),
        ends(
            "a-promise-of-the-client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &whole].concat()),
            "goaway 1",
        ),
        // §6.3 to §6.9: each frame.
        after(
            "priority-of-itself",
            &[post(1, &[]), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 16])],
            "rst 1",
        ),
        ends("priority-cut", frame(PRIORITY, 0, 1, &[0; 4]), "goaway 6"),
        ends(
            "priority-of-no-stream",
            frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 16]),
            "goaway 1",
        ),
        after(
            "reset-cut",
            &[post(1, &[]), frame(RST_STREAM, 0, 1, &[0; 3])],
            "goaway 6",
        ),
        ends("settings-of-a-stream", frame(SETTINGS, 0, 1, &[]), "goaway 1"),
        ends("settings-cut", frame(SETTINGS, 0, 0, &[0; 5]), "goaway 6"),
        ends(
            "settings-heard-and-more",
            frame(SETTINGS, ACK, 0, &setting(3, 1)),
            "goaway 6",
        ),
        ends(
            "window-setting-too-large",
            frame(SETTINGS, 0, 0, &setting(4, MOST + 1)),
            "goaway 3",
        ),
        ends(
            "frame-setting-too-small",
            frame(SETTINGS, 0, 0, &setting(5, 100)),
            "goaway 1",
        ),
        ends(
            "frame-setting-too-large",
            frame(SETTINGS, 0, 0, &setting(5, 1 << 24)),
            "goaway 1",
        ),
        ends("push-setting-of-two", frame(SETTINGS, 0, 0, &setting(2, 2)), "goaway 1"),
        ends("ping-cut", frame(PING, 0, 0, &[0; 7]), "goaway 6"),
        ends("farewell-cut", frame(GOAWAY, 0, 0, &[0; 7]), "goaway 6"),
        ends(
            "head-without-its-priority",
            frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, &[0; 4]),
            "goaway 6",
        ),
        ends(
            "head-without-its-padding",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[]),
            "goaway 6",
        ),
        after(
            "data-without-its-padding",
            &[post(1, &[]), frame(DATA, PADDED, 1, &[])],
            "goaway 6",
        ),
        ends(
            "window-setting-too-large-among-others",
            frame(
                SETTINGS,
                0,
                0,
                &[setting(3, 7), setting(4, u32::MAX), setting(4, 1)].concat(),
            ),
            "goaway 3",
        ),
        ends("ping-of-a-stream", frame(PING, 0, 1, &[0; 8]), "goaway 1"),
        ends("farewell-of-a-stream", frame(GOAWAY, 0, 1, &[0; 8]), "goaway 1"),
        ends("window-by-nothing", window(0, 0), "goaway 1"),
        ends("window-cut", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), "goaway 6"),
        ends(
            "window-too-large",
            [window(0, MOST), window(0, MOST)].concat(),
            "goaway 3",
        ),
        after(
            "window-of-a-stream-by-nothing",
            &[post(1, &[]), window(1, 0)],
            "goaway 1",
        ),
        after(
            "window-of-a-stream-too-large",
            &[post(1, &[]), window(1, MOST), window(1, MOST)],
            "rst 3",
        ),
        after(
            "padding-longer-than-the-data",
            &[post(1, &[]), frame(DATA, PADDED, 1, &[9, 0, 0])],
            "goaway 1",
        ),
    ]
}
