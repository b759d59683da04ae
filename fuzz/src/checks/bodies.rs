//! Bodies: a decoder takes what is its own and nothing else, whatever the pieces.
//!
//! The input's first line names the framing: `chunked`, `close`, or a length in decimal.

use bytes::BytesMut;

use super::stream::{Pairs, bytes, cut, pairs};
use crate::h1::{BodyDecoder, Framing, Part, Refusal};

/// One body, and what follows it.
pub fn body(input: &[u8]) {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
        return;
    };
    let (line, input) = (&input[..end], &input[end + 1..]);
    let framing = match line {
        b"chunked" => Framing::Chunked,
        b"close" => Framing::Close,
        digits => match std::str::from_utf8(digits).map(str::parse) {
            Ok(Ok(0)) => Framing::Empty,
            Ok(Ok(length)) => Framing::Length(length),
            _ => return,
        },
    };
    let whole = read(&[input], framing);
    assert_eq!(whole, read(&cut(input), framing), "cut");
    assert_eq!(whole, read(&bytes(input).collect::<Vec<_>>(), framing), "byte by byte");
    check_against_model(input, framing, &whole);
}

/// A body as read.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    data: Vec<u8>,
    trailers: Pairs,
    /// How many bytes of the input belong to it, once it is complete.
    outcome: Result<Option<usize>, Refusal>,
}

fn read(pieces: &[&[u8]], framing: Framing) -> Taken {
    let mut decoder = BodyDecoder::new(framing);
    let mut buf = BytesMut::new();
    let mut taken = Taken {
        data: Vec::new(),
        trailers: Pairs::new(),
        outcome: Ok(None),
    };
    let mut came = 0;
    for piece in pieces {
        buf.extend_from_slice(piece);
        came += piece.len();
        loop {
            let before = (decoder.remaining(), decoder.is_done(), buf.len());
            match decoder.decode(&mut buf) {
                Err(refusal) => {
                    taken.outcome = Err(refusal);
                    return taken;
                }
                Ok(part) if before.1 => {
                    assert!(part.is_none() && buf.len() == before.2, "it takes what follows it");
                    break;
                }
                Ok(None) => break,
                Ok(Some(Part::Trailers(fields))) => {
                    assert!(decoder.is_done(), "more may follow the trailers");
                    taken.trailers = pairs(&fields);
                }
                Ok(Some(Part::Data(data))) => {
                    assert!(!data.is_empty(), "a part without data");
                    if let (Framing::Length(_), Some(left)) = (framing, before.0) {
                        assert_eq!(decoder.remaining(), Some(left - data.len() as u64));
                    }
                    taken.data.extend_from_slice(&data);
                }
            }
        }
    }
    taken.outcome = Ok(decoder.is_done().then_some(came - buf.len()));
    let ended = decoder.end();
    assert_eq!(ended.is_ok(), taken.outcome != Ok(None) || framing == Framing::Close);
    taken
}

fn check_against_model(input: &[u8], framing: Framing, taken: &Taken) {
    assert!(taken.data.len() <= input.len());
    match framing {
        Framing::Empty | Framing::Length(_) => {
            let length = match framing {
                Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
                _ => 0,
            };
            assert_eq!(taken.data, input[..length.min(input.len())]);
            assert_eq!(taken.outcome, Ok((length <= input.len()).then_some(length)));
        }
        Framing::Close => {
            assert_eq!(taken.data, input);
            assert_eq!(taken.outcome, Ok(None));
        }
        Framing::Chunked => {
            if let Ok(end) = taken.outcome {
                let mut data = Vec::new();
                assert_eq!(end, read_chunks(input, &mut data), "where the chunks end");
                assert_eq!(taken.data, data);
            }
        }
    }
}

/// Reads chunks without care for what only strict readers mind: extensions, and what trailers hold. The answer is
/// where they end, if they do.
fn read_chunks(input: &[u8], data: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line_at(input, at)?;
        at += line.len() + 2;
        let digits = line.split(|&byte| byte == b';').next().expect("there is a first");
        let digits = std::str::from_utf8(digits).expect("it was accepted");
        let size = usize::from_str_radix(digits, 16).expect("it was accepted");
        if size == 0 {
            break;
        }
        let end = at.saturating_add(size).min(input.len());
        data.extend_from_slice(&input[at..end]);
        if end - at < size {
            return None;
        }
        let behind = &input[end..input.len().min(end + 2)];
        assert!(b"\r\n".starts_with(behind), "behind a chunk");
        if behind.len() < 2 {
            return None;
        }
        at = end + 2;
    }
    loop {
        let line = line_at(input, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some(at);
        }
    }
}

fn line_at(input: &[u8], at: usize) -> Option<&[u8]> {
    let rest = &input[at..];
    let line = &rest[..rest.windows(2).position(|two| two == b"\r\n")?];
    assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "half a line end");
    Some(line)
}
