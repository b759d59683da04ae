//! Compares what was got with what the table says.

use std::io::{Error, ErrorKind, Result};

use super::expected::DATE;
use crate::common::PATIENCE;

/// Fails unless both are the same, byte for byte.
pub fn same(got: &[u8], expected: &[u8]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(wrong(format!(
        "\n    got      {}\n    expected {}",
        shown(got),
        shown(expected)
    )))
}

/// What was got, with the word for the present date where Serin is to write it.
pub fn dated(got: &[u8], expected: &[u8]) -> Vec<u8> {
    let mut got = got.to_vec();
    let place = expected
        .windows(DATE.len())
        .position(|window| window == DATE.as_bytes());
    if let Some(date) = place.and_then(|place| got.get_mut(place..place + DATE.len())) {
        let is_now = std::str::from_utf8(date)
            .ok()
            .and_then(|text| httpdate::parse_http_date(text).ok())
            .and_then(|date| date.elapsed().ok())
            .is_some_and(|age| age < PATIENCE * 2);
        if is_now {
            date.copy_from_slice(DATE.as_bytes());
        }
    }
    got
}

/// An error that says so.
pub fn wrong(text: String) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

/// Bytes as text on one line, cut where they are too many to read.
pub fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    match text.get(..600) {
        Some(beginning) => format!("{beginning}... ({} bytes)", bytes.len()),
        None => text,
    }
}
