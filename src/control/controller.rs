//! The one writer: a loop over a closed set of events, on one thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::audit_log::{Audit, Misfit, records_behind};
use super::commit::Untold;
use super::court::{Court, Moment};
use super::directory::StateError;
use super::errands::{Errands, Launch, Report, Word};
use super::ground::{Ground, Ticked};
use super::handle::{Asked, Handle};
use super::journal::{Happening, Journal, Kind};
use super::jwks::Jwks;
use super::key_files::{KeyFiles, beside};
use super::outside::Outside;
use super::publisher::Publisher;
use super::readings::{Finished, Loaded, Loader, Reader, Readings, read_again};
use super::reload::Changes;
use super::saver::Saver;
use super::store::{Found, Store};
use super::view::{ListenerView, ReloadView};
use super::windows::Windows;
use crate::analysis::{Evidence, Verdict, VerdictKind};
use crate::audit::ADOPTED;
use crate::live::Live;
use crate::name::Name;
use crate::notify::{Begin, Notifier, Past, Roster, Teller};
use crate::people::Tokens;
use crate::rollout::{Phase, Rotation};
use crate::tls::ListenerTls;

/// Rollouts are judged this often.
const TICK: Duration = Duration::from_millis(100);
/// And not oftener than this, however readers ring.
const TICK_MIN: Duration = Duration::from_millis(10);
/// A tick that comes late counts for at most this much bake time: nobody was watching meanwhile.
const ELAPSED_MAX: Duration = Duration::from_secs(1);
/// What waits for a moment in which things may move forward is looked for this often.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Views of routes under judgement have a window that moves this often,
const WINDOW_JUDGED: Duration = Duration::from_secs(1);
/// and those of all others this often.
const WINDOW_ALL: Duration = Duration::from_secs(5);

/// What control begins with.
pub struct Start {
    /// The file we run with; it is watched.
    pub config_file: PathBuf,
    /// What it holds now.
    pub loaded: Loaded,
    /// Number of worker threads.
    pub workers: usize,
    /// Where they accept.
    pub listeners: Vec<ListenerView>,
    /// Is told whenever other people may come in; holds those of `loaded`.
    pub tokens: watch::Sender<Option<Arc<Tokens>>>,
    /// Is told whenever the admin API is to be spoken to otherwise; holds what `loaded` says.
    pub admin_tls: watch::Sender<ListenerTls>,
}

/// Why control does not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be held or read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state cannot be written.
    #[error("{0}")]
    Unwritable(String),
}

/// The one writer: it owns the checked configuration and the rollout states, and publishes tables.
/// Everything about it happens on the thread that runs it.
pub struct Controller {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) workers: usize,
    pub(super) listeners: Vec<ListenerView>,
    pub(super) tokens: watch::Sender<Option<Arc<Tokens>>>,
    pub(super) admin_tls: watch::Sender<ListenerTls>,
    pub(super) key_files: Arc<KeyFiles>,
    pub(super) ground: Ground,
    pub(super) publisher: Publisher,
    pub(super) court: Court,
    pub(super) windows: Windows,
    pub(super) journal: Journal,
    pub(super) saver: Saver,
    pub(super) errands: Errands,
    pub(super) jwks: Jwks,
    pub(super) teller: Teller,
    /// What channels are to be told, oldest first.
    pub(super) untold: Vec<Untold>,
    /// Until somebody runs it.
    notifier: Option<Notifier>,
    /// What is said of rollouts that only time moves.
    unjudged: Arc<Verdict>,
    pub(super) readings: Readings,
    pub(super) last_reload: ReloadView,
    pub(super) reloads: Reloads,
    pub(super) rollbacks: BTreeMap<(Name, &'static str), u64>,
    asked: mpsc::Receiver<Asked>,
    started: Instant,
    looked: Instant,
    /// When it was last asked whether something waits that may move forward now.
    caught_up: Instant,
    /// When windows moved: of routes under judgement, and of all.
    moved: [Instant; 2],
}

/// Readings of the file so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reloads {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) last_ok_ms: u64,
}

/// All that control hears.
enum Event {
    /// Time to look, by the clock or because a reader rang.
    Look,
    /// The file was changed.
    FileChanged,
    /// The file has been read.
    Read(Box<Finished>),
    /// Somebody asks.
    Asked(Box<Asked>),
    /// An errand has something to tell.
    Heard(Report),
}

impl Controller {
    /// Takes hold of the state directory, lets the file meet what is stored there, and compiles the
    /// first table: starting up is the first edit, there is no second path. The answer is control,
    /// to be run; where workers find the table; and the handle by which others ask.
    ///
    /// # Errors
    /// [`StartError`]: the state directory is held by another process, damaged or not writable.
    pub fn start(start: Start) -> Result<(Self, Arc<Live>, Handle), StartError> {
        let key_files = Arc::clone(&start.loaded.key_files);
        let loader: Loader = Arc::new(move |file| read_again(file, &key_files));
        Self::start_with(start, loader, Box::new(Outside))
    }

    /// [`Controller::start`], with `loader` to read the file again, and `launch` to run errands.
    pub(super) fn start_with(
        start: Start,
        loader: Loader,
        launch: Box<dyn Launch>,
    ) -> Result<(Self, Arc<Live>, Handle), StartError> {
        let (now, now_ms) = (Instant::now(), unix_ms());
        let (store, Found { saved, note, lost }) = Store::open(&start.loaded.spec.state_directory)?;
        if let Some(note) = &note {
            tracing::error!("{note}");
        }
        let generation = match lost {
            true => Saver::generation_after_loss(&start.loaded.spec.state_directory),
            false => Saver::first_generation(saved.as_ref()),
        };
        let (standing, anchor) = saved.map_or_else(Default::default, |saved| (saved.standing, saved.audit));
        let (audit, misfit) = Audit::open(&start.loaded.spec.state_directory, anchor, note.is_some());
        let (mut ground, mut happenings) = Ground::meet(Arc::new(start.loaded.spec), standing, now_ms);
        ground.keep_approvals_of(start.tokens.borrow().as_deref());
        if lost {
            let (distrusted, more) = ground.distrust(now_ms);
            ground = distrusted;
            happenings.extend(more);
        }
        happenings.insert(0, begun(&start.config_file, note, misfit));
        let mut saver = Saver::new(store, audit, now);
        let before = saver.audit_seq();
        saver.note(&mut happenings, generation);
        saver
            .save(&ground, generation, false, now)
            .map_err(StartError::Unwritable)?;
        let publisher = Publisher::new(&ground, generation, start.workers);
        let directory = ground.spec.state_directory.clone();
        let (teller, notifier) = Notifier::new(Begin {
            state_directory: ground.spec.state_directory.clone(),
            roster: Roster::of(&ground.spec),
            past: Past {
                head: before,
                read: Arc::new(move |seq| records_behind(&directory, seq)),
            },
            seed: fastrand::u64(..),
        });
        let (handle, asked) = Handle::new();
        let mut control = Self {
            readings: Readings::new(start.config_file.clone(), loader),
            file: start.config_file,
            text: start.loaded.text,
            workers: start.workers,
            listeners: start.listeners,
            tokens: start.tokens,
            admin_tls: start.admin_tls,
            key_files: start.loaded.key_files,
            ground,
            publisher,
            court: Court::default(),
            windows: Windows::default(),
            journal: Journal::new(now_ms),
            saver,
            errands: Errands::new(launch),
            jwks: Jwks::default(),
            teller,
            untold: Vec::new(),
            notifier: Some(notifier),
            unjudged: Arc::new(Verdict {
                kind: VerdictKind::Inconclusive,
                metric: None,
                reason: "not judged".to_owned(),
                evidence: Evidence::default(),
            }),
            last_reload: ReloadView {
                at_ms: now_ms,
                ok: true,
                problems: Vec::new(),
            },
            reloads: Reloads {
                ok: 1,
                failed: 0,
                last_ok_ms: now_ms,
            },
            rollbacks: BTreeMap::new(),
            asked,
            started: now,
            looked: now,
            caught_up: now,
            moved: [now; 2],
        };
        control.follow(happenings);
        control.errands.follow(&control.ground, control.publisher.generation());
        let live = Arc::clone(control.publisher.live());
        Ok((control, live, handle))
    }

    /// Who tells others of what happens, to be run beside control; it ends after it. `None`: it is running.
    pub fn notifier(&mut self) -> Option<Notifier> {
        self.notifier.take()
    }

    /// Runs until `shutdown` resolves, then writes down that it ended in order. Canaries are
    /// judged until then, so drain first.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let live = Arc::clone(self.publisher.live());
        let mut changes = Changes::of(self.file.clone());
        // It may have been changed between the first reading and the beginning of the watch.
        self.readings.want(Reader::Watch);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.jwks.follow(&self.publisher.table().issuers);
            let earliest = self.looked + TICK_MIN;
            let rung = async {
                sleep_until(earliest).await;
                live.rung().await;
            };
            let event = tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = tick.tick() => Event::Look,
                () = rung => Event::Look,
                () = changes.next(beside(&self.ground.spec)) => Event::FileChanged,
                finished = self.readings.finished() => Event::Read(Box::new(finished)),
                report = self.errands.heard() => Event::Heard(report),
                Some(asked) = self.asked.recv() => Event::Asked(Box::new(asked)),
            };
            match event {
                Event::Look => self.look(),
                Event::FileChanged => self.readings.want(Reader::Watch),
                Event::Read(finished) => self.read(*finished),
                Event::Asked(asked) => self.answer(*asked),
                Event::Heard(report) => self.heard(report),
            }
        }
        let generation = self.publisher.generation();
        self.note_and_tell(vec![Happening {
            by: "serin".to_owned(),
            ..Happening::of_file(Kind::Stop, "stopped", "control ended in order".to_owned())
        }]);
        // What could not be written has been logged.
        let _ = self.saver.save(&self.ground, generation, true, Instant::now());
    }

    /// Judges every rollout under judgement, and does what is due beside.
    fn look(&mut self) {
        let now = Instant::now();
        let elapsed = now.duration_since(self.looked).min(ELAPSED_MAX);
        self.looked = now;
        let mut verdicts = self.court.look(&self.ground, self.moment());
        for index in 0..self.ground.spec.rollouts.len() {
            if self.ground.awaits_time(index) && !self.ground.is_judged(index) {
                verdicts.push((index, Arc::clone(&self.unjudged)));
            }
        }
        // Failures first: what moves on waits for the disk, an abort waits for nothing.
        verdicts.sort_by_key(|(_, verdict)| verdict.kind != VerdictKind::Fail);
        for (index, verdict) in verdicts {
            if !Arc::ptr_eq(&verdict, &self.unjudged) {
                self.tell_verdict(index, &verdict);
            }
            if let Some(spent) = self.court.spent(&self.ground.spec.rollouts[index].name) {
                self.ground.spend(index, spent);
            }
            let drained = self.is_drained(index);
            let ticked = self.ground.tick(index, &verdict, elapsed, drained, unix_ms());
            self.follow_tick(index, ticked);
        }
        self.switch_by_clock();
        if now.duration_since(self.caught_up) >= CATCH_UP {
            self.caught_up = now;
            self.catch_up();
            // A window may have opened in which somebody is to be asked.
            self.errands.follow(&self.ground, self.publisher.generation());
        }
        self.move_windows(now);
        self.publisher.sweep();
        self.keep_up(now);
        self.tell_outside();
    }

    /// Flags whose time has come. What is switched off is so at once, and written down after.
    fn switch_by_clock(&mut self) {
        match self.ground.switch_due(unix_ms()) {
            Some((changed, false)) => self.commit_at_once(changed),
            Some((changed, true)) => self.commit_when_durable(changed),
            None => {}
        }
    }

    /// What waited, and may begin now.
    fn catch_up(&mut self) {
        if let Some(changed) = self.ground.catch_up(unix_ms()) {
            self.commit_when_durable(changed);
        }
    }

    /// What follows from a tick, or from the end of an errand.
    fn follow_tick(&mut self, index: usize, ticked: Ticked) {
        match ticked {
            Ticked::Baked(state) => self.ground.bake(index, state),
            Ticked::Moved(changed) if changed.0.rollout(index).state.phase() == Phase::Aborted => {
                self.commit_abort(*changed);
            }
            Ticked::Moved(changed) => self.commit_when_durable(*changed),
        }
    }

    /// An errand tells how far it is.
    fn heard(&mut self, report: Report) {
        let mut rollouts = self.ground.spec.rollouts.iter();
        let Some(index) = rollouts.position(|rollout| rollout.name == report.rollout) else {
            return;
        };
        let outcome = match &report.word {
            Word::News(news) => return self.errands.note(&report.rollout, news.clone()),
            // Nothing moves by itself: it is told, and a person goes on.
            Word::Failed(reason) if self.ground.spec.rollouts[index].observe => {
                return self.errands.note(&report.rollout, format!("failed: {reason}"));
            }
            Word::Done => Ok(()),
            Word::Failed(reason) => Err(reason.as_str()),
        };
        self.errands.ended(&report.rollout);
        if self.ground.rollout(index).returning > 0 && report.word == Word::Done {
            let changed = self.ground.take_back(index, unix_ms());
            self.commit_at_once(changed);
        } else if self.ground.must_knock(index) && report.word == Word::Done {
            self.ground.knocked(index);
            self.catch_up();
        }
        if let Some(ticked) = self.ground.errand_ended(index, outcome, unix_ms()) {
            self.follow_tick(index, ticked);
        }
        self.errands.follow(&self.ground, self.publisher.generation());
    }

    /// Whether no endpoint of the former version that has left the rotation has a request open.
    fn is_drained(&self, index: usize) -> bool {
        let rollout = &self.ground.spec.rollouts[index];
        let Some(Rotation { from_out, .. }) = self.ground.rotation(index) else {
            return true;
        };
        let (from, _) = self.ground.pair(index);
        let served = &self.publisher.table().routes[rollout.route].variants[from];
        let out = served.backend.endpoints.iter().take(from_out as usize);
        out.map(|endpoint| endpoint.in_flight()).sum::<u32>() == 0
    }

    fn move_windows(&mut self, now: Instant) {
        let now_ms = self.clock_ms();
        let [judged, all] = &mut self.moved;
        if now.duration_since(*all) >= WINDOW_ALL {
            (*judged, *all) = (now, now);
            self.windows.take(self.publisher.recorders(), now_ms);
        } else if now.duration_since(*judged) >= WINDOW_JUDGED {
            *judged = now;
            self.windows.take(self.court.recorders(), now_ms);
        }
    }

    /// This moment, for those who judge.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            ms: self.clock_ms(),
            live_us: self.publisher.live().now_us(),
        }
    }

    /// Milliseconds since the start, of a clock that never goes back.
    pub(super) fn clock_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// That this process began, and what was found damaged then.
fn begun(file: &Path, state: Option<String>, audit: Option<Misfit>) -> Happening {
    let mut begun = Happening::of_file(Kind::Start, "started", format!("control began with {}", file.display()));
    let adopted = audit.as_ref().map_or(0, |misfit| misfit.adopted);
    let audit = audit.map(|misfit| misfit.what);
    for (name, what, damage) in [("state", "the state", state), ("audit", "the audit log", audit)] {
        if let Some(damage) = damage {
            begun.reason += &format!("; {what}: {damage}");
            begun.facts.push((name, damage));
        }
    }
    if adopted > 0 {
        begun.facts.push((ADOPTED, adopted.to_string()));
    }
    begun
}

/// Unix time in milliseconds.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
