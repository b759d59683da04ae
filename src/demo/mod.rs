//! Serin in one process: two services, a steady load, a rollout, and a canary that turns bad. Needs no
//! other program, and shows how long a bad release lives.

mod book;
mod files;
mod load;
mod proxy;
mod scenario;
mod script;
mod service;
mod summary;
mod view;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::control::RolloutView;
use crate::rollout::Phase;
use crate::server::StartError;
use book::Side;
use files::Files;
use load::{Aim, Load};
use proxy::Proxy;
use scenario::Outcome;
pub use scenario::Scenario;
use script::{Cue, Script};
use service::Services;
use summary::{Ended, Summary};
use view::{Frame, Screen};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Requests per second that a load may have.
pub const RATES: std::ops::RangeInclusive<u32> = 100..=20_000;

/// The load runs so long before the rollout begins.
const WARM_UP: Duration = Duration::from_secs(1);

/// The load runs so long after the end: what was open then has ended (the route's timeout is 1 s), and a
/// request that goes the canary's way all the same is noticed.
const AFTERWARDS: Duration = Duration::from_millis(1_500);

/// How often the rollout is looked at, and how many looks make a picture.
const LOOK: Duration = Duration::from_millis(25);
const LOOKS_A_FRAME: u32 = 4;

/// Requests open at once; each takes four descriptors of this process, two at either end of the proxy.
const OPEN_MAX: u32 = 4_000;
const DESCRIPTORS_A_REQUEST: u64 = 4;
const DESCRIPTORS_BESIDE: u64 = 200;

/// What to show.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the canary does.
    pub scenario: Scenario,
    /// Stay up after the summary, until SIGINT or SIGTERM.
    pub keep: bool,
    /// Print one JSON object and nothing else.
    pub json: bool,
    /// Requests per second, in [`RATES`]; what is outside is taken as the nearer end.
    pub rate: u32,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Serin itself does not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// No port, thread or file.
    #[error("the demo cannot run here: {0}")]
    Io(#[from] io::Error),
    /// Control answers no more, or not what was asked.
    #[error("the proxy's control has {0}")]
    Control(&'static str),
}

/// Runs the demo to its end, and says whether that was the expected one. Takes some ten seconds, and never
/// more than two minutes unless it is to be kept.
///
/// # Errors
/// [`DemoError`]; nothing keeps running.
pub fn run(options: Options) -> Result<bool, DemoError> {
    let rate = options.rate.clamp(*RATES.start(), *RATES.end());
    let open_max = raise_open_max();
    // What stands below uses what stands above, and is dropped, and so ended, before it.
    let services = Services::start()?;
    let files = Files::create(services.stable.address(), services.canary.address())?;
    let proxy = Proxy::start(&files)?;
    let mut load = Load::start(Aim {
        address: proxy.address,
        rate,
        open_max,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async { Signals::new() })?;

    let mut screen = Screen::of_stdout(options.json);
    screen.note(&format!("Serin {VERSION}: a canary that {}", options.scenario.words()));
    screen.note(&format!(
        "proxy {} · admin {} · {rate} requests per second\n",
        proxy.url(),
        proxy.admin_url()
    ));
    let script = Script::new(options.scenario, rate);
    let mut play = Play {
        scenario: options.scenario,
        script,
        proxy: &proxy,
        services: &services,
        load: &load,
        screen,
    };
    let (outcome, duration, rollout) = runtime.block_on(play.run(&mut signals))?;

    let stay = options.keep && outcome != Outcome::Interrupted;
    if !stay {
        load.finish();
    }
    let totals = load.book().totals().clone();
    let canary = services.canary.marks();
    let summary = Summary::of(&Ended {
        scenario: options.scenario,
        rate,
        outcome,
        duration,
        totals,
        canary,
        rollout,
    });
    if options.json {
        write(io::stdout(), &format!("{}\n", summary.json()));
    } else {
        write(io::stdout(), &format!("\n{}", summary.text()));
    }
    if stay {
        // Beside the summary, so that with `--json` the standard output holds the object alone.
        write(io::stderr(), &proxy.what_to_try(&files));
        runtime.block_on(signals.any());
    }
    Ok(summary.ok)
}

/// One run: who takes part, and what is shown.
struct Play<'a> {
    scenario: Scenario,
    script: Script,
    proxy: &'a Proxy,
    services: &'a Services,
    load: &'a Load,
    screen: Screen<io::Stdout>,
}

impl Play<'_> {
    /// Until the rollout has ended, or somebody ends the demo; how, after how long, and where the rollout stands.
    async fn run(&mut self, signals: &mut Signals) -> Result<(Outcome, Duration, RolloutView), DemoError> {
        tokio::select! {
            () = tokio::time::sleep(WARM_UP) => {}
            () = signals.any() => return Ok((Outcome::Interrupted, Duration::ZERO, self.proxy.rollout().await?)),
        }
        let began = Instant::now();
        let outcome = tokio::select! {
            outcome = self.watch(began) => outcome?,
            () = signals.any() => Outcome::Interrupted,
        };
        let duration = began.elapsed();
        if outcome != Outcome::Interrupted {
            tokio::select! {
                shown = self.show_for(AFTERWARDS, began) => shown?,
                () = signals.any() => {}
            }
        }
        Ok((outcome, duration, self.proxy.rollout().await?))
    }

    /// Starts the rollout and follows the script to its end.
    async fn watch(&mut self, began: Instant) -> Result<Outcome, DemoError> {
        self.proxy.start_rollout().await?;
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looks, mut last) = (0, None);
        loop {
            ticks.tick().await;
            let rollout = self.proxy.rollout().await?;
            let at = began.elapsed();
            let stands = (rollout.phase, rollout.step);
            if last.replace(stands) != Some(stands) {
                self.screen.note(&change(at, &rollout));
            }
            match self.script.next(at, rollout.phase, rollout.step) {
                Cue::Wait => {}
                Cue::TurnBad => {
                    self.services.canary.turn(self.scenario);
                    let words = self.scenario.words();
                    self.screen
                        .note(&format!("{:6.2} s  from now on the canary {words}", at.as_secs_f64()));
                }
                Cue::End(outcome) => return Ok(outcome),
            }
            if looks % LOOKS_A_FRAME == 0 {
                self.show(at, rollout);
            }
            looks += 1;
        }
    }

    async fn show_for(&mut self, time: Duration, began: Instant) -> Result<(), DemoError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let rollout = self.proxy.rollout().await?;
            self.show(began.elapsed(), rollout);
            tokio::time::sleep(LOOK * LOOKS_A_FRAME).await;
        }
        Ok(())
    }

    fn show(&mut self, at: Duration, rollout: RolloutView) {
        let now = Instant::now();
        let book = self.load.book();
        let sides = [Side::Stable, Side::Canary].map(|side| book.figures(now, side));
        let totals = book.totals().clone();
        drop(book);
        self.screen.show(&Frame {
            at,
            rollout,
            sides,
            totals,
        });
    }
}

/// The line for a rollout that has moved.
fn change(at: Duration, rollout: &RolloutView) -> String {
    let words = match rollout.phase {
        Phase::Progressing | Phase::Promoting => format!(
            "step {} of {}: {} % of the requests to the canary",
            rollout.step.unwrap_or_default() + 1,
            rollout.steps,
            rollout.share * 100.0
        ),
        Phase::Idle | Phase::Watching | Phase::Paused | Phase::Succeeded | Phase::Aborted => {
            format!("{}: {}", rollout.phase.as_str(), rollout.reason)
        }
    };
    format!("{:6.2} s  {words}", at.as_secs_f64())
}

/// What ends the demo.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Inside a runtime only.
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Takes all the descriptors that this process may have; says how many requests can be open with them.
fn raise_open_max() -> u32 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = u64::from(OPEN_MAX) * DESCRIPTORS_A_REQUEST + DESCRIPTORS_BESIDE;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < most) {
        // Refused: the demo goes on with what there is.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(most),
                maximum: limit.maximum,
            },
        );
    }
    let usable = getrlimit(Resource::Nofile)
        .current
        .map_or(wanted, |current| current.min(wanted));
    let requests = usable.saturating_sub(DESCRIPTORS_BESIDE) / DESCRIPTORS_A_REQUEST;
    u32::try_from(requests).unwrap_or(OPEN_MAX).max(1)
}

/// What cannot be written is dropped: the exit code says how it went.
fn write(mut out: impl Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
