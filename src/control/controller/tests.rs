//! Stories of the one writer with a real disk, a table and counters, and a file of the test's own.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};

use super::{Controller, Start, StartError};
use crate::config::Spec;
use crate::control::errands::{Launch, Reporter, Task};
use crate::control::fixture::{listener, plan, spec, weigh};
use crate::control::readings::Loaded;
use crate::control::view::{Entry, MetricsView, ReloadView, RolloutView, RouteView, StatusView};
use crate::control::{Asked, Handle, Order, Refusal, SetWeights, StateError};
use crate::live::Live;
use crate::measure::{Outcome, Track};
use crate::rollout::{Phase, Verb};
use crate::route::{Admission, Variant};
use crate::tls::ListenerTls;

/// Longer than anything here takes on the slowest machine.
const GENEROUS: Duration = Duration::from_secs(30);

/// So many clean requests pass a limit of 5 %, where stable has none to compare with; 71 just do.
const CLEAN: usize = 80;

type File = Arc<Mutex<Result<Spec, Vec<Entry>>>>;

/// A running control, and the file and the state directory that outlive it.
struct Stage {
    directory: Arc<tempfile::TempDir>,
    file: File,
    live: Arc<Live>,
    handle: Handle,
    /// Errands that control has begun.
    errands: mpsc::UnboundedReceiver<(Task, Reporter)>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Hands errands to the test, which tells what becomes of them.
struct ToTheTest(mpsc::UnboundedSender<(Task, Reporter)>);

impl Launch for ToTheTest {
    fn launch(&self, task: Task, reporter: Reporter) -> AbortHandle {
        let _ = self.0.send((task, reporter));
        tokio::spawn(std::future::pending::<()>()).abort_handle()
    }
}

impl Stage {
    fn begin(change: impl FnOnce(&mut Spec)) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let spec = spec(|spec| {
            spec.state_directory = directory.path().join("state");
            change(spec);
        });
        fs::write(directory.path().join("serin.yaml"), "").unwrap();
        Self::begin_in(directory, Arc::new(Mutex::new(Ok(Spec::clone(&spec))))).unwrap()
    }

    fn begin_in(directory: Arc<tempfile::TempDir>, file: File) -> Result<Self, StartError> {
        let start = Start {
            config_file: directory.path().join("serin.yaml"),
            loaded: load(&file).unwrap(),
            workers: 1,
            listeners: Vec::new(),
            tokens: tokio::sync::watch::channel(None).0,
            admin_tls: tokio::sync::watch::channel(ListenerTls::Clear).0,
        };
        let read = Arc::clone(&file);
        let (begun, errands) = mpsc::unbounded_channel();
        let launch = Box::new(ToTheTest(begun));
        let (controller, live, handle) = Controller::start_with(start, Arc::new(move |_| load(&read)), launch)?;
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(controller.run(async {
            let _ = ended.await;
        }));
        Ok(Self {
            directory,
            file,
            live,
            handle,
            errands,
            end,
            task,
        })
    }

    /// Ends in order and begins again.
    async fn restart(self) -> Self {
        self.end.send(()).unwrap();
        self.task.await.unwrap();
        Self::begin_in(self.directory, self.file).unwrap()
    }

    /// Ends in the midst of everything, as `kill -9` would, and begins again.
    async fn crash(self) -> Self {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        Self::begin_in(self.directory, self.file).unwrap()
    }

    fn edit(&self, change: impl FnOnce(&mut Spec)) {
        let mut file = self.file.lock().unwrap();
        change(file.as_mut().unwrap());
    }

    async fn reload(&self) -> ReloadView {
        let by = "api".to_owned();
        self.handle.ask(|reply| Asked::Reload { by, reply }).await.unwrap()
    }

    async fn status(&self) -> StatusView {
        self.handle.ask(Asked::Status).await.unwrap()
    }

    async fn metrics(&self) -> MetricsView {
        self.handle.ask(Asked::Metrics).await.unwrap()
    }

    async fn route(&self) -> RouteView {
        self.handle.ask(Asked::Routes).await.unwrap().remove(0)
    }

    async fn weights_shown(&self) -> Vec<u32> {
        self.route()
            .await
            .variants
            .iter()
            .map(|variant| variant.weight)
            .collect()
    }

    async fn rollout(&self) -> RolloutView {
        self.handle.ask(Asked::Rollouts).await.unwrap().remove(0)
    }

    async fn command(&self, verb: Verb) -> Result<RolloutView, Refusal> {
        self.command_at(verb, None).await
    }

    async fn command_at(&self, verb: Verb, generation: Option<u64>) -> Result<RolloutView, Refusal> {
        let question = |reply| Asked::Command {
            rollout: "shop".into(),
            verb,
            order: Order::default(),
            if_match: generation.map(|generation| format!("\"{generation}\"")),
            reason: "a story".into(),
            by: "alice".into(),
            reply,
        };
        self.handle.ask(question).await.unwrap()
    }

    async fn weigh(&self, weights: [u32; 2], change: impl FnOnce(&mut SetWeights)) -> Result<RouteView, Refusal> {
        let [stable, canary] = weights.map(|weight| json!(weight));
        let mut wanted = SetWeights {
            route: "shop".into(),
            weights: vec![("stable".into(), stable), ("canary".into(), canary)],
            reason: "a story".into(),
            by: "alice".into(),
            if_match: None,
            dry_run: false,
        };
        change(&mut wanted);
        let question = |reply| Asked::SetWeights(wanted, reply);
        self.handle.ask(question).await.unwrap()
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self).await {
            assert!(began.elapsed() < GENEROUS, "never: {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_phase(&self, phase: Phase) {
        let what = phase.as_str();
        self.until(what, async |stage| stage.rollout().await.phase == phase)
            .await;
    }

    /// Serves requests by `variant` of the present table, as its worker would.
    fn serve(&self, variant: usize, outcome: Outcome, requests: usize) {
        let table = self.live.table();
        let Variant { recorder, slot, .. } = &table.routes[0].variants[variant];
        let track = Track::Draw { slot: *slot };
        for _ in 0..requests {
            recorder.cell(0).dispatched(track);
            recorder.cell(0).headed(track, recorder, 1_000, 0);
            recorder.cell(0).resolved(track, outcome);
        }
    }

    fn admits(&self) -> bool {
        let table = self.live.table();
        let (breaker, _) = table.routes[0].variants[1].breaker.as_ref().unwrap();
        let admission = breaker.admit(Track::Draw { slot: 0 }, self.live.now_us());
        matches!(admission, Admission::Canary(_))
    }

    /// From now on nothing can be written, also by root.
    fn fill_disk(&self) -> PathBuf {
        let obstacle = self.directory.path().join("state/state.json.new");
        fs::create_dir(&obstacle).unwrap();
        obstacle
    }
}

fn load(file: &File) -> Result<Loaded, Vec<Entry>> {
    let spec = file.lock().unwrap().clone()?;
    let text = format!("{spec:?}");
    Ok(Loaded {
        spec,
        text,
        tokens: None,
        key_files: Arc::default(),
    })
}

fn entry(message: &str) -> Entry {
    Entry {
        place: "serin.yaml:3:1".into(),
        path: "routes".into(),
        message: message.into(),
    }
}

#[tokio::test]
async fn weights_by_hand_are_checked_in_order_and_survive_a_crash() {
    let stage = Stage::begin(|_| {});
    let tag = |generation: u64| move |wanted: &mut SetWeights| wanted.if_match = Some(format!("\"{generation}\""));
    let everything_wrong = |wanted: &mut SetWeights| {
        wanted.route = "nowhere".into();
        wanted.if_match = Some("\"0\"".into());
    };
    let refusal = stage.weigh([0, 0], everything_wrong).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NotFound(_)), "{refusal:?}");
    let refusal = stage.weigh([0, 0], tag(0)).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal:?}");
    assert_eq!(
        stage.weigh([9, 1], tag(0)).await.unwrap_err(),
        Refusal::Stale { generation: 1 }
    );
    assert_eq!(stage.weights_shown().await, [100, 0]);

    let tried = stage.weigh([9, 1], |wanted| wanted.dry_run = true).await.unwrap();
    assert_eq!(
        (tried.generation, tried.variants[1].weight, tried.variants[1].share),
        (1, 1, 0.1)
    );
    assert_eq!(tried.rollout.unwrap().1, Phase::Watching);
    assert_eq!(
        (stage.weights_shown().await, stage.status().await.generation),
        (vec![100, 0], 1)
    );

    assert_eq!(stage.weigh([9, 1], tag(1)).await.unwrap().generation, 2);
    assert_eq!(stage.live.table().generation, 2);
    let any = |wanted: &mut SetWeights| wanted.if_match = Some("*".into());
    assert_eq!(stage.weigh([8, 2], any).await.unwrap().generation, 3);
    let stage = stage.crash().await;
    assert_eq!(
        (stage.weights_shown().await, stage.rollout().await.phase),
        (vec![8, 2], Phase::Watching)
    );
    assert_eq!(stage.status().await.generation, 103);
    stage.command(Verb::Start).await.unwrap();
    let refusal = stage.weigh([9, 1], |_| {}).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Conflict(_)), "{refusal:?}");
    assert_eq!(stage.restart().await.status().await.generation, 105);
}

#[tokio::test]
async fn who_names_a_generation_directs_that_one_only() {
    let stage = Stage::begin(|_| {});
    let stale = stage.command_at(Verb::Start, Some(7)).await.unwrap_err();
    assert_eq!(stale, Refusal::Stale { generation: 1 });
    stage.command_at(Verb::Start, Some(1)).await.unwrap();
    let stale = stage.command_at(Verb::Abort, Some(1)).await.unwrap_err();
    assert_eq!(stale, Refusal::Stale { generation: 2 });
    stage.command_at(Verb::Abort, None).await.unwrap();
}

#[tokio::test]
async fn a_canary_that_fails_loses_everything_and_says_why() {
    let stage = Stage::begin(|_| {});
    let (_, mut events) = stage.handle.ask(|reply| Asked::Events(None, reply)).await.unwrap();
    stage.command(Verb::Start).await.unwrap();
    assert_eq!(
        (stage.weights_shown().await, stage.admits()),
        (vec![950_000, 50_000], true)
    );
    let verdict = stage.rollout().await.verdict.expect("judged from the start");
    assert_eq!(verdict.kind.as_str(), "inconclusive");
    stage.serve(0, Outcome::Success, 1000);
    stage.serve(1, Outcome::Success, 100);
    stage.serve(1, Outcome::Failure, 20);
    stage.live.ring();
    stage.until_phase(Phase::Aborted).await;
    assert_eq!(
        (stage.weights_shown().await, stage.admits()),
        (vec![1_000_000, 0], false)
    );
    let rollout = stage.rollout().await;
    assert!(rollout.reason.contains("errorRate"), "{}", rollout.reason);
    let last = rollout.history.last().unwrap();
    assert_eq!(
        (last.kind, last.by.as_str(), last.to.as_str()),
        ("rollout", "serin", "aborted")
    );
    let verdict = last.verdict.as_ref().unwrap();
    assert_eq!(verdict.evidence.canary.failures, 20);
    assert!(verdict.evidence.proof.is_some(), "it can be recomputed");
    let metrics = stage.metrics().await;
    assert_eq!(metrics.rollbacks[0].1, "errorRateRatio", "stable did not fail once");
    assert_eq!((metrics.rollbacks[0].2, metrics.rollouts[0].phase), (1, Phase::Aborted));
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.push(event.kind);
    }
    let [first, verdicts @ .., last] = kinds.as_slice() else {
        panic!("{kinds:?}")
    };
    assert_eq!((*first, *last), ("rollout", "rollout"));
    assert!(
        !verdicts.is_empty() && verdicts.iter().all(|kind| *kind == "verdict"),
        "{kinds:?}"
    );

    // Neither a crash nor the file brings it back; a person does, and then it is judged anew.
    let stage = stage.crash().await;
    stage.edit(|spec| weigh(spec, 0, [50, 50]));
    assert!(stage.reload().await.ok);
    assert_eq!(
        (stage.weights_shown().await, stage.admits()),
        (vec![1_000_000, 0], false)
    );
    assert_eq!(stage.status().await.kept.len(), 1);
    stage.command(Verb::Retry).await.unwrap();
    assert_eq!(
        (stage.weights_shown().await, stage.admits()),
        (vec![950_000, 50_000], true)
    );
}

#[tokio::test]
async fn a_canary_that_is_well_is_promoted_step_by_step() {
    let stage = Stage::begin(|spec| spec.rollouts[0].plan = plan(&[(50_000, 0), (250_000, 0), (1_000_000, 0)]));
    stage.command(Verb::Start).await.unwrap();
    for step in 0..2 {
        stage
            .until("the step", async |stage| stage.rollout().await.step == Some(step))
            .await;
        let slot = stage.live.table().routes[0].variants[1].slot;
        assert!(
            stage
                .rollout()
                .await
                .verdict
                .is_none_or(|verdict| verdict.kind.as_str() != "fail")
        );
        stage.serve(1, Outcome::Success, CLEAN);
        stage
            .until("another epoch", async |stage| {
                stage.live.table().routes[0].variants[1].slot != slot
            })
            .await;
    }
    stage.until_phase(Phase::Succeeded).await;
    assert_eq!(stage.weights_shown().await, [0, 1_000_000]);
    let stats = stage.route().await.variants[1].stats;
    assert_eq!((stats.requests, stats.error_rate), (2 * CLEAN as u64, Some(0.0)));
}

#[tokio::test]
async fn without_a_disk_people_are_refused_and_an_abort_happens_all_the_same() {
    let stage = Stage::begin(|_| {});
    stage.command(Verb::Start).await.unwrap();
    let before = stage.status().await.generation;
    let obstacle = stage.fill_disk();
    let refusal = stage.command(Verb::Pause).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
    assert_eq!(
        (stage.rollout().await.phase, stage.status().await.generation),
        (Phase::Progressing, before)
    );
    // The rollout itself holds, too, and says so.
    stage.edit(|spec| spec.rollouts[0].plan = plan(&[(50_000, 0), (1_000_000, 0)]));
    assert!(stage.reload().await.ok, "the file needs no disk of ours");
    stage.serve(1, Outcome::Success, CLEAN);
    stage
        .until("a verdict", async |stage| {
            stage
                .rollout()
                .await
                .verdict
                .is_some_and(|verdict| verdict.kind.as_str() == "pass")
        })
        .await;
    let rollout = stage.rollout().await;
    assert_eq!(
        (rollout.step, rollout.reason.contains("held")),
        (Some(0), true),
        "{}",
        rollout.reason
    );

    let aborted = stage.command(Verb::Abort).await.unwrap();
    assert_eq!(aborted.phase, Phase::Aborted);
    let told = aborted.history.last().unwrap();
    let beside = told.verdict.as_ref().expect("what was said at that moment");
    assert_eq!((told.by.as_str(), beside.kind.as_str()), ("alice", "pass"));
    assert_eq!(beside.evidence.canary.requests, CLEAN as u64);
    assert_eq!(stage.metrics().await.rollbacks[0].1, "manual");
    assert!(!stage.admits());
    assert!(stage.status().await.state_problem.is_some());
    fs::remove_dir(obstacle).unwrap();
    stage
        .until("durable", async |stage| stage.status().await.state_problem.is_none())
        .await;
    assert_eq!(stage.crash().await.rollout().await.phase, Phase::Aborted);
}

#[tokio::test]
async fn who_only_observes_is_told_and_moves_nothing() {
    let stage = Stage::begin(|spec| {
        spec.rollouts[0].observe = true;
        spec.rollouts[0].in_flight_max = Some(1);
        spec.rollouts[0].analysis.failed_requests = Some(1);
    });
    let (_, mut events) = stage.handle.ask(|reply| Asked::Events(None, reply)).await.unwrap();
    stage.command(Verb::Start).await.unwrap();
    stage.serve(0, Outcome::Success, 1000);
    stage.serve(1, Outcome::Failure, 100);
    let says = async |stage: &Stage, words: &str| {
        let verdict = stage.rollout().await.verdict;
        verdict.is_some_and(|verdict| verdict.reason.starts_with(words))
    };
    stage
        .until("it would abort", async |stage| says(stage, "would abort: ").await)
        .await;
    assert_eq!(
        (stage.rollout().await.phase, stage.weights_shown().await),
        (Phase::Progressing, vec![950_000, 50_000])
    );
    assert!(stage.admits() && stage.admits(), "nothing is bounded");
    let told = loop {
        let event = events.try_recv().expect("it is told");
        if event.to == "fail" {
            break event;
        }
    };
    assert!(told.reason.starts_with("would abort: "), "{}", told.reason);
    assert!(stage.metrics().await.rollbacks.is_empty());
    assert_eq!(stage.command(Verb::Abort).await.unwrap().phase, Phase::Aborted);
    assert!(!stage.admits());
}

#[tokio::test]
async fn a_budget_bounds_failures_while_nobody_looks() {
    let stage = Stage::begin(|spec| spec.rollouts[0].analysis.failed_requests = Some(3));
    assert!(stage.admits(), "nothing is bounded before it begins");
    stage.command(Verb::Start).await.unwrap();
    assert!(stage.admits(), "the grant comes with the start");
    let table = stage.live.table();
    let (breaker, _) = table.routes[0].variants[1].breaker.clone().unwrap();
    // No await in between: control does not run.
    for _ in 0..3 {
        assert!(stage.admits());
        breaker.take_failure();
    }
    assert!(!stage.admits());
    // Control judges: the recorder knows of no failure, so nothing of the budget is spent.
    stage.until("it has judged", async |stage| stage.admits()).await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let stage = Stage::begin(|_| {});
    let good = stage.file.lock().unwrap().clone();
    *stage.file.lock().unwrap() = Err(vec![entry("bad"), entry("worse")]);
    let view = stage.reload().await;
    assert_eq!((view.ok, view.problems.len()), (false, 2));
    let status = stage.status().await;
    assert_eq!((status.generation, status.last_reload.ok), (1, false));
    // The reading at the start may have come late and met the bad file, too.
    let metrics = stage.metrics().await;
    assert!(
        metrics.reloads_ok == 1 && (1..=2).contains(&metrics.reloads_failed),
        "{metrics:?}"
    );

    *stage.file.lock().unwrap() = good;
    assert!(stage.reload().await.ok);
    assert_eq!(stage.status().await.generation, 1, "the same file is no change");
    stage.edit(|spec| spec.listeners.push(listener("second")));
    let view = stage.reload().await;
    assert!(view.problems[0].message.contains("restart to change it"), "{view:?}");
    assert_eq!(stage.live.table().generation, 1);
}

#[tokio::test]
async fn a_changed_file_is_read_without_being_asked() {
    let stage = Stage::begin(|_| {});
    stage.edit(|spec| weigh(spec, 0, [70, 30]));
    fs::write(stage.directory.path().join("serin.yaml"), "changed").unwrap();
    stage
        .until("live", async |stage| stage.weights_shown().await == [70, 30])
        .await;
    assert_eq!(stage.rollout().await.phase, Phase::Watching);
}

#[tokio::test]
async fn a_state_directory_has_one_control() {
    let stage = Stage::begin(|_| {});
    let second = Stage::begin_in(Arc::clone(&stage.directory), Arc::clone(&stage.file));
    let refusal = second.err().expect("it is held");
    assert!(
        matches!(refusal, StartError::State(StateError::Locked { .. })),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_table_is_freed_when_nobody_reads_it_any_more() {
    let stage = Stage::begin(|_| {});
    let reader = stage.live.table();
    let old = Arc::downgrade(&reader);
    stage.weigh([9, 1], |_| {}).await.unwrap();
    assert!(old.upgrade().is_some(), "it is still read");
    drop(reader);
    stage.until("freed", async |_| old.upgrade().is_none()).await;
}

#[tokio::test]
async fn followers_hear_every_change_after_the_one_they_saw_last() {
    let stage = Stage::begin(|_| {});
    stage.weigh([9, 1], |_| {}).await.unwrap();
    let (past, mut live) = stage.handle.ask(|reply| Asked::Events(Some(0), reply)).await.unwrap();
    let changes = past.iter().filter(|event| event.kind != "verdict");
    let kinds: Vec<_> = changes.map(|event| event.kind).collect();
    assert_eq!(kinds, ["start", "rollout", "weights"]);
    stage.command(Verb::Abort).await.unwrap();
    let heard = tokio::time::timeout(GENEROUS, async {
        loop {
            let event = live.recv().await.unwrap();
            if event.kind == "rollout" {
                break event;
            }
        }
    });
    let event = heard.await.unwrap();
    assert_eq!((event.by.as_str(), event.to.as_str()), ("alice", "aborted"));
    assert!(event.id > past.last().unwrap().id);
    assert_eq!(stage.metrics().await.rollbacks[0].1, "manual");
}

mod errands {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{GENEROUS, Stage};
    use crate::control::errands::{Reporter, Task, Word};
    use crate::rollout::{Errand, Moment, Needs, OnFailure, Phase, Plan, Smoke, Step, Verb, Webhook};

    fn webhook(on_failure: OnFailure) -> Arc<Webhook> {
        Arc::new(Webhook {
            name: "gate".into(),
            moment: Moment::Gate,
            url: "http://127.0.0.1:9/".into(),
            headers: Vec::new(),
            metadata: Vec::new(),
            timeout: Duration::from_secs(1),
            retries: 0,
            interval: Duration::from_secs(1),
            on_failure,
        })
    }

    fn smoke() -> Errand {
        Errand::Smoke(Smoke {
            checks: Vec::new(),
            attempts: 1,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            endpoints: None,
        })
    }

    /// One errand at weight 0, and then 50 %.
    fn begin(errand: Errand) -> Stage {
        Stage::begin(|spec| {
            let steps = vec![
                Step::new(0, Needs::Errand(Arc::new(errand))),
                Step::weigh(500_000, Duration::from_secs(3_600)),
                Step::weigh(1_000_000, Duration::ZERO),
            ];
            spec.rollouts[0].plan = Plan::new(steps).unwrap();
            spec.rollouts[0].on_rollback = vec![webhook(OnFailure::GoOn)];
        })
    }

    impl Stage {
        async fn errand(&mut self) -> (Task, Reporter) {
            let begun = tokio::time::timeout(GENEROUS, self.errands.recv()).await;
            begun.expect("an errand begins").expect("control runs")
        }

        async fn until_step(&self, step: usize) {
            let what = format!("step {step}");
            self.until(&what, async |stage| stage.rollout().await.step == Some(step))
                .await;
        }
    }

    #[tokio::test]
    async fn a_step_waits_for_its_errand() {
        let mut stage = begin(Errand::Webhook(webhook(OnFailure::Pause).as_ref().clone()));
        stage.command(Verb::Start).await.unwrap();
        let (task, reporter) = stage.errand().await;
        assert_eq!(
            (task.endpoints.as_slice(), task.payload.step),
            (&["127.0.0.1:9".to_owned()][..], Some(1))
        );
        assert_eq!(task.payload.reason, "started: step 1 of 3 (0 %, webhook): a story");
        reporter.tell_news("403 not yet".into());
        let waiting = "webhook gate: 403 not yet";
        stage
            .until(waiting, async |stage| {
                stage.rollout().await.course.waiting.as_deref() == Some(waiting)
            })
            .await;
        reporter.tell(Word::Done).await;
        stage.until_step(1).await;
        // What it says now is of a step that is over.
        reporter.tell(Word::Failed("too late".into())).await;
        assert_eq!(stage.rollout().await.phase, Phase::Progressing);
    }

    #[tokio::test]
    async fn an_errand_that_fails_does_what_it_was_told() {
        let check = async |errand: Errand, expected: Phase, share: f64| {
            let mut stage = begin(errand);
            stage.command(Verb::Start).await.unwrap();
            let (_, reporter) = stage.errand().await;
            reporter.tell(Word::Failed("no answer".into())).await;
            stage
                .until(expected.as_str(), async |stage| {
                    let view = stage.rollout().await;
                    (view.phase, view.share) == (expected, share)
                })
                .await;
            stage
        };
        let of = |on_failure| Errand::Webhook(webhook(on_failure).as_ref().clone());
        check(of(OnFailure::GoOn), Phase::Progressing, 0.5).await;
        check(of(OnFailure::Abort), Phase::Aborted, 0.0).await;
        let mut paused = check(of(OnFailure::Pause), Phase::Paused, 0.0).await;
        assert!(paused.rollout().await.reason.contains("no answer; resume to ask again"));
        paused.command(Verb::Resume).await.unwrap();
        paused.errand().await.1.tell(Word::Done).await;
        paused.until_step(1).await;
        // An abort is told to whoever wants to know.
        let mut aborted = check(smoke(), Phase::Aborted, 0.0).await;
        let (task, _) = aborted.errand().await;
        assert!(matches!(&*task.errand, Errand::Webhook(hook) if hook.name == "gate"));
        assert!(task.payload.reason.contains("no answer"), "{}", task.payload.reason);
    }

    #[tokio::test]
    async fn a_restart_asks_again_and_a_pause_asks_nobody() {
        let mut stage = begin(smoke());
        stage.command(Verb::Start).await.unwrap();
        let (_, before) = stage.errand().await;
        let mut stage = stage.crash().await;
        let (_, reporter) = stage.errand().await;
        drop(before);
        stage.command(Verb::Pause).await.unwrap();
        reporter.tell(Word::Done).await;
        assert_eq!(stage.rollout().await.phase, Phase::Paused);
        stage.command(Verb::Resume).await.unwrap();
        stage.errand().await.1.tell(Word::Done).await;
        stage.until_step(1).await;
    }
}
