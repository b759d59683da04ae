//! What holds of the HTTP/1 codec whatever comes: how bytes fall into pieces changes nothing, what is written reads
//! back, nothing panics, and nothing behind a refused byte counts.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serin::h1::{Asked, put_chunk_size, put_end_of_head, put_field, put_last_chunk, put_request_line, put_status_line};
use serin::head::{HeadBuilder, Method, Version};
use serin::path::PathPolicy;

mod messages;
mod reader;

use messages::{case, fields, side};
use reader::{Read, Side};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_change_nothing((side, input) in case(), cuts in vec(any::<Index>(), 0..6)) {
        let whole = Read::of(side, [&input[..]]);
        prop_assert_eq!(&Read::of(side, input.chunks(1)), &whole);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(&Read::of(side, cuts.windows(2).map(|cut| &input[cut[0]..cut[1]])), &whole);
    }

    #[test]
    fn what_follows_a_refused_byte_changes_nothing((side, input) in case(), (_, rest) in case()) {
        let refused = (0..=input.len()).find(|&len| Read::of(side, [&input[..len]]).refusal.is_some());
        if let Some(len) = refused {
            let expected = Read::of(side, [&input[..len]]);
            prop_assert_eq!(Read::of(side, [&[&input[..len], &rest].concat()[..]]), expected);
        }
    }

    #[test]
    fn what_is_written_reads_back(
        method in "[A-Z-]{1,32}", path in "/[a-zA-Z0-9_~-]{0,20}", fields in fields(), chunks in vec(vec(any::<u8>(), 1..300), 0..4),
        trailers in fields(), status in select(vec![200u16, 299, 404, 500]), chunked in any::<bool>(),
    ) {
        prop_assume!(method != "CONNECT" && method != "TRACE");
        let (content, length) = (chunks.concat(), chunks.concat().len().to_string());
        let (framing, trailers) = match chunked {
            true => (("transfer-encoding", "chunked"), trailers),
            false => (("content-length", length.as_str()), Vec::new()),
        };
        let body = if chunked { in_chunks(&chunks, &trailers) } else { content.clone() };
        for side in [Side::Client(PathPolicy::Strict), Side::Backend(Asked::default())] {
            let mut head = Vec::new();
            match side {
                Side::Client(_) => put_request_line(&mut head, &Method::parse(&method), path.as_bytes()),
                Side::Backend(_) => put_status_line(&mut head, status),
            }
            put_field(&mut head, b"host", b"a:1");
            put_field(&mut head, framing.0.as_bytes(), framing.1.as_bytes());
            put_fields(&mut head, &fields);
            let read = Read::of(side, [&[&head[..], &body].concat()[..]]);
            prop_assert_eq!(read.refusal, None);
            prop_assert_eq!(read.events.last(), Some(&content.escape_ascii().to_string()));
            if !trailers.is_empty() {
                put_fields(&mut head, &trailers);
            }
            prop_assert_eq!(read.written.escape_ascii().to_string(), head.escape_ascii().to_string());
        }
    }

    #[test]
    fn no_input_panics(side in side(), input in vec(any::<u8>(), 0..300)) {
        Read::of(side, [&input[..]]);
    }
}

fn put_fields(out: &mut Vec<u8>, fields: &[(String, Vec<u8>)]) {
    for (name, value) in fields {
        put_field(out, name.as_bytes(), value);
    }
    put_end_of_head(out);
}

fn in_chunks(chunks: &[Vec<u8>], trailers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut fields) = (Vec::new(), HeadBuilder::default());
    for chunk in chunks {
        put_chunk_size(&mut out, chunk.len());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in trailers {
        fields.field(name.as_bytes(), value);
    }
    put_last_chunk(&mut out, Some(&fields.response(200, Version::Http11).fields));
    out
}
