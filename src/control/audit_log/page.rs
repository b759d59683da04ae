//! A page of the log, the newest record first, without reading the whole of it.

use std::io;
use std::path::Path;

use super::backwards::Backwards;
use super::files::{all, open, read_anchor};
use crate::audit::{Filter, parse};

/// So many bytes are searched for one page; where few records are wanted, a page may be short.
const SEARCH_MAX: u64 = 16 << 20;

/// Which records are wanted.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// Records of a page; 1 to 1,000.
    pub limit: usize,
    /// The `next` of the page before; `None`: the newest records.
    pub next: Option<String>,
    /// Which of them.
    pub filter: Filter,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// Lines of the log as they stand there: each is a JSON object.
    pub lines: Vec<String>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<String>,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before this record.
    Before(u64),
    /// In the file whose first record is this, before this byte.
    At { first_seq: u64, offset: u64 },
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        match text.split_once('-') {
            None => number(text).map(Self::Before),
            Some((first_seq, offset)) => Some(Self::At {
                first_seq: number(first_seq)?,
                offset: number(offset)?,
            }),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Before(seq) => seq.to_string(),
            Self::At { first_seq, offset } => format!("{first_seq}-{offset}"),
        }
    }
}

/// Reads a page of the log in `directory`, behind the lines of `waiting` that are not in its files yet
/// (oldest first). `None`: `query.next` comes from no page.
///
/// # Errors
/// What the system says.
pub fn audit_page(directory: &Path, waiting: &[String], query: &AuditQuery) -> io::Result<Option<AuditPage>> {
    let place = match &query.next {
        None => Place::Before(u64::MAX),
        Some(text) => match Place::parse(text) {
            None => return Ok(None),
            Some(place) => place,
        },
    };
    let mut page = Page {
        query,
        taken: AuditPage::default(),
        searched: 0,
    };
    let mut begin = None;
    let mut before = u64::MAX;
    match place {
        Place::At { first_seq, offset } => begin = Some((first_seq, offset)),
        Place::Before(seq) => {
            before = seq;
            for line in waiting.iter().rev() {
                let Ok(record) = parse(line.as_bytes()) else { continue };
                if record.seq < before {
                    before = record.seq;
                    page.take(line.as_bytes(), Place::Before(record.seq));
                    if page.is_full() {
                        return Ok(Some(page.taken));
                    }
                }
            }
        }
    }
    page.read_files(directory, begin, before)?;
    Ok(Some(page.taken))
}

/// A page of the log that nobody but its files tells of: no Serin needs to run.
///
/// # Errors
/// What the system says.
pub fn list_audit(directory: &Path, query: &AuditQuery) -> io::Result<Option<AuditPage>> {
    let anchor = read_anchor(directory).unwrap_or_default();
    // What is pending may stand in the file as well, and then counts once.
    audit_page(directory, &anchor.pending, query)
}

/// A page in the making.
struct Page<'q> {
    query: &'q AuditQuery,
    taken: AuditPage,
    searched: u64,
}

impl Page<'_> {
    fn read_files(&mut self, directory: &Path, begin: Option<(u64, u64)>, before: u64) -> io::Result<()> {
        let mut files = all(directory, 0)?;
        if let Some((first_seq, _)) = begin {
            // A file that was removed meanwhile has nothing behind it either.
            files.retain(|(file, _)| file.first_seq <= first_seq);
        }
        for (file, opened) in files.into_iter().rev() {
            let Some(opened) = opened.map_or_else(|| open(&file.path), |opened| Ok(Some(opened)))? else {
                continue;
            };
            let len = opened.metadata()?.len();
            let end = match begin {
                Some((first_seq, offset)) if first_seq == file.first_seq => offset.min(len),
                Some(_) | None => len,
            };
            let mut pieces = Backwards::new(&opened, end);
            while let Some(piece) = pieces.next()? {
                self.searched += piece.text.len() as u64;
                let place = Place::At {
                    first_seq: file.first_seq,
                    offset: piece.at,
                };
                if parse(&piece.text).is_ok_and(|record| record.seq < before) && piece.ended {
                    self.take(&piece.text, place);
                }
                if self.searched > SEARCH_MAX {
                    self.taken.next = Some(place.text());
                }
                if self.is_full() {
                    return Ok(());
                }
            }
        }
        self.taken.next = None;
        Ok(())
    }

    fn take(&mut self, line: &[u8], place: Place) {
        let wanted = parse(line).is_ok_and(|record| self.query.filter.takes(&record));
        if let Ok(line) = String::from_utf8(line.to_owned())
            && wanted
        {
            self.taken.lines.push(line);
            if self.taken.lines.len() >= self.query.limit {
                self.taken.next = Some(place.text());
            }
        }
    }

    fn is_full(&self) -> bool {
        self.taken.next.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{AuditQuery, Place, audit_page};
    use crate::audit::{Chain, Filter, Record, parse};
    use crate::control::audit_log::files::{ACTIVE, aside};
    use std::fs;
    use std::path::Path;

    /// Nine records, in files of 4, 3 and 2 (or fewer, where some wait): those of odd number by alice.
    fn log(waiting: usize) -> (tempfile::TempDir, Vec<String>) {
        let temp = tempfile::tempdir().unwrap();
        let mut chain = Chain::default();
        let mut lines: Vec<String> = (1..=9)
            .map(|n| {
                let by = if n % 2 == 1 { "alice" } else { "bob" };
                chain.append(Record {
                    by: by.into(),
                    ..Record::default()
                })
            })
            .collect();
        let waiting = lines.split_off(lines.len() - waiting);
        let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        fs::write(aside(temp.path(), 1), text(&lines[..4])).unwrap();
        fs::write(aside(temp.path(), 5), text(&lines[4..7])).unwrap();
        fs::write(temp.path().join(ACTIVE), text(&lines[7..])).unwrap();
        (temp, waiting)
    }

    /// All pages, as the numbers of their records.
    fn pages(directory: &Path, waiting: &[String], limit: usize, by: Option<&str>) -> Vec<Vec<u64>> {
        let mut query = AuditQuery {
            limit,
            next: None,
            filter: Filter {
                by: by.map(str::to_owned),
                ..Filter::default()
            },
        };
        let mut pages = Vec::new();
        loop {
            let page = audit_page(directory, waiting, &query).unwrap().unwrap();
            let seqs = page.lines.iter().map(|line| parse(line.as_bytes()).unwrap().seq);
            pages.push(seqs.collect());
            query.next = page.next;
            if query.next.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_hold_everything_once_newest_first() {
        for waiting in 0..=2 {
            let (temp, waiting) = log(waiting);
            for limit in 1..=10 {
                let seqs = pages(temp.path(), &waiting, limit, None);
                assert!(seqs.iter().all(|page| page.len() <= limit));
                assert_eq!(seqs.concat(), [9, 8, 7, 6, 5, 4, 3, 2, 1], "{limit}");
                assert_eq!(
                    pages(temp.path(), &waiting, limit, Some("alice")).concat(),
                    [9, 7, 5, 3, 1]
                );
            }
            assert_eq!(pages(temp.path(), &waiting, 5, Some("carol")), [[0u64; 0]]);
        }
    }

    #[test]
    fn a_line_that_waits_and_stands_in_the_file_already_counts_once() {
        let (temp, _) = log(0);
        let text = fs::read_to_string(temp.path().join(ACTIVE)).unwrap();
        let waiting: Vec<String> = text.lines().map(str::to_owned).collect();
        for limit in 1..=3 {
            assert_eq!(
                pages(temp.path(), &waiting, limit, None).concat(),
                [9, 8, 7, 6, 5, 4, 3, 2, 1]
            );
        }
    }

    #[test]
    fn a_page_goes_on_where_it_was_when_the_file_was_put_aside_or_removed() {
        let (temp, _) = log(0);
        let mut query = AuditQuery {
            limit: 1,
            next: None,
            filter: Filter::default(),
        };
        query.next = audit_page(temp.path(), &[], &query).unwrap().unwrap().next;
        fs::rename(temp.path().join(ACTIVE), aside(temp.path(), 8)).unwrap();
        let page = audit_page(temp.path(), &[], &query).unwrap().unwrap();
        assert_eq!(parse(page.lines[0].as_bytes()).unwrap().seq, 8);
        query.next = page.next;
        fs::remove_file(aside(temp.path(), 1)).unwrap();
        fs::remove_file(aside(temp.path(), 5)).unwrap();
        let page = audit_page(temp.path(), &[], &query).unwrap().unwrap();
        assert_eq!((page.lines.len(), page.next), (0, None));
    }

    #[test]
    fn a_cursor_is_what_a_page_said_and_a_wrong_one_harms_nobody() {
        let check = |text: &str, expected| assert_eq!(Place::parse(text), expected, "{text}");
        check("12", Some(Place::Before(12)));
        check(
            "5-120",
            Some(Place::At {
                first_seq: 5,
                offset: 120,
            }),
        );
        for text in ["", "-", "a", "1-", "-1", "+1", "1-2-3", "99999999999999999999"] {
            check(text, None);
        }
        let (temp, _) = log(0);
        for next in ["5-18446744073709551615", "5-7", "77-0", "0", "0-0"] {
            let query = AuditQuery {
                limit: 100,
                next: Some(next.into()),
                filter: Filter::default(),
            };
            assert!(audit_page(temp.path(), &[], &query).unwrap().is_some(), "{next}");
        }
    }

    #[test]
    fn lines_that_are_no_records_are_passed_over() {
        let (temp, _) = log(0);
        let path = temp.path().join(ACTIVE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("garbage\n{text}\n\0\0")).unwrap();
        assert_eq!(pages(temp.path(), &[], 4, None).concat(), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
