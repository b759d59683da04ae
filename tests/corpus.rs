//! The fuzz targets' corpora, replayed: what was found once stays mended. `make fuzz` looks for more.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use serin::{h1, head, path};

// Public as in `fuzz/`, where the targets use it from outside.
#[path = "../fuzz/src/checks/mod.rs"]
pub mod checks;

/// Runs `check` on each file of its corpus, and names those on which it panics.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder)
        .expect("each target has a corpus")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    assert!(files.len() >= 8, "{target} has lost its corpus");
    let mut failed = Vec::new();
    for file in files {
        let input = fs::read(&file).expect("the file can be read");
        if catch_unwind(|| check(&input)).is_err() {
            failed.push(file);
        }
    }
    assert!(failed.is_empty(), "{target} fails on {failed:?}");
}

#[test]
fn heads_of_requests_are_read_as_httparse_reads_them() {
    replay("request_head", checks::request_head);
}

#[test]
fn heads_of_responses_are_read_as_httparse_reads_them() {
    replay("response_head", checks::response_head);
}

#[test]
fn requests_are_read_as_hyper_reads_them() {
    replay("request_hyper", checks::request_hyper);
}

#[test]
fn responses_are_read_as_hyper_reads_them() {
    replay("response_hyper", checks::response_hyper);
}

#[test]
fn bodies_end_where_their_framing_says() {
    replay("body", checks::body);
}

#[test]
fn what_is_written_is_read_again() {
    replay("round_trip", checks::round_trip);
}

#[test]
fn targets_have_one_form() {
    replay("path", checks::path);
}

#[test]
fn what_is_shown_of_a_configuration_is_the_configuration() {
    replay("config", checks::config);
}

#[test]
fn posted_bodies_are_read_or_refused() {
    replay("admin_json", checks::admin_json);
}

#[test]
fn states_are_written_as_they_are_read() {
    replay("state", checks::state);
}

#[test]
fn a_changed_byte_of_an_audit_log_is_found() {
    replay("audit", checks::audit);
}

#[test]
fn proxy_headers_are_read_as_another_reader_reads_them() {
    replay("proxy_protocol", checks::proxy_protocol);
}

#[test]
fn backends_get_the_request_that_was_matched() {
    replay("h2_request", checks::h2_request);
}
