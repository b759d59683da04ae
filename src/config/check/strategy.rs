//! A strategy as a plan: which keys go with it, its parts, and what follows success.

use std::sync::Arc;
use std::time::Duration;

use super::rollouts::Ground;
use super::steps::{Part, Walk};
use super::weave::weave;
use super::webhooks::{WebhookNames, webhook};
use super::{gates, rolling};
use crate::config::file::{self, OnSuccess, Strategy};
use crate::config::read::{Reader, Slot};
use crate::rollout::{After, Moment, Plan, Step, Webhook, Window};
use crate::share::MILLION;

/// How a rollout goes.
pub(super) struct Course {
    /// When it may move forward; `None`: at any time.
    pub(super) window: Option<Window>,
    /// Its steps, and what follows success.
    pub(super) plan: Plan,
    /// Called after an abort or a rollback.
    pub(super) on_rollback: Vec<Arc<Webhook>>,
}

/// The course of `written`; `None` when it does not come about, which is then reported.
pub(super) fn course<'f>(written: &'f file::Rollout, ground: &Ground<'f>, reader: &mut Reader<'_>) -> Option<Course> {
    let strategy = written.strategy.known_or(Strategy::Canary);
    if let Some(strategy) = strategy {
        check_keys(written, strategy, reader);
    }
    let mut names = WebhookNames::default();
    let webhooks: Vec<_> = written
        .webhooks
        .items()
        .map(|slot| webhook(slot, &mut names, reader))
        .collect();
    let people = ground
        .file
        .admin
        .get()
        .map_or(!ground.file.admin.left_out, |admin| !admin.tokens_file.left_out);
    let window = gates::window(&written.window);
    // Under a strategy that is not known, any part may stand.
    let walk_as = strategy.unwrap_or(Strategy::Canary);
    let parts = Walk::new(walk_as, people, window.as_ref(), &mut names).parts(&written.steps, reader);
    let parts = match strategy? {
        Strategy::Canary => parts,
        Strategy::BlueGreen => parts.and_then(|parts| switch(parts, &written.steps, reader)),
        Strategy::Rolling => {
            let batches = rolling::batches(written, ground, reader);
            parts.and_then(|mut parts| {
                parts.extend(batches?);
                Some(parts)
            })
        }
    };
    let is_guard = strategy == Some(Strategy::Canary) && written.steps.items().next().is_none();
    if is_guard {
        check_guard(written, reader);
    }
    let webhooks: Vec<Webhook> = webhooks.into_iter().collect::<Option<Vec<_>>>()?.concat();
    let plan = match Plan::new(weave(parts?, &webhooks)) {
        Ok(plan) => plan.followed_by(after(written)),
        Err(error) => {
            reader.refuse(written.steps.at, error.to_string());
            return None;
        }
    };
    let on_rollback = webhooks
        .into_iter()
        .filter(|webhook| webhook.moment == Moment::Rollback);
    Some(Course {
        window: match written.window.left_out {
            true => None,
            false => Some(window?),
        },
        plan,
        on_rollback: on_rollback.map(Arc::new).collect(),
    })
}

/// Keys that another strategy has.
fn check_keys(written: &file::Rollout, strategy: Strategy, reader: &mut Reader<'_>) {
    if strategy != Strategy::BlueGreen {
        for (left_out, at) in [
            (written.preview.left_out, written.preview.at),
            (written.standby.left_out, written.standby.at),
        ] {
            if !left_out {
                reader.refuse(at, "needs `strategy: blueGreen`; leave it out, or say so");
            }
        }
    }
    if strategy != Strategy::Rolling && !written.rolling.left_out {
        reader.refuse(written.rolling.at, "needs `strategy: rolling`; leave it out, or say so");
    }
    if strategy == Strategy::Rolling && !written.drain.left_out {
        reader.refuse(
            written.drain.at,
            "does not go with `strategy: rolling`, which drains batch by batch; write `rolling: { drain: 30s }`",
        );
    }
}

/// Keys that need a plan.
fn check_guard(written: &file::Rollout, reader: &mut Reader<'_>) {
    let waits = |slot: &&Slot<file::Webhook>| {
        let on = slot.get().map(|webhook| &webhook.on);
        on.is_some_and(|on| on.items().any(|on| on.value.is_some_and(|on| on != file::On::Rollback)))
    };
    let webhook = written.webhooks.items().find(waits).map(|slot| slot.at);
    for at in [
        (!written.post_promotion.left_out).then_some(written.post_promotion.at),
        (!written.rollback_window.left_out).then_some(written.rollback_window.at),
        (!written.window.left_out).then_some(written.window.at),
        (written.on_success.value == Some(OnSuccess::SwapRoles)).then_some(written.on_success.at),
        webhook,
    ]
    .into_iter()
    .flatten()
    {
        reader.refuse(at, "says nothing without a plan; give the rollout `steps`");
    }
}

/// Parts with exactly one switch; no parts at all are the switch alone.
fn switch(mut parts: Vec<Part>, list: &Slot<file::List<file::Step>>, reader: &mut Reader<'_>) -> Option<Vec<Part>> {
    if parts.is_empty() {
        parts.push(vec![Step::weigh(MILLION, Duration::ZERO)]);
    }
    // A second one is not above the first, and was refused as such.
    if parts.iter().flatten().all(|step| step.weight_ppm != MILLION) {
        reader.refuse(list.at, "never switches; add `- { setWeight: 100% }`");
        return None;
    }
    Some(parts)
}

fn after(written: &file::Rollout) -> After {
    let standby = written.standby.value.map(|limit| limit.0);
    After {
        watch: written
            .post_promotion
            .get()
            .and_then(|after| after.watch.value)
            .map_or(Duration::ZERO, |limit| limit.0),
        standby: standby.unwrap_or(Duration::ZERO),
        rollback_window: written.rollback_window.value.map(|limit| limit.0).or(standby),
        swap_roles: written.on_success.or(OnSuccess::Keep) == OnSuccess::SwapRoles,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Rollout, load};
    use crate::rollout::{Errand, Needs};

    /// The rollout of a file whose sides have three endpoints each.
    #[track_caller]
    fn rollout(text: &str) -> Rollout {
        let file = format!(
            "version: 1\n\
             admin: {{ tokensFile: tokens.yaml }}\n\
             listeners: [{{ name: l, address: 127.0.0.1:80 }}]\n\
             backends:\n\
             - {{ name: one, endpoints: [a:1, b:1, c:1] }}\n\
             - {{ name: two, endpoints: [a:2, b:2, c:2] }}\n\
             routes:\n\
             - {{ name: r, match: {{ hosts: [shop.example.com] }}, split: {{ variants: [\
             {{ name: s, backend: one, weight: 1 }}, {{ name: c, backend: two, weight: 0 }}] }} }}\n\
             rollouts:\n\
             - {{ name: r, route: r, from: s, to: c, {text} }}\n"
        );
        let mut spec = load(&file, Path::new("x.yaml"), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        spec.rollouts.remove(0)
    }

    /// One line for each step: part, percent, what it needs.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let plan = rollout(text).plan;
        let needs = |needs: &Needs| match needs {
            Needs::Evidence { bake_time } => format!("evidence {bake_time:?}"),
            Needs::Time(time) => format!("time {time:?}"),
            Needs::Person => "person".to_owned(),
            Needs::Approvals(gate) => format!("{} of {:?} in {:?}", gate.count, gate.roles, gate.expires),
            Needs::Window(window) => window.to_string(),
            Needs::Drained(time) => format!("drained {time:?}"),
            Needs::Errand(errand) => match &**errand {
                Errand::Webhook(webhook) => format!("{} {}", webhook.moment.as_str(), webhook.name),
                Errand::Smoke(smoke) => format!("smoke {}", smoke.checks[0].path),
            },
        };
        let found: Vec<String> = plan
            .steps()
            .iter()
            .map(|step| format!("{} {}% {}", step.part, step.weight_ppm / 10_000, needs(&step.needs)))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_canary_goes_part_by_part() {
        check(
            "webhooks: [{ name: load, on: beforeStart, url: 'http://h/' }, { name: each, on: [beforeStep, onRollback], \
             url: 'http://h/' }, { name: last, on: beforePromotion, url: 'http://h/' }], steps: [\
             { gate: { approvals: { roles: [releaseManager, sre], expires: 1h } } }, \
             { smoke: { path: /health } }, { setWeight: 5%, bakeTime: 2h }, { pause: { duration: 10m } }, { pause: {} }, \
             { ramp: { to: 15%, over: 2s } }, { gate: { webhook: { name: ask, url: 'http://h/' } } }, \
             { setWeight: 100%, bakeTime: 10m }, { analysis: { duration: 1m } }, \
             { gate: { window: { days: [mon], from: '09:00', to: '17:00' } } }]",
            &[
                "0 0% beforeStart load",
                "0 0% 2 of [\"releaseManager\", \"sre\"] in 3600s",
                "1 0% beforeStep each",
                "1 0% smoke /health",
                "2 0% beforeStep each",
                "2 5% evidence 7200s",
                "3 5% beforeStep each",
                "3 5% time 600s",
                "4 5% beforeStep each",
                "4 5% person",
                "5 5% beforeStep each",
                "5 10% evidence 1s",
                "5 15% evidence 1s",
                "6 15% beforeStep each",
                "6 15% gate ask",
                "7 15% beforeStep each",
                "7 15% beforePromotion last",
                "7 100% evidence 600s",
                "8 100% beforeStep each",
                "8 100% evidence 60s",
                "9 100% beforeStep each",
                "9 100% mon from 09:00 to 17:00 UTC",
            ],
        );
    }

    #[test]
    fn blue_green_switches_once() {
        check("strategy: blueGreen", &["0 100% evidence 0ns"]);
        check(
            "strategy: blueGreen, webhooks: [{ name: last, on: beforePromotion, url: 'http://h/' }], steps: [\
             { smoke: { path: / } }, { gate: { approvals: {} } }, { setWeight: 100%, bakeTime: 10m }, { pause: {} }]",
            &[
                "0 0% smoke /",
                "1 0% 1 of [] in 86400s",
                "2 0% beforePromotion last",
                "2 100% evidence 600s",
                "3 100% person",
            ],
        );
    }

    #[test]
    fn rolling_goes_batch_by_batch() {
        check(
            "strategy: rolling",
            &[
                "0 25% evidence 0ns",
                "1 33% drained 30s",
                "1 50% evidence 0ns",
                "2 66% drained 30s",
                "2 75% evidence 0ns",
                "2 100% drained 30s",
            ],
        );
        check(
            "strategy: rolling, webhooks: [{ name: each, on: beforeStep, url: 'http://h/' }], \
             rolling: { maxSurge: 50%, bakeTime: 1m, drain: 5s, health: { path: /up } }, steps: [{ pause: {} }]",
            &[
                "0 0% person",
                "1 0% beforeStep each",
                "1 0% smoke /up",
                "1 40% evidence 60s",
                "2 40% beforeStep each",
                "2 66% drained 5s",
                "2 66% smoke /up",
                "2 75% evidence 60s",
                "2 100% drained 5s",
            ],
        );
    }

    #[test]
    fn what_follows_success_is_part_of_the_plan() {
        let after = |text: &str| {
            let after = rollout(&format!("{text} steps: [{{ setWeight: 100% }}]")).plan.after;
            let seconds = |time: std::time::Duration| time.as_secs();
            let window = after.rollback_window.map(seconds);
            (seconds(after.watch), seconds(after.standby), window, after.swap_roles)
        };
        assert_eq!(after(""), (0, 0, None, false));
        assert_eq!(
            after("postPromotion: { watch: 1m }, rollbackWindow: 2m, onSuccess: swapRoles,"),
            (60, 0, Some(120), true)
        );
        assert_eq!(after("strategy: blueGreen, standby: 5m,"), (0, 300, Some(300), false));
        assert_eq!(
            after("strategy: blueGreen, standby: 5m, rollbackWindow: 10m,"),
            (0, 300, Some(600), false)
        );
    }

    #[test]
    fn the_rest_arrives() {
        let found = rollout(
            "strategy: blueGreen, drain: { after: 30s }, window: { days: [fri], from: '22:00', to: '04:00', zone: UTC }, \
             preview: { host: P.example.com, header: { name: X-Preview, exact: 'true' } }, \
             webhooks: [{ name: told, on: onRollback, url: 'https://h/x?y', headers: { X-A: b }, metadata: { Team: a }, \
             timeout: 1s, retries: 0, interval: 2s, onFailure: goOn }]",
        );
        assert_eq!(found.drain.map(|drain| drain.as_secs()), Some(30));
        assert_eq!(found.window.unwrap().to_string(), "fri from 22:00 to 04:00 UTC");
        let preview = found.preview.unwrap();
        assert_eq!(
            (preview.hosts, preview.header.unwrap().name),
            (vec!["p.example.com".to_owned()], "x-preview".to_owned())
        );
        let webhook = &found.on_rollback[0];
        assert_eq!((webhook.name.as_str(), webhook.url.as_str()), ("told", "https://h/x?y"));
        assert_eq!(webhook.headers, [("x-a".to_owned(), "b".to_owned())]);
        assert_eq!(webhook.metadata, [("Team".to_owned(), "a".to_owned())]);
        assert_eq!(
            (webhook.timeout.as_secs(), webhook.retries, webhook.interval.as_secs()),
            (1, 0, 2)
        );
        assert_eq!(webhook.on_failure, crate::rollout::OnFailure::GoOn);
    }

    #[test]
    fn a_check_of_a_smoke_test_arrives() {
        let text = "steps: [{ smoke: { attempts: 2, interval: 1s, timeout: 3s, checks: [{ path: /a }, \
                    { method: POST, path: '/b?c', host: shop.example.com, headers: { X-A: b }, body: '{}', \
                    status: [200, 3xx], expectHeaders: { Content-Type: ^text/ }, expectBody: ok, maxLatency: 500ms }] } }, \
                    { setWeight: 100% }]";
        let plan = rollout(text).plan;
        let Needs::Errand(errand) = &plan.steps()[0].needs else {
            panic!("it is an errand")
        };
        let Errand::Smoke(smoke) = &**errand else {
            panic!("it is a smoke test")
        };
        assert_eq!(
            (smoke.attempts, smoke.interval.as_secs(), smoke.timeout.as_secs()),
            (2, 1, 3)
        );
        let [short, long] = smoke.checks.as_slice() else {
            panic!("there are two")
        };
        assert_eq!((short.method.as_str(), short.path.as_str()), ("GET", "/a"));
        assert_eq!(short.statuses, [(200, 299)]);
        assert_eq!((long.method.as_str(), long.path.as_str()), ("POST", "/b?c"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(long.headers, [pair("x-a", "b"), pair("host", "shop.example.com")]);
        assert_eq!(long.statuses, [(200, 200), (300, 399)]);
        assert_eq!(long.answer_headers, [pair("content-type", "^text/")]);
        assert_eq!(
            (long.body.as_deref(), long.answer_body.as_deref()),
            (Some("{}"), Some("ok"))
        );
        assert_eq!(long.latency_max.map(|limit| limit.as_millis()), Some(500));
    }
}
