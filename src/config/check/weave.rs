//! Parts of a plan and the webhooks between them, woven into the steps of one plan. Pure.

use std::sync::Arc;

use super::steps::Part;
use crate::rollout::{Errand, Moment, Needs, Step, Webhook};
use crate::share::MILLION;

/// The steps of `parts` in order, each with the index of its part, and before them what `webhooks` ask for:
/// those of the start first of all, those of a step before each further part, those of the promotion before the
/// part that first reaches 100 %. A webhook is called with what is in force before its part.
pub(super) fn weave(parts: Vec<Part>, webhooks: &[Webhook]) -> Vec<Step> {
    let whole = parts
        .iter()
        .position(|part| part.iter().any(|step| step.weight_ppm == MILLION));
    let mut steps: Vec<Step> = Vec::new();
    for (part, own) in parts.into_iter().enumerate() {
        let first = if part == 0 { Moment::Start } else { Moment::Step };
        let promotion = (whole == Some(part)).then_some(Moment::Promotion);
        for moment in [Some(first), promotion].into_iter().flatten() {
            for webhook in webhooks.iter().filter(|webhook| webhook.moment == moment) {
                let errand = Needs::Errand(Arc::new(Errand::Webhook(webhook.clone())));
                let before = steps.last();
                steps.push(Step {
                    part,
                    rotation: before.and_then(|step| step.rotation),
                    ..Step::new(before.map_or(0, |step| step.weight_ppm), errand)
                });
            }
        }
        steps.extend(own.into_iter().map(|step| Step { part, ..step }));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::OnFailure;
    use std::time::Duration;

    fn webhook(name: &str, moment: Moment) -> Webhook {
        Webhook {
            name: name.to_owned(),
            moment,
            url: "http://gate/".to_owned(),
            headers: Vec::new(),
            metadata: Vec::new(),
            timeout: Duration::from_secs(1),
            retries: 0,
            interval: Duration::from_secs(1),
            on_failure: OnFailure::Pause,
        }
    }

    /// Parts as lists of percents; the steps as `part:percent`, webhooks with their name.
    #[track_caller]
    fn check(parts: &[&[u32]], webhooks: &[Webhook], expected: &str) {
        let step = |percent: &u32| Step::new(percent * 10_000, Needs::Person);
        let parts = parts.iter().map(|part| part.iter().map(step).collect()).collect();
        let words = |step: Step| {
            let name = match &step.needs {
                Needs::Errand(errand) => match &**errand {
                    Errand::Webhook(webhook) => format!(" {}", webhook.name),
                    Errand::Smoke(_) => String::new(),
                },
                _ => String::new(),
            };
            format!("{}:{}{name}", step.part, step.weight_ppm / 10_000)
        };
        let woven: Vec<String> = weave(parts, webhooks).into_iter().map(words).collect();
        assert_eq!(woven.join(", "), expected);
    }

    #[test]
    fn webhooks_stand_before_their_parts() {
        let start = webhook("s", Moment::Start);
        let each = webhook("e", Moment::Step);
        let last = webhook("p", Moment::Promotion);
        check(&[&[5], &[100]], &[], "0:5, 1:100");
        check(&[&[5], &[100]], std::slice::from_ref(&start), "0:0 s, 0:5, 1:100");
        check(
            &[&[5], &[10, 20], &[100], &[100]],
            &[last, each, start],
            "0:0 s, 0:5, 1:5 e, 1:10, 1:20, 2:20 e, 2:20 p, 2:100, 3:100 e, 3:100",
        );
        check(&[&[100]], &[webhook("p", Moment::Promotion)], "0:0 p, 0:100");
        check(&[], &[webhook("s", Moment::Start)], "");
    }
}
