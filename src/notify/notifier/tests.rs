//! Channels that are slow, refuse, or come back after a restart.

use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::Value;

use super::*;
use crate::config::{Service, Severity};
use crate::notify::fixture::{channel, record};
use crate::outgoing::fixture::{Act, Server};
use crate::outgoing::{Answer, Call, CallError, End};

/// What somebody who is called does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(u16),
    /// 429 with `retry-after`, in seconds.
    IsBusy(u64),
    NeverAnswers,
}

/// Everybody who is called, by address; 200 behind the end of a script.
struct World {
    scripts: RefCell<BTreeMap<String, VecDeque<Does>>>,
    /// When, whom, what.
    calls: RefCell<Vec<(Duration, String, Value)>>,
    called: Notify,
    began: Instant,
}

impl Carry for World {
    async fn carry(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let body = serde_json::from_slice(&call.body).unwrap();
        self.calls
            .borrow_mut()
            .push((self.began.elapsed(), call.url.to_owned(), body));
        self.called.notify_waiters();
        let next = self
            .scripts
            .borrow_mut()
            .get_mut(call.url)
            .and_then(VecDeque::pop_front);
        let (status, retry_after) = match next.unwrap_or(Does::Answers(200)) {
            Does::Answers(status) => (status, None),
            Does::IsBusy(seconds) => (429, Some(Duration::from_secs(seconds))),
            Does::NeverAnswers => {
                sleep(call.timeout).await;
                let stage = "no answer";
                let limit = call.timeout;
                return Err(CallError::Late { stage, limit });
            }
        };
        Ok(Answer {
            status,
            headers: hyper::HeaderMap::new(),
            body: bytes::Bytes::new(),
            end: End::Whole,
            took: Duration::ZERO,
            retry_after,
        })
    }
}

impl World {
    fn new(scripts: &[(&str, &[Does])]) -> Rc<Self> {
        let script = |(url, script): &(&str, &[Does])| ((*url).to_owned(), script.iter().copied().collect());
        Rc::new(Self {
            scripts: RefCell::new(scripts.iter().map(script).collect()),
            calls: RefCell::default(),
            called: Notify::new(),
            began: Instant::now(),
        })
    }

    /// Waits for so many calls to `url`; when, and the numbers of the records that they were about.
    async fn calls(&self, url: &str, count: usize) -> Vec<(Duration, u64)> {
        loop {
            let called = self.called.notified();
            let calls = self.bodies(url);
            if calls.len() >= count {
                return calls
                    .into_iter()
                    .map(|(at, body)| (at, body["seq"].as_u64().unwrap()))
                    .collect();
            }
            called.await;
        }
    }

    fn bodies(&self, url: &str) -> Vec<(Duration, Value)> {
        let calls = self.calls.borrow();
        let calls = calls.iter().filter(|(_, found, _)| found == url);
        calls.map(|(at, _, body)| (*at, body.clone())).collect()
    }
}

/// A log, a state directory, and channels that are told.
struct House {
    directory: tempfile::TempDir,
    log: Arc<Mutex<Vec<Record>>>,
    roster: Roster,
}

impl House {
    fn new(channels: Vec<Channel>) -> Self {
        let house = Self {
            directory: tempfile::tempdir().unwrap(),
            log: Arc::default(),
            roster: Roster {
                environment: None,
                rollouts: vec!["checkout-v2".to_owned()],
                channels,
            },
        };
        places::save(&house.file(), &Places::from([("ops".to_owned(), at(0))])).unwrap();
        house
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("notified.json")
    }

    fn record(&self, to: &str) -> Record {
        let mut log = self.log.lock().unwrap();
        let seq = log.len() as u64 + 1;
        let mut record = record(seq, "progressing", to);
        record.at_ms = now_ms();
        log.push(record.clone());
        record
    }

    /// From start to end: the end comes when `body` is over.
    async fn lives(&self, world: &World, body: impl AsyncFnOnce(Teller)) {
        let (teller, notifier) = self.begin();
        tokio::join!(notifier.run_by(world), body(teller));
    }

    /// From start to a crash.
    async fn crashes(&self, world: &World, body: impl AsyncFnOnce(&Teller)) {
        let (teller, notifier) = self.begin();
        tokio::select! {
            () = notifier.run_by(world) => panic!("it never ends"),
            () = body(&teller) => {}
        }
    }

    fn begin(&self) -> (Teller, Notifier) {
        let log = Arc::clone(&self.log);
        let read = move |after: u64| {
            let log = log.lock().unwrap();
            let behind = log.iter().filter(|record| record.seq > after);
            behind.take(100).cloned().collect()
        };
        let past = Past {
            head: self.log.lock().unwrap().len() as u64,
            read: Arc::new(read),
        };
        Notifier::new(Begin {
            state_directory: self.directory.path().to_owned(),
            roster: self.roster.clone(),
            past,
            seed: 7,
        })
    }
}

fn ops(url: &str) -> Channel {
    let service = Service::Webhook {
        url: url.to_owned(),
        headers: Vec::new(),
        template: None,
    };
    channel(service, Severity::Warn, false)
}

fn seqs(calls: &[(Duration, u64)]) -> Vec<u64> {
    calls.iter().map(|(_, seq)| *seq).collect()
}

fn count(teller: &Teller, result: &str) -> u64 {
    let counts = teller.counts();
    counts
        .iter()
        .filter(|(_, found, _)| *found == result)
        .map(|(_, _, n)| n)
        .sum()
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_tried_until_it_arrives() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::Answers(503); 20])]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("aborted"));
            let calls = world.calls("a", 21).await;
            let pauses: Vec<_> = calls
                .windows(2)
                .map(|pair| (pair[1].0 - pair[0].0).as_secs_f64())
                .collect();
            assert!(pauses[0] <= 1.25 && pauses[3] >= 6.0, "{pauses:?}");
            assert!(pauses[19] >= 225.0 && pauses[19] <= 300.0, "{pauses:?}");
        })
        .await;
    assert_eq!(world.bodies("a").len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_is_kept() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::IsBusy(120)])]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("aborted"));
            let calls = world.calls("a", 2).await;
            let pause = (calls[1].0 - calls[0].0).as_secs_f64();
            assert!((120.0..121.0).contains(&pause), "{pause}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn news_is_given_up_after_ten_tries() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::Answers(500); 10])]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("paused"));
            world.calls("a", 10).await;
            teller.tell(&house.record("paused"));
            let calls = world.calls("a", 11).await;
            assert_eq!(seqs(&calls), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
            assert_eq!(count(&teller, "failed"), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_and_counted() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::Answers(404)])]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("aborted"));
            teller.tell(&house.record("aborted"));
            assert_eq!(seqs(&world.calls("a", 2).await), [1, 2]);
            assert_eq!(count(&teller, "failed"), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_told_after_a_crash() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::Answers(200), Does::NeverAnswers])]);
    house
        .crashes(&world, async |teller| {
            teller.tell(&house.record("aborted"));
            world.calls("a", 1).await;
            teller.tell(&house.record("aborted"));
            world.calls("a", 2).await;
        })
        .await;
    // While nobody was there to tell.
    house.record("aborted");
    let world = World::new(&[]);
    house
        .lives(&world, async |_teller| {
            let mut calls = Vec::new();
            while !calls.ends_with(&[2, 3]) {
                calls = seqs(&world.calls("a", calls.len() + 1).await);
            }
            // The first may have been told without being remembered: at least once.
            assert!(calls.len() <= 3, "{calls:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_told_is_not_told_again_after_a_clean_end() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("aborted"));
            teller.tell(&house.record("aborted"));
            world.calls("a", 2).await;
            // The clock moves on only when the second has been delivered, too.
            sleep(Duration::from_secs(1)).await;
        })
        .await;
    house.record("aborted");
    house
        .lives(&world, async |_teller| {
            assert_eq!(seqs(&world.calls("a", 3).await), [1, 2, 3]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_torn_file_costs_no_abort_of_the_last_day() {
    let house = House::new(vec![ops("a")]);
    for to in ["aborted", "paused", "aborted", "succeeded"] {
        house.record(to);
    }
    house.log.lock().unwrap()[0].at_ms -= AGAIN_MS + 60_000;
    std::fs::write(house.file(), "{\"version\":1,\"chan").unwrap();
    let world = World::new(&[]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("paused"));
            assert_eq!(seqs(&world.calls("a", 2).await), [3, 5]);
            sleep(Duration::from_secs(5)).await;
        })
        .await;
    assert_eq!(places::load(&house.file()).unwrap().unwrap()["ops"].seq, 5);
}

#[tokio::test(start_paused = true)]
async fn a_slow_channel_delays_nobody() {
    let other = Channel {
        name: Name::new("other").unwrap(),
        ..ops("b")
    };
    let house = House::new(vec![ops("a"), other]);
    let world = World::new(&[("a", &[Does::NeverAnswers; 1_000])]);
    house
        .crashes(&world, async |teller| {
            for _ in 0..50 {
                teller.tell(&house.record("aborted"));
            }
            let calls = world.calls("b", 50).await;
            assert_eq!(seqs(&calls), (1..=50).collect::<Vec<_>>());
            assert!(calls[49].0 < Duration::from_secs(10), "{:?}", calls[49].0);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn news_that_finds_no_room_is_counted_and_told_of() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::NeverAnswers])]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("paused"));
            world.calls("a", 1).await;
            for _ in 1..300 {
                teller.tell(&house.record("paused"));
                tokio::task::yield_now().await;
            }
            let calls = seqs(&world.calls("a", 257).await);
            assert_eq!(calls.last(), Some(&256));
            assert_eq!(count(&teller, "dropped"), 44);
        })
        .await;
    let told = |(_, body): &(Duration, Value)| body["leftOut"].as_u64().unwrap();
    let told: Vec<_> = world.bodies("a").iter().map(told).collect();
    assert_eq!(told[1..4], [44, 0, 0], "the first try went out before");
}

#[tokio::test(start_paused = true)]
async fn an_abort_does_not_wait_for_news() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::IsBusy(300)])]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("paused"));
            world.calls("a", 1).await;
            teller.tell(&house.record("aborted"));
            let calls = world.calls("a", 2).await;
            assert_eq!(seqs(&calls), [1, 2]);
            assert!(calls[1].0 < Duration::from_secs(1));
        })
        .await;
    assert_eq!(world.bodies("a")[1].1["leftOut"], 1);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_to_be_heard_is_read_from_the_log() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[]);
    house
        .lives(&world, async |teller| {
            // Nobody can hear in between.
            for _ in 0..3_000 {
                teller.tell(&house.record("aborted"));
            }
            let calls = world.calls("a", 3_000).await;
            assert_eq!(seqs(&calls), (1..=3_000).collect::<Vec<_>>());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_log_lost_is_given_up() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[]);
    house
        .lives(&world, async |teller| {
            teller.tell(&record(5, "progressing", "aborted"));
            sleep(Duration::from_secs(10)).await;
            teller.tell(&record(6, "progressing", "aborted"));
            assert_eq!(seqs(&world.calls("a", 1).await), [6]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_channel_goes_on_where_it_was() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[("a", &[Does::Answers(503); 1_000])]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("aborted"));
            world.calls("a", 3).await;
            let newcomer = Channel {
                name: Name::new("newcomer").unwrap(),
                ..ops("c")
            };
            teller.follow(Roster {
                channels: vec![ops("b"), newcomer],
                ..house.roster.clone()
            });
            assert_eq!(seqs(&world.calls("b", 1).await), [1]);
            teller.tell(&house.record("aborted"));
            assert_eq!(seqs(&world.calls("b", 2).await), [1, 2]);
            assert_eq!(seqs(&world.calls("c", 1).await), [2]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn who_was_told_of_an_abort_is_told_of_the_recovery_after_a_restart() {
    let house = House::new(vec![ops("a")]);
    let world = World::new(&[]);
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("aborted"));
            world.calls("a", 1).await;
            sleep(Duration::from_secs(1)).await;
        })
        .await;
    house
        .lives(&world, async |teller| {
            teller.tell(&house.record("succeeded"));
            world.calls("a", 2).await;
            sleep(Duration::from_secs(1)).await;
            // It is over: the next success is none of its business.
            teller.tell(&house.record("succeeded"));
            teller.tell(&house.record("aborted"));
            assert_eq!(seqs(&world.calls("a", 3).await), [1, 2, 4]);
        })
        .await;
    assert_eq!(world.bodies("a")[1].1["what"], "recovered");
}

#[tokio::test]
async fn real_servers_are_told_side_by_side() {
    let slow = Server::start(vec![Act::Silence]).await;
    let quick = Server::start(vec![Act::status(503, ""), Act::status(200, "")]).await;
    let other = Channel {
        name: Name::new("other").unwrap(),
        ..ops(&quick.url("/hook"))
    };
    let house = House::new(vec![ops(&slow.url("/hook")), other]);
    let (teller, notifier) = house.begin();
    teller.tell(&house.record("aborted"));
    tokio::select! {
        () = notifier.run() => panic!("it never ends"),
        () = async { tokio::join!(quick.seen(2), slow.seen(1)); } => {}
    }
    assert_eq!(quick.take_seen()[1].json()["what"], "aborted");
}
