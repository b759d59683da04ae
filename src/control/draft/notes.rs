//! What is told of changes that are no moves of a rollout: approvals, freezes, endpoints that are back. Pure.

use super::Draft;
use crate::control::journal::{Happening, Kind};
use crate::control::standing::Freeze;
use crate::rollout::Approval;

impl Draft<'_> {
    /// Tells that the weights on `route` are others than `from`.
    pub(in crate::control) fn tell_weights(&mut self, route: usize, from: String, why: &str) {
        let happening = self.ground.weights_happening(route, from, why.to_owned(), self.wish);
        self.happenings.push(happening);
    }

    /// The last move began a trial: it says of what.
    pub(in crate::control) fn tell_trial(&mut self, index: usize) {
        let spec = self.ground.spec.clone();
        let rollout = &spec.rollouts[index];
        let variants = &spec.routes[rollout.route].variants;
        let (from, to) = self.ground.pair(index);
        let commit_ms = self.commit_ms.or(spec.backends[variants[to].backend].commit_ms);
        let standing = self.ground.rollout_mut(index);
        standing.commit_ms = commit_ms;
        let mut facts = vec![
            ("direction", format!("{} to {}", variants[from].name, variants[to].name)),
            ("trial", (standing.trial + 1).to_string()),
        ];
        facts.extend(commit_ms.map(|ms| ("commitTime", ms.to_string())));
        let mut moves = self.happenings.iter_mut().rev();
        if let Some(happening) = moves.find(|happening| happening.kind == Kind::Rollout) {
            happening.facts.extend(facts);
        }
    }

    /// A batch of former endpoints is well, and takes requests again.
    pub(in crate::control) fn take_back(&mut self, index: usize) {
        let rollout = &self.ground.spec.rollouts[index];
        let (route, name) = (rollout.route, rollout.name.clone());
        let standing = self.ground.rollout_mut(index);
        let before = standing.returning;
        standing.returning = standing.plan.out_before(before);
        let words = |out: u32| match out {
            0 => "all former endpoints serve".to_owned(),
            out => format!("{out} former endpoints are out"),
        };
        let (from, to) = (words(before), words(standing.returning));
        self.happenings.push(Happening {
            kind: Kind::Return,
            by: self.wish.by.to_owned(),
            route: Some(self.ground.spec.routes[route].name.clone()),
            rollout: Some(name),
            from,
            to,
            reason: "they answer again as they should".to_owned(),
            facts: Vec::new(),
            seq: None,
            decided: false,
            verdict: None,
        });
    }

    /// Somebody approves the gate that the rollout stands at.
    pub(in crate::control) fn approve(&mut self, index: usize, approval: Approval, missing: [String; 2]) {
        let rollout = &self.ground.spec.rollouts[index];
        let [from, to] = missing;
        let step = self.ground.rollout(index).state.step().map_or(0, |step| step + 1);
        let happening = Happening {
            kind: Kind::Approval,
            by: self.wish.by.to_owned(),
            route: Some(self.ground.spec.routes[rollout.route].name.clone()),
            rollout: Some(rollout.name.clone()),
            from,
            to,
            reason: self.wish.words("approved".to_owned()),
            facts: vec![
                ("step", step.to_string()),
                ("roles", approval.roles.join(" ")),
                ("approvedGeneration", approval.generation.to_string()),
            ],
            seq: None,
            decided: false,
            verdict: None,
        };
        let approvals = &mut self.ground.rollout_mut(index).approvals;
        approvals.retain(|other| other.by != approval.by);
        approvals.push(approval);
        self.happenings.push(happening);
    }

    /// Nothing moves forward from now on, or may again.
    pub(in crate::control) fn freeze(&mut self, frozen: bool) {
        let words = |frozen: bool| if frozen { "frozen" } else { "not frozen" }.to_owned();
        let before = self.ground.standing.frozen.is_some();
        self.ground.standing.frozen = frozen.then(|| Freeze {
            by: self.wish.by.to_owned(),
            reason: self.wish.reason.to_owned(),
            since_ms: self.now_ms,
        });
        self.happenings.push(Happening {
            kind: Kind::Freeze,
            by: self.wish.by.to_owned(),
            route: None,
            rollout: None,
            from: words(before),
            to: words(frozen),
            reason: self.wish.words(
                if frozen {
                    "nothing moves forward"
                } else {
                    "rollouts may move forward"
                }
                .to_owned(),
            ),
            facts: Vec::new(),
            seq: None,
            decided: false,
            verdict: None,
        });
    }
}
