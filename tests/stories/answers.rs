//! The backend table: what backends may do wrong on the wire, one case after the other.
//!
//! Each case is a dialogue in lockstep: what the client asked, what the backend did, byte for byte what the client got.
//! Then the next request of the same client and one of another client get their own answers, on
//! the connection to the backend that the table says: nothing that was left over reaches anybody. At last the
//! books must show what the table says.

mod case;
mod chunks;
mod clean;
mod clocks;
mod compare;
mod expected;
mod fields;
mod framing;
mod http2;
mod interim;
mod leftovers;
mod limits;
mod play;
mod retries;
mod stage;
mod start_lines;
mod truncations;
mod uploads;

use std::time::Duration;

use case::Case;
use expected::MALFORMED;

/// Cases in which a backend answers a `GET` with bytes that are no answer, once in one piece and once in single
/// bytes: refused as soon as they have come, while the backend waits with its connection open.
fn malformed(rows: &[(&str, &[u8])]) -> Vec<Case> {
    let both = |(name, bytes): &(&str, &[u8])| {
        let case = Case::get(name);
        [
            case.clone().says(bytes),
            case.named("-in-bytes").drips(bytes, Duration::ZERO),
        ]
    };
    rows.iter()
        .flat_map(both)
        .map(|case| case.refused(502, MALFORMED))
        .collect()
}
