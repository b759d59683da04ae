//! What the log says of a happening: one line, with the figures of the verdict beside it.

use super::journal::{Happening, Kind, REFUSED, WOULD_ABORT};
use crate::analysis::{Metric, SideEvidence, Verdict};
use crate::name::Name;

/// The figures of a verdict as fields of a line; what is not known is left out of it.
#[derive(Default)]
struct Figures {
    verdict: Option<&'static str>,
    metric: Option<&'static str>,
    level: Option<&'static str>,
    limit: Option<f64>,
    window_ms: Option<u64>,
    canary: SideFigures,
    stable: SideFigures,
    statistic: Option<f64>,
    statistic_level: Option<f64>,
}

/// Those of one side.
#[derive(Default)]
struct SideFigures {
    requests: Option<u64>,
    failures: Option<u64>,
    error_rate: Option<f64>,
    slow_share: Option<f64>,
    bad: Option<u64>,
    all: Option<u64>,
    share: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

/// A line with the figures of a verdict in front of its own fields and words.
macro_rules! line {
    ($level:ident, $figures:expr, $($rest:tt)*) => {{
        let Figures { canary, stable, .. } = &$figures;
        tracing::$level!(
            verdict = $figures.verdict,
            metric = $figures.metric,
            level = $figures.level,
            limit = $figures.limit,
            window_ms = $figures.window_ms,
            requests = canary.requests,
            failures = canary.failures,
            error_rate = canary.error_rate,
            slow_share = canary.slow_share,
            bad = canary.bad,
            all = canary.all,
            share = canary.share,
            low = canary.low,
            high = canary.high,
            stable_error_rate = stable.error_rate,
            stable_bad = stable.bad,
            stable_all = stable.all,
            stable_share = stable.share,
            stable_low = stable.low,
            stable_high = stable.high,
            statistic = $figures.statistic,
            statistic_level = $figures.statistic_level,
            $($rest)*
        )
    }};
}

impl Happening {
    /// One line in the log, a warning for aborts, also for those that would be, and an error for
    /// refused files. Verdicts that changed nothing are for those who debug.
    pub(super) fn log(&self, generation: u64) {
        let Self {
            kind,
            by,
            from,
            to,
            reason,
            ..
        } = self;
        let route = self.route.as_ref().map(Name::as_str);
        let rollout = self.rollout.as_ref().map(Name::as_str);
        let flag = self.flag();
        let figures = self.verdict.as_ref().map(Figures::from).unwrap_or_default();
        match kind {
            Kind::Rollout if self.is_abort() => line!(
                warn,
                figures,
                rollout,
                route,
                by,
                from,
                generation,
                reason,
                "aborted: the canary gets nothing"
            ),
            Kind::Verdict if reason.starts_with(WOULD_ABORT) => {
                line!(warn, figures, rollout, route, from, to, reason, "only observed")
            }
            Kind::Verdict => line!(debug, figures, rollout, route, from, to, reason, "verdict"),
            Kind::Return => tracing::info!(rollout, route, from, to, generation, reason, "endpoints are back"),
            Kind::Approval => tracing::info!(rollout, route, by, from, to, generation, reason, "approved"),
            Kind::Freeze => tracing::warn!(by, from, to, generation, reason, "freeze"),
            Kind::Flag => tracing::warn!(flag, route, by, from, to, generation, reason, "flag"),
            Kind::Rollout => line!(
                info,
                figures,
                rollout,
                route,
                by,
                from,
                to,
                generation,
                reason,
                "rollout moved"
            ),
            Kind::Weights => line!(
                info,
                figures,
                flag,
                route,
                rollout,
                by,
                from,
                to,
                generation,
                reason,
                "weights changed"
            ),
            Kind::Reload if to == REFUSED => tracing::error!(by, generation, "configuration refused: {reason}"),
            Kind::Reload => tracing::info!(by, generation, "configuration {to}: {reason}"),
            Kind::Start | Kind::Stop => tracing::info!(generation, "{reason}"),
        }
    }

    /// The flag that it is about, where that is called otherwise than its route.
    fn flag(&self) -> Option<&str> {
        let (_, flag) = self.facts.iter().find(|(name, _)| *name == "flag")?;
        let is_route = self.route.as_ref().is_some_and(|route| route.as_str() == flag);
        (!is_route).then_some(flag.as_str())
    }
}

impl From<&Verdict> for Figures {
    fn from(verdict: &Verdict) -> Self {
        let evidence = &verdict.evidence;
        Self {
            verdict: Some(verdict.kind.as_str()),
            metric: verdict.metric.map(Metric::as_str),
            level: evidence.against.map(|against| against.level.as_str()),
            limit: evidence.against.map(|against| against.limit),
            window_ms: Some(evidence.window_ms),
            canary: SideFigures::from(&evidence.canary),
            stable: evidence.stable.as_ref().map(SideFigures::from).unwrap_or_default(),
            statistic: evidence.statistic.map(|statistic| statistic.value),
            statistic_level: evidence.statistic.map(|statistic| statistic.level),
        }
    }
}

impl From<&SideEvidence> for SideFigures {
    fn from(side: &SideEvidence) -> Self {
        let measured = side.measured;
        Self {
            requests: Some(side.requests),
            failures: Some(side.failures),
            error_rate: side.error_rate,
            slow_share: side.slow_share,
            bad: measured.map(|measured| measured.bad),
            all: measured.map(|measured| measured.all),
            share: measured.map(|measured| measured.share),
            low: measured.map(|measured| measured.low),
            high: measured.map(|measured| measured.high),
        }
    }
}
