//! One line of the log: tab-separated fields, in ASCII.
//!
//! ```text
//! #serin-outcomes 1
//! at_ms  route  variant  share_ppm  vote  key  outcome  status  latency_us  duration_us  waited_us  worker
//! ```
//!
//! `vote` is `v`, `w`, `k` or `-` ([`Vote`]), `key` eight hexadecimal digits or `-`, `outcome` `s`, `f` or
//! `n`, `latency_us` a number or `-`. Other lines that begin with `#` say something about the log;
//! unknown ones are passed over.

use super::record::{Record, Vote};
use crate::measure::Outcome;
use crate::share::MILLION;

/// The first line of a file, without its end.
pub const HEADER: &str = "#serin-outcomes 1";

/// No line is longer, its end included. Two names of 63 bytes and ten short fields are 280.
pub const LONGEST: usize = 512;

/// How many lines were lost here: the writer fell behind, or the disk was full.
const LOST: &str = "#lost ";

/// The end of the year 9999: what lies beyond is no time.
const LATEST_MS: u64 = 253_402_300_799_999;

/// Some 400 days. What claims to have taken longer is no duration, and what did is written as this.
const LONGEST_US: u64 = 1 << 45;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A file begins, in this version.
    Header(u32),
    /// So many lines were lost here.
    Lost(u64),
    /// Nothing that we know.
    Comment,
    /// An exchange is over.
    Record(Record<'a>),
}

/// A line that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no line of an outcome log")]
pub struct BadLine;

impl<'a> Line<'a> {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// [`BadLine`] when a field is missing, is one too many, or holds what it cannot.
    pub fn parse(line: &'a [u8]) -> Result<Self, BadLine> {
        let line = std::str::from_utf8(line).map_err(|_| BadLine)?;
        if let Some(version) = line.strip_prefix("#serin-outcomes ") {
            return number(version).map(Self::Header);
        }
        if let Some(lines) = line.strip_prefix(LOST) {
            return number(lines).map(Self::Lost);
        }
        if line.starts_with('#') {
            return Ok(Self::Comment);
        }
        Record::parse(line).map(Self::Record)
    }
}

impl<'a> Record<'a> {
    /// Appends its line. Times beyond what a line may hold are written as the longest it may.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let mut field = |out: &mut Vec<u8>, number: u64| {
            out.extend_from_slice(digits.format(number).as_bytes());
            out.push(b'\t');
        };
        let us = |us: u64| us.min(LONGEST_US);
        field(out, self.at_ms.min(LATEST_MS));
        for name in [self.route, self.variant] {
            out.extend_from_slice(name.as_bytes());
            out.push(b'\t');
        }
        field(out, u64::from(self.share_ppm.min(MILLION)));
        out.extend_from_slice(&[self.vote.letter(), b'\t']);
        match self.key {
            Some(key) => out.extend_from_slice(&hex(key)),
            None => out.push(b'-'),
        }
        out.extend_from_slice(&[b'\t', letter(self.outcome), b'\t']);
        field(out, u64::from(self.status));
        match self.latency_us {
            Some(latency_us) => field(out, us(latency_us)),
            None => out.extend_from_slice(b"-\t"),
        }
        field(out, us(self.duration_us));
        field(out, us(self.waited_us));
        field(out, u64::from(self.worker));
        // The tab behind the last field.
        out.pop();
        out.push(b'\n');
    }

    fn parse(line: &'a str) -> Result<Self, BadLine> {
        let mut fields = line.split('\t');
        let mut next = || fields.next().filter(|field| !field.is_empty()).ok_or(BadLine);
        let record = Self {
            at_ms: below(next()?, LATEST_MS)?,
            route: next()?,
            variant: next()?,
            share_ppm: number(next()?).and_then(|ppm| (ppm <= MILLION).then_some(ppm).ok_or(BadLine))?,
            vote: by_letter(next()?, Vote::ALL, Vote::letter)?,
            key: unless_none(next()?, unhex)?,
            outcome: by_letter(next()?, Outcome::ALL, letter)?,
            status: number(next()?)?,
            latency_us: unless_none(next()?, |text| below(text, LONGEST_US))?,
            duration_us: below(next()?, LONGEST_US)?,
            waited_us: below(next()?, LONGEST_US)?,
            worker: number(next()?)?,
        };
        fields.next().is_none().then_some(record).ok_or(BadLine)
    }
}

/// Appends the line that begins a file.
pub fn write_header(out: &mut Vec<u8>) {
    out.extend_from_slice(HEADER.as_bytes());
    out.push(b'\n');
}

/// Appends the line that says how many were lost.
pub fn write_lost(lines: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(LOST.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(lines).as_bytes());
    out.push(b'\n');
}

const fn letter(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Success => b's',
        Outcome::Failure => b'f',
        Outcome::NoEvidence => b'n',
    }
}

fn by_letter<T: Copy, const N: usize>(text: &str, all: [T; N], letter: impl Fn(T) -> u8) -> Result<T, BadLine> {
    let found = all.into_iter().find(|&one| text.as_bytes() == [letter(one)]);
    found.ok_or(BadLine)
}

fn unless_none<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, BadLine>) -> Result<Option<T>, BadLine> {
    if text == "-" { Ok(None) } else { parse(text).map(Some) }
}

/// Digits only: no sign, as `FromStr` would take.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, BadLine> {
    if text.starts_with('+') {
        return Err(BadLine);
    }
    text.parse().map_err(|_| BadLine)
}

fn below(text: &str, most: u64) -> Result<u64, BadLine> {
    number(text).and_then(|number| (number <= most).then_some(number).ok_or(BadLine))
}

fn hex(key: u32) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(key >> (28 - 4 * at)) as usize & 15])
}

fn unhex(text: &str) -> Result<u32, BadLine> {
    let is_hex = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let key = u32::from_str_radix(text, 16).ok().filter(|_| is_hex);
    key.ok_or(BadLine)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::RECORD;
    use super::{BadLine, HEADER, LATEST_MS, LONGEST, LONGEST_US, Line, write_header, write_lost};
    use crate::measure::Outcome;
    use crate::outcome::{Record, Vote};
    use crate::share::MILLION;

    fn written(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        record.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    const LINE: &str = "1795262413042\tcheckout\tcanary\t50000\tv\t00c0ffee\ts\t200\t12345\t13000\t0\t1";

    #[test]
    fn a_record_is_one_line_of_fields() {
        assert_eq!(written(&RECORD), format!("{LINE}\n"));
        let bare = Record {
            vote: Vote::None,
            key: None,
            outcome: Outcome::NoEvidence,
            status: 0,
            latency_us: None,
            waited_us: 7,
            ..RECORD
        };
        assert_eq!(
            written(&bare),
            "1795262413042\tcheckout\tcanary\t50000\t-\t-\tn\t0\t-\t13000\t7\t1\n"
        );
    }

    #[test]
    fn what_no_field_can_hold_is_no_line() {
        let refused = |line: &str| assert_eq!(Line::parse(line.as_bytes()), Err(BadLine), "{line}");
        let accepted = |line: &str| assert!(Line::parse(line.as_bytes()).is_ok(), "{line}");
        let with = |from: &str, to: &str| LINE.replacen(from, to, 1);
        accepted(LINE);
        accepted(&with("50000", "1000000"));
        accepted(&with("\tv\t", "\tw\t"));
        accepted(&with("\tv\t", "\tk\t"));
        refused(&with("50000", "1000001"));
        refused(&with("1795262413042", "253402300800000"));
        refused(&with("1795262413042", "+795262413042"));
        refused(&with("\tv\t", "\tx\t"));
        refused(&with("\tv\t", "\tvv\t"));
        refused(&with("\ts\t", "\tS\t"));
        refused(&with("00c0ffee", "0c0ffee"));
        refused(&with("00c0ffee", "00C0FFEE"));
        refused(&with("00c0ffee", "+0c0ffee"));
        refused(&with("\t200\t", "\t70000\t"));
        refused(&with("13000", "-"));
        refused(&with("13000", "99999999999999999999"));
        refused(&with("checkout", ""));
        refused(&format!("{LINE}\t"));
        refused(&format!("{LINE}\t1"));
        refused("");
        refused("\t\t\t");
        refused("#serin-outcomes one");
        refused("#lost -1");
        assert_eq!(Line::parse(b"17952\xff"), Err(BadLine));
    }

    #[test]
    fn a_line_that_was_torn_is_no_line_or_another_end() {
        // The last field may lose digits unseen: readers do not take a line without its end.
        let last = LINE.rfind('\t').unwrap();
        for at in 0..=last {
            assert_eq!(Line::parse(&LINE.as_bytes()[..at]), Err(BadLine), "{}", &LINE[..at]);
        }
    }

    #[test]
    fn lines_about_the_log_begin_with_a_hash() {
        let check = |line: &str, expected| assert_eq!(Line::parse(line.as_bytes()), Ok(expected));
        check(HEADER, Line::Header(1));
        check("#serin-outcomes 2", Line::Header(2));
        check("#lost 12", Line::Lost(12));
        check("# a word of a later version", Line::Comment);
        let mut out = Vec::new();
        write_header(&mut out);
        write_lost(3, &mut out);
        assert_eq!(out, b"#serin-outcomes 1\n#lost 3\n");
    }

    #[test]
    fn the_longest_line_fits() {
        let name = "n".repeat(63);
        let longest = Record {
            at_ms: u64::MAX,
            route: &name,
            variant: &name,
            share_ppm: u32::MAX,
            key: Some(u32::MAX),
            status: u16::MAX,
            latency_us: Some(u64::MAX),
            duration_us: u64::MAX,
            waited_us: u64::MAX,
            worker: u16::MAX,
            ..RECORD
        };
        let line = written(&longest);
        assert!(line.len() <= LONGEST, "{}", line.len());
        let Ok(Line::Record(read)) = Line::parse(line.trim_end().as_bytes()) else {
            panic!("{line}")
        };
        assert_eq!(
            (read.at_ms, read.duration_us, read.share_ppm),
            (LATEST_MS, LONGEST_US, MILLION)
        );
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            at_ms in 0..=LATEST_MS,
            names in ("[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
            share_ppm in 0..=MILLION,
            (vote, outcome) in (0..4usize, 0..3usize),
            key in any::<Option<u32>>(),
            status in 0..1000u16,
            latency_us in prop::option::of(0..=LONGEST_US),
            (duration_us, waited_us, worker) in (0..=LONGEST_US, 0..=LONGEST_US, any::<u16>()),
        ) {
            let (vote, outcome) = (Vote::ALL[vote], Outcome::ALL[outcome]);
            let (route, variant) = (names.0.as_str(), names.1.as_str());
            let record = Record {
                at_ms, route, variant, share_ppm, vote, key, outcome, status, latency_us, duration_us, waited_us,
                worker,
            };
            let line = written(&record);
            prop_assert!(line.len() <= LONGEST && line.is_ascii() && line.ends_with('\n'));
            prop_assert_eq!(Line::parse(line.trim_end().as_bytes()), Ok(Line::Record(record)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..90usize) {
            let _ = Line::parse(&bytes);
            let mut line = LINE.as_bytes().to_vec();
            for (into, byte) in line.iter_mut().skip(at).zip(&bytes) {
                *into = *byte;
            }
            let _ = Line::parse(&line);
        }
    }
}
