//! One compact line for each exchange on a route with a rollout, for `serin rehearse`; written by a
//! thread of its own, lossy rather than slow.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::log_file::{LogFile, LogPlace};
use crate::measure::Outcome;
use crate::outcome::{LONGEST, Record, Vote, write_header, write_lost};
use crate::route::Route;

/// Lines that may wait for the writer, some 100 bytes each; more are dropped and counted. 800,000
/// requests a second fill it between two looks.
const QUEUE: usize = 16_384;

/// The writer looks so often. A writer that waits would have to be woken, by a system call of a worker.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes written at once.
const CHUNK: usize = 64 * 1024;

/// Trouble with the file is told so often.
const TELL: Duration = Duration::from_secs(60);

/// What a line will say. The writer looks up the names.
pub(super) struct OutcomeLine {
    pub(super) route: Arc<Route>,
    /// Index in the route's variants.
    pub(super) variant: usize,
    /// When it was dispatched, in Unix microseconds.
    pub(super) at_us: u64,
    pub(super) vote: Vote,
    pub(super) key: Option<u32>,
    pub(super) outcome: Outcome,
    pub(super) status: u16,
    pub(super) latency_us: Option<u64>,
    pub(super) duration_us: u64,
    pub(super) waited_us: u64,
    pub(super) worker: usize,
}

/// Where workers put their lines.
#[derive(Clone)]
pub(crate) struct OutcomeLogWriter {
    queue: SyncSender<OutcomeLine>,
    /// Lines dropped since the log last said so.
    dropped: Arc<AtomicU64>,
}

impl OutcomeLogWriter {
    /// Starts the writer. It ends when all clones of the answer are gone and their lines are written.
    ///
    /// # Errors
    /// When no thread can be started. A file that cannot be written is told, and tried again.
    pub(crate) fn start(place: LogPlace) -> io::Result<(Self, JoinHandle<()>)> {
        let (writer, mut clerk) = Self::with_clerk(place);
        let thread = std::thread::Builder::new()
            .name("outcome-log".into())
            .spawn(move || while clerk.serve() {})?;
        Ok((writer, thread))
    }

    /// `false` when the line was dropped.
    pub(super) fn put(&self, line: OutcomeLine) -> bool {
        let taken = self.queue.try_send(line).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn with_clerk(place: LogPlace) -> (Self, Clerk) {
        let (queue, lines) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut header = Vec::new();
        write_header(&mut header);
        let clerk = Clerk {
            lines,
            dropped: Arc::clone(&dropped),
            file: LogFile::new(place, header),
            out: Vec::with_capacity(CHUNK),
            lost: 0,
            is_failing: false,
            told: None,
        };
        (Self { queue, dropped }, clerk)
    }
}

/// The one who writes.
struct Clerk {
    lines: Receiver<OutcomeLine>,
    dropped: Arc<AtomicU64>,
    file: LogFile,
    out: Vec<u8>,
    /// Lines that could not be written, since the log last said how many were lost.
    lost: u64,
    is_failing: bool,
    /// When trouble was told of.
    told: Option<Instant>,
}

impl Clerk {
    /// Waits for lines and writes what there is; then sleeps, so that no worker has to wake it for
    /// each line. `false` when no more can come.
    fn serve(&mut self) -> bool {
        let Ok(line) = self.lines.recv() else {
            return false;
        };
        self.write(Some(line), Instant::now());
        std::thread::sleep(LOOK);
        true
    }

    /// Writes `first` and all that waits behind it.
    fn write(&mut self, first: Option<OutcomeLine>, now: Instant) {
        let mut count = 0;
        let mut next = first.or_else(|| self.lines.try_recv().ok());
        while let Some(line) = next {
            line.write(&mut self.out);
            count += 1;
            if self.out.len() + LONGEST > CHUNK {
                self.flush(std::mem::take(&mut count), now);
            }
            next = self.lines.try_recv().ok();
        }
        self.flush(count, now);
    }

    /// Writes `count` lines to the file, and first how many were lost before them.
    fn flush(&mut self, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        self.lost += self.dropped.swap(0, Ordering::Relaxed);
        let lost = self.lost;
        let result = match lost {
            0 => self.file.append(&self.out, now),
            _ => {
                let mut lines = Vec::with_capacity(self.out.len() + LONGEST);
                write_lost(lost, &mut lines);
                lines.extend_from_slice(&self.out);
                self.file.append(&lines, now)
            }
        };
        self.out.clear();
        let was_failing = std::mem::replace(&mut self.is_failing, result.is_err());
        self.lost = if result.is_err() { lost + count } else { 0 };
        let file = self.file.path().display().to_string();
        match result {
            Err(error) if self.is_news(now) => {
                tracing::warn!(%file, %error, lost = self.lost, "the outcome log cannot be written; outcomes are lost");
            }
            Ok(()) if was_failing => tracing::info!(%file, lost, "the outcome log is written again"),
            Ok(()) if lost > 0 && self.is_news(now) => {
                tracing::warn!(%file, lost, "outcomes came faster than their log could be written; some are lost");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Whether it is time to tell of trouble.
    fn is_news(&mut self, now: Instant) -> bool {
        let is_due = self.told.is_none_or(|told| told + TELL <= now);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }
}

impl OutcomeLine {
    fn write(&self, out: &mut Vec<u8>) {
        let record = Record {
            at_ms: self.at_us / 1000,
            route: self.route.name.as_str(),
            variant: self.route.variants[self.variant].name.as_str(),
            share_ppm: self.route.flag.split.share_ppm(self.variant),
            vote: self.vote,
            key: self.key,
            outcome: self.outcome,
            status: self.status,
            latency_us: self.latency_us,
            duration_us: self.duration_us,
            waited_us: self.waited_us,
            worker: u16::try_from(self.worker).unwrap_or(u16::MAX),
        };
        record.write(out);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{Clerk, OutcomeLine, OutcomeLogWriter, QUEUE, TELL};
    use crate::compile::{Book, InForce, compile};
    use crate::measure::Outcome;
    use crate::outcome::Vote;
    use crate::proxy::log_file::LogPlace;
    use crate::route::Route;

    const FILE: &str = "
version: 1
listeners: [{ name: public, address: '127.0.0.1:1' }]
backends: [{ name: v1, endpoints: ['127.0.0.1:2'] }, { name: v2, endpoints: ['127.0.0.1:3'] }]
routes:
- name: shop
  split: { variants: [{ name: stable, backend: v1, weight: 95 }, { name: canary, backend: v2, weight: 5 }] }
";

    fn route() -> Arc<Route> {
        let spec = crate::config::load(FILE, Path::new("serin.yaml"), &|_| None).unwrap();
        let in_force = InForce {
            weights: vec![95, 5],
            epoch: 0,
            trial: None,
            enabled: true,
            aborts: 0,
        };
        let table = compile(&Arc::new(spec), &[in_force], 1, &mut Book::new(1), None);
        Arc::clone(&table.routes[0])
    }

    fn line(route: &Arc<Route>, at_us: u64) -> OutcomeLine {
        OutcomeLine {
            route: Arc::clone(route),
            variant: 1,
            at_us,
            vote: Vote::Full,
            key: Some(255),
            outcome: Outcome::Failure,
            status: 503,
            latency_us: Some(1200),
            duration_us: 1300,
            waited_us: 0,
            worker: 3,
        }
    }

    fn desk(directory: &Path) -> (OutcomeLogWriter, Clerk) {
        OutcomeLogWriter::with_clerk(LogPlace {
            path: directory.join("outcomes.log"),
            max_bytes: 1 << 20,
            keep: 1,
        })
    }

    #[test]
    fn a_line_has_the_names_and_the_share_of_its_route() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, mut clerk) = desk(dir.path());
        assert!(writer.put(line(&route(), 7_000_900)));
        clerk.write(None, Instant::now());
        let text = fs::read_to_string(dir.path().join("outcomes.log")).unwrap();
        let expected = "#serin-outcomes 1\n7000\tshop\tcanary\t50000\tv\t000000ff\tf\t503\t1200\t1300\t0\t3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_full_queue_drops_lines_and_the_log_says_how_many() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, mut clerk) = desk(dir.path());
        let route = route();
        for _ in 0..QUEUE {
            assert!(writer.put(line(&route, 0)));
        }
        for _ in 0..3 {
            assert!(!writer.put(line(&route, 0)));
        }
        clerk.write(None, Instant::now());
        assert!(writer.put(line(&route, 0)));
        clerk.write(None, Instant::now());
        let text = fs::read_to_string(dir.path().join("outcomes.log")).unwrap();
        assert_eq!(text.matches("\tshop\t").count(), QUEUE + 1);
        assert_eq!(text.matches("#lost 3\n").count(), 1);
        assert_eq!(text.matches('#').count(), 2);
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted_until_they_can() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("logs");
        let (writer, mut clerk) = desk(&home);
        let (route, mut now) = (route(), Instant::now());
        let put = |clerk: &mut Clerk, lines, now| {
            (0..lines).for_each(|_| assert!(writer.put(line(&route, 0))));
            clerk.write(None, now);
        };
        put(&mut clerk, 2, now);
        now += Duration::from_secs(1);
        put(&mut clerk, 3, now);
        assert_eq!((clerk.lost, clerk.is_failing), (5, true));
        fs::create_dir(&home).unwrap();
        now += Duration::from_secs(1);
        put(&mut clerk, 1, now);
        assert_eq!((clerk.lost, clerk.is_failing), (0, false));
        let text = fs::read_to_string(home.join("outcomes.log")).unwrap();
        assert!(text.starts_with("#serin-outcomes 1\n#lost 5\n0\tshop\t"), "{text}");
    }

    #[test]
    fn trouble_is_told_once_a_minute() {
        let (_writer, mut clerk) = desk(Path::new("nowhere"));
        let begin = Instant::now();
        let mut check = |after, expected| assert_eq!(clerk.is_news(begin + after), expected, "{after:?}");
        check(Duration::ZERO, true);
        check(Duration::from_secs(59), false);
        check(TELL, true);
        check(TELL + Duration::from_secs(1), false);
    }

    #[test]
    fn the_writer_ends_when_all_lines_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, thread) = OutcomeLogWriter::start(LogPlace {
            path: dir.path().join("outcomes.log"),
            max_bytes: 1 << 20,
            keep: 1,
        })
        .unwrap();
        let route = route();
        for _ in 0..100 {
            assert!(writer.put(line(&route, 0)));
        }
        drop(writer);
        thread.join().unwrap();
        let text = fs::read_to_string(dir.path().join("outcomes.log")).unwrap();
        assert_eq!(text.lines().count(), 101);
    }
}
