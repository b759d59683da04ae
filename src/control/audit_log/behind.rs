//! The records behind one that is known, oldest first: what was not told yet.

use std::collections::VecDeque;
use std::path::Path;

use super::page::{AuditQuery, list_audit};
use crate::audit::{Filter, Record, parse};

/// Records of one answer.
const RECORDS_MAX: usize = 500;

/// The first records behind the one with the number `seq`, oldest first; none: it is the newest, or the log
/// cannot be read just now. Reads the log from its end back to there, whatever lies between.
pub fn records_behind(directory: &Path, seq: u64) -> Vec<Record> {
    // Newest first; those nearest to the end give way.
    let mut found = VecDeque::with_capacity(RECORDS_MAX);
    let mut query = AuditQuery {
        limit: RECORDS_MAX,
        next: None,
        filter: Filter::default(),
    };
    loop {
        let page = match list_audit(directory, &query) {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the audit log cannot be read; nobody is told of what is in it");
                return Vec::new();
            }
        };
        for record in page.lines.iter().filter_map(|line| parse(line.as_bytes()).ok()) {
            if record.seq <= seq {
                return found.into_iter().rev().collect();
            }
            if found.len() == RECORDS_MAX {
                found.pop_front();
            }
            found.push_back(record);
        }
        if page.next.is_none() {
            break;
        }
        query.next = page.next;
    }
    found.into_iter().rev().collect()
}
