//! Tells all channels, each at its own pace: hears what happens, reads in the log what was not heard, sends,
//! and remembers how far it has come.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use super::courier::{Carry, Fate, bring};
use super::event::{Event, event_of};
use super::letter::Letter;
use super::line::{Counts, Line};
use super::places::{self, Places};
use crate::audit::Record;
use crate::config::{Channel, Spec};
use crate::name::Name;
use crate::outgoing::{Backoff, Client};

/// What is told waits here for a moment; what finds no room is read from the log.
const TOLD_MAX: usize = 256;
/// What fails is tried again after about this long, then after twice as long …
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// … and never later than this.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// So often news is tried; aborts are tried without end.
const TRIES_MAX: u32 = 10;
/// Places are written at most this often: so much is told twice after a crash.
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// Places that could not be written are written again after so long.
const SAVE_RETRY: Duration = Duration::from_secs(10);
/// Where the place is lost, aborts of so long ago are told again.
const AGAIN_MS: u64 = 24 * 3_600_000;
/// So many records are looked through for them at most.
const AGAIN_MAX: u64 = 128_000;
/// A record that was told is looked for in the log so often, a second apart.
const LOOKS_MAX: u32 = 4;

/// Whom there is to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    environment: Option<String>,
    rollouts: Vec<String>,
    channels: Vec<Channel>,
}

/// What has been recorded so far.
#[derive(Clone)]
pub struct Past {
    /// The newest record; 0: none.
    pub head: u64,
    /// Records behind the given one, oldest first, perhaps not all at once; none: there are no more. May
    /// block; is called on a thread that may.
    pub read: Arc<dyn Fn(u64) -> Vec<Record> + Send + Sync>,
}

/// What the notifier begins with.
pub struct Begin {
    /// Where `notified.json` is.
    pub state_directory: PathBuf,
    /// Whom there is to tell.
    pub roster: Roster,
    /// What has been recorded so far.
    pub past: Past,
    /// Spreads pauses.
    pub seed: u64,
}

/// By which the notifier hears. Cheap to clone; no call waits.
#[derive(Clone)]
pub struct Teller {
    tx: mpsc::Sender<Told>,
    roster: Arc<watch::Sender<Roster>>,
    board: Arc<Board>,
}

/// Tells all channels for as long as it [runs](Notifier::run).
pub struct Notifier {
    file: PathBuf,
    rx: mpsc::Receiver<Told>,
    roster: watch::Receiver<Roster>,
    board: Arc<Board>,
    past: Past,
    seed: u64,
}

struct Told {
    seq: u64,
    event: Option<Event>,
}

/// What both sides see.
struct Board {
    /// The newest record that was told of.
    head: AtomicU64,
    counts: Mutex<BTreeMap<Name, Arc<Counts>>>,
}

/// One channel and who wakes it.
struct Station {
    line: RefCell<Line>,
    wake: Notify,
}

/// What all channels share until the roster changes.
struct Shared<'n, C> {
    carry: &'n C,
    environment: Option<String>,
    past: &'n Past,
    seed: u64,
    /// A place has moved.
    moved: Notify,
}

/// Why hearing ended.
enum Ended {
    /// Others are to be told.
    Roster,
    /// There is nobody left who could tell.
    Silence,
}

impl Roster {
    /// Whom `spec` names.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let name = |rollout: &crate::config::Rollout| rollout.name.to_string();
        Self {
            environment: spec.environment.clone(),
            rollouts: spec.rollouts.iter().map(name).collect(),
            channels: spec.notifications.clone(),
        }
    }
}

impl Teller {
    /// Something was recorded. With `seq` 0 it stands in no log, and is told at most once.
    pub fn tell(&self, record: &Record) {
        self.board.head.fetch_max(record.seq, Ordering::Relaxed);
        let told = Told {
            seq: record.seq,
            event: event_of(record),
        };
        // What finds no room is in the log, and the head says so.
        let _ = self.tx.try_send(told);
    }

    /// From now on these are told. Channels are known by their names: who keeps his name keeps his place.
    pub fn follow(&self, roster: Roster) {
        self.roster.send_if_modified(|known| {
            let changed = *known != roster;
            *known = roster;
            changed
        });
    }

    /// Messages of each channel since the start, by what became of them: `delivered`, `failed` or `dropped`.
    #[must_use]
    pub fn counts(&self) -> Vec<(Name, &'static str, u64)> {
        let counts = self.board.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(name, counts): (&Name, &Arc<Counts>)| {
            [
                ("delivered", &counts.delivered),
                ("failed", &counts.failed),
                ("dropped", &counts.dropped),
            ]
            .map(|(result, counter)| (name.clone(), result, counter.load(Ordering::Relaxed)))
        };
        counts.iter().flat_map(of).collect()
    }
}

impl Notifier {
    /// A notifier, and by which it hears.
    #[must_use]
    pub fn new(begin: Begin) -> (Teller, Self) {
        let (tx, rx) = mpsc::channel(TOLD_MAX);
        let (roster_tx, roster) = watch::channel(begin.roster);
        let board = Arc::new(Board {
            head: AtomicU64::new(begin.past.head),
            counts: Mutex::default(),
        });
        let teller = Teller {
            tx,
            roster: Arc::new(roster_tx),
            board: Arc::clone(&board),
        };
        let notifier = Self {
            file: begin.state_directory.join("notified.json"),
            rx,
            roster,
            board,
            past: begin.past,
            seed: begin.seed,
        };
        (teller, notifier)
    }

    /// Tells until every [`Teller`] is dropped. Must be run on a Tokio runtime; the future is not `Send`.
    pub async fn run(self) {
        self.run_by(&Client::new()).await;
    }

    async fn run_by<C: Carry>(mut self, carry: &C) {
        let roster = self.roster.borrow_and_update().clone();
        let mut stations = self.first(&roster).await;
        let mut environment = roster.environment;
        loop {
            self.post(&stations);
            let shared = Shared {
                carry,
                environment,
                past: &self.past,
                seed: self.seed,
                moved: Notify::new(),
            };
            shared.moved.notify_one();
            let work = async {
                let mut working: FuturesUnordered<_> = stations.iter().map(|station| station.work(&shared)).collect();
                while working.next().await.is_some() {}
                pending::<()>().await;
            };
            let ended = tokio::select! {
                ended = hear(&mut self.rx, &mut self.roster, &self.board, &stations) => ended,
                () = work => unreachable!("it never ends"),
                () = keep(&self.file, &stations, &shared.moved) => unreachable!("it never ends"),
            };
            if matches!(ended, Ended::Silence) {
                return save(&self.file, &stations).await;
            }
            let roster = self.roster.borrow_and_update().clone();
            let head = self.board.head.load(Ordering::Relaxed);
            stations = changed(stations, &roster, head);
            environment = roster.environment;
        }
    }

    /// The channels of the start, each in its place.
    async fn first(&self, roster: &Roster) -> Vec<Station> {
        let file = self.file.clone();
        let loaded = spawn_blocking(move || places::load(&file)).await;
        let known = loaded.unwrap_or_else(|error| Err(error.to_string())).unwrap_or_else(|why| {
            let file = self.file.display();
            tracing::error!(%file, why, "it is not known who was told of what; aborts of the last 24 hours are told again");
            None
        });
        let (head, since_ms) = (self.past.head, now_ms().saturating_sub(AGAIN_MS));
        let start = match known {
            Some(_) => head,
            None => {
                let past = self.past.clone();
                let found = spawn_blocking(move || start_of(&past, since_ms)).await;
                found.unwrap_or(head)
            }
        };
        let line = |channel: &Channel| {
            let (channel, rollouts) = (channel.clone(), &roster.rollouts);
            match &known {
                None => Line::begin_again(channel, rollouts, start, head, since_ms),
                Some(places) => {
                    let place = places.get(channel.name.as_str()).cloned();
                    Line::new(channel, rollouts, place.unwrap_or_else(|| at(head)), head)
                }
            }
        };
        roster
            .channels
            .iter()
            .map(|channel| Station::new(line(channel)))
            .collect()
    }

    fn post(&self, stations: &[Station]) {
        let mut counts = self.board.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = stations
            .iter()
            .map(|station| {
                let line = station.line.borrow();
                (line.channel.name.clone(), Arc::clone(&line.counts))
            })
            .collect();
    }
}

/// Where the records since `since_ms` begin, or a little before.
fn start_of(past: &Past, since_ms: u64) -> u64 {
    let mut span = 1_000;
    loop {
        let start = past.head.saturating_sub(span);
        let page = (past.read)(start);
        let early = page.first().is_none_or(|record| record.at_ms < since_ms);
        if early || start == 0 || span >= AGAIN_MAX {
            return start;
        }
        span *= 2;
    }
}

fn at(seq: u64) -> places::Place {
    places::Place {
        seq,
        ..places::Place::default()
    }
}

/// The channels of another roster. Who keeps his name goes on where he is; who is new begins at `head`.
fn changed(stations: Vec<Station>, roster: &Roster, head: u64) -> Vec<Station> {
    let lines = stations.into_iter().map(|station| station.line.into_inner());
    let mut known: BTreeMap<Name, Line> = lines.map(|line| (line.channel.name.clone(), line)).collect();
    let station = |channel: &Channel| {
        let line = match known.remove(&channel.name) {
            Some(mut line) => {
                line.change(channel.clone(), &roster.rollouts);
                line
            }
            None => Line::new(channel.clone(), &roster.rollouts, at(head), head),
        };
        Station::new(line)
    };
    roster.channels.iter().map(station).collect()
}

/// Hands on what is told.
async fn hear(
    rx: &mut mpsc::Receiver<Told>,
    roster: &mut watch::Receiver<Roster>,
    board: &Board,
    stations: &[Station],
) -> Ended {
    loop {
        let told = tokio::select! {
            told = rx.recv() => told,
            changed = roster.changed() => match changed {
                Ok(()) => return Ended::Roster,
                Err(_) => return Ended::Silence,
            },
        };
        let Some(told) = told else {
            return Ended::Silence;
        };
        // What found no room was told between these.
        let head = rx.is_empty().then(|| board.head.load(Ordering::Relaxed));
        for station in stations {
            let mut line = station.line.borrow_mut();
            line.hear(told.seq, told.event.as_ref());
            line.hear_of(head.unwrap_or_default());
            station.wake.notify_one();
        }
    }
}

/// Writes the places when they have moved.
async fn keep(file: &Path, stations: &[Station], moved: &Notify) {
    let mut known = None;
    let mut ill = false;
    loop {
        moved.notified().await;
        let lost = stations.iter().any(|station| station.line.borrow().is_lost());
        let places = places_of(stations);
        // Without a file it is known at the next start, too, that the places were lost.
        if !lost && known.as_ref() != Some(&places) {
            match write(file, places.clone()).await {
                Ok(()) if ill => tracing::info!("it can be written again who was told of what"),
                Ok(()) => {}
                Err(error) => {
                    if !ill {
                        let file = file.display();
                        tracing::error!(%file, error, "cannot be written; after a restart channels are told again");
                    }
                    ill = true;
                    sleep(SAVE_RETRY).await;
                    moved.notify_one();
                    continue;
                }
            }
            (known, ill) = (Some(places), false);
        }
        sleep(SAVE_PAUSE).await;
    }
}

async fn save(file: &Path, stations: &[Station]) {
    if stations.iter().any(|station| station.line.borrow().is_lost()) {
        return;
    }
    if let Err(error) = write(file, places_of(stations)).await {
        tracing::error!(file = %file.display(), error, "cannot be written; after a restart channels are told again");
    }
}

async fn write(file: &Path, places: Places) -> Result<(), String> {
    let file = file.to_owned();
    let written = spawn_blocking(move || places::save(&file, &places)).await;
    written
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

fn places_of(stations: &[Station]) -> Places {
    let place = |station: &Station| {
        let line = station.line.borrow();
        (line.channel.name.to_string(), line.place())
    };
    stations.iter().map(place).collect()
}

impl Station {
    fn new(line: Line) -> Self {
        Self {
            line: RefCell::new(line),
            wake: Notify::new(),
        }
    }

    /// Tells one event after the other, without end.
    async fn work<C: Carry>(&self, shared: &Shared<'_, C>) {
        loop {
            let letters = self.line.borrow().letters();
            if let Some(letters) = letters {
                for letter in letters {
                    self.tell(&letter, shared).await;
                }
                self.line.borrow_mut().queue.pop();
            } else if self.line.borrow().is_behind() {
                self.read(shared).await;
            } else {
                shared.moved.notify_one();
                self.wake.notified().await;
            }
            shared.moved.notify_one();
        }
    }

    /// Reads on in the log, until something waits or all is read.
    async fn read<C>(&self, shared: &Shared<'_, C>) {
        let mut looks = 0;
        while !self.is_read() {
            let before = self.line.borrow().seen();
            let read = Arc::clone(&shared.past.read);
            let page = spawn_blocking(move || read(before)).await.unwrap_or_default();
            self.line.borrow_mut().read(&page, now_ms());
            if self.is_read() {
                return;
            }
            if self.line.borrow().seen() > before {
                looks = 0;
                continue;
            }
            looks += 1;
            if looks == LOOKS_MAX {
                let mut line = self.line.borrow_mut();
                let channel = &line.channel.name;
                tracing::error!(%channel, after = before, "the audit log does not hold what was recorded");
                line.give_up_reading();
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Whether something waits, or nothing is left to be read.
    fn is_read(&self) -> bool {
        let line = self.line.borrow();
        line.queue.front().is_some() || !line.is_behind()
    }

    /// Tries until it is delivered, or given up.
    async fn tell<C: Carry>(&self, letter: &Letter, shared: &Shared<'_, C>) {
        let Channel { name, service, .. } = self.line.borrow().channel.clone();
        let (what, seq) = (letter.event.what.as_str(), letter.event.seq);
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX, shared.seed ^ seq);
        for tries in 1_u32.. {
            let left_out = self.line.borrow().queue.left_out;
            let environment = shared.environment.as_deref();
            let (why, after) = match bring(shared.carry, &service, letter, environment, left_out).await {
                None => return,
                Some(Fate::Delivered) => return self.line.borrow_mut().delivered(letter, left_out),
                Some(Fate::Refused(why)) => {
                    Counts::add(&self.line.borrow().counts.failed);
                    tracing::error!(channel = %name, what, seq, why, "a notification was refused; it is not tried again");
                    return;
                }
                Some(Fate::Failed(why, after)) => (why, after),
            };
            if !letter.must_arrive && tries == TRIES_MAX {
                Counts::add(&self.line.borrow().counts.failed);
                tracing::error!(channel = %name, what, seq, tries, why, "a notification failed too often; it is given up");
                return;
            }
            if tries == 1 {
                tracing::warn!(channel = %name, what, seq, why, "a notification failed; it is tried again");
            }
            if self.rest(backoff.pause(after), letter).await {
                let mut line = self.line.borrow_mut();
                line.queue.left_out += 1;
                Counts::add(&line.counts.dropped);
                return;
            }
        }
    }

    /// Waits. Whether the letter is to be left out, for an abort that waits behind it.
    async fn rest(&self, pause: Duration, letter: &Letter) -> bool {
        let until = Instant::now() + pause;
        loop {
            if !letter.must_arrive && self.line.borrow().queue.is_urgent() {
                return true;
            }
            tokio::select! {
                () = sleep_until(until) => return false,
                () = self.wake.notified() => {}
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
