//! What a person writes about a rollout: the pair, its strategy, its budget, and what follows success.

use serde_json::Value as Json;

use super::analysis::Analysis;
use super::errands::{Smoke, Webhook};
use super::steps::{Step, Window};
use super::{HeaderCondition, List};
use crate::config::declare::{record, word_schema, words};
use crate::config::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use crate::config::scalar::{Count, Portion};
use crate::config::schema::Defs;
use crate::config::tree::NodeId;
use crate::config::units::Limit;
use crate::name::Name;
use crate::route::HostMatch;

record! {
    /// One trial of a canary. Without steps it stands guard: it takes weight away from an ill canary.
    Rollout {
        /// A name that no other rollout has.
        required "name" name: Name,
        /// The name of the route.
        required "route" route: Name,
        /// The variant that serves today.
        required "from" from: Name,
        /// The variant on trial, a neighbour of the other in the split.
        required "to" to: Name,
        /// How the canary takes over. Default: canary.
        optional "strategy" strategy: Strategy,
        /// What starts the plan. Default: manual.
        optional "autoStart" auto_start: AutoStart,
        /// Whether a verdict moves weight. Default: act.
        optional "mode" mode: Mode,
        /// What is judged, and the limits. Default: an error rate above 5% aborts, and what stable does not suffer.
        optional "analysis" analysis: Analysis,
        /// Hard bounds of what the canary may cost. Default: none.
        optional "budget" budget: Budget,
        /// When the rollout may move forward. Default: at any time.
        optional "window" window: Window,
        /// Addresses that are told of moments in the rollout, and may hold it. Default: none.
        optional "webhooks" webhooks: List<Webhook>,
        /// The plan, in rising order, up to 100%.
        optional "steps" steps: List<Step>,
        /// How endpoints are replaced; with strategy rolling.
        optional "rolling" rolling: Rolling,
        /// Which requests reach the idle side at weight 0; with strategy blueGreen. Default: none.
        optional "preview" preview: Preview,
        /// For so long the former side stands by after success; with strategy blueGreen. Default: not at all.
        optional "standby" standby: Limit,
        /// What becomes of long exchanges on a side that lost all its weight. Default: they end by themselves.
        optional "drain" drain: Drain,
        /// What happens after success. Default: nothing.
        optional "postPromotion" post_promotion: PostPromotion,
        /// For so long after success a rollback is possible. Default: the standby, else until the next start.
        optional "rollbackWindow" rollback_window: Limit,
        /// Which side serves today once the rollout has succeeded. Default: keep.
        optional "onSuccess" on_success: OnSuccess,
    }
    later []
}

words! {
    /// How the canary takes over.
    Strategy {
        /// In rising shares.
        "canary" Canary,
        /// All at once, after checks at weight 0.
        "blueGreen" BlueGreen,
        /// Endpoint by endpoint.
        "rolling" Rolling,
    }
    later []
}

words! {
    /// What starts a plan.
    AutoStart {
        /// Someone says so.
        "manual" Manual,
        /// The release of the canary's backend changed.
        "onReleaseChange" OnReleaseChange,
    }
    later []
}

words! {
    /// Whether a verdict moves weight.
    Mode {
        /// It does.
        "act" Act,
        /// It is told and shown, and moves nothing.
        "observe" Observe,
    }
    later []
}

words! {
    /// Which side serves today once a rollout has succeeded.
    OnSuccess {
        /// Roles stay as written.
        "keep" Keep,
        /// The two exchange their roles: the next start goes back the other way.
        "swapRoles" SwapRoles,
    }
    later []
}

record! {
    /// Hard bounds of what a canary may cost, enforced where requests pass.
    Budget {
        /// Failures that the canary may add beyond what stable's rate explains; then the rollout aborts. Default: no bound.
        optional "failedRequests" failed_requests: Count<1, 1_000_000>,
        /// Requests of the canary that may be open at once without a response head; more go to stable. Default: no bound.
        optional "inFlight" in_flight: Count<1, 1_000_000>,
    }
    later []
}

record! {
    /// What happens after success.
    PostPromotion {
        /// For so long the canary is judged on, and loses everything when it fails.
        required "watch" watch: Limit,
    }
    later []
}

record! {
    /// Which requests reach the idle side at weight 0; they are no evidence. At least one of the three.
    Preview {
        /// Requests to this host.
        optional "host" host: HostMatch,
        /// Requests to one of these hosts.
        optional "hosts" hosts: AtLeastOne<HostMatch>,
        /// Requests with this header.
        optional "header" header: HeaderCondition,
    }
    later []
}

record! {
    /// What becomes of long exchanges on a side that lost all its weight.
    Drain {
        /// They are cut after so long.
        required "after" after: Limit,
    }
    later []
}

record! {
    /// How the endpoints of one backend are replaced by those of the other, in the order of the file.
    Rolling {
        /// So many endpoints more than before may take requests; a share is rounded up. Default: 25%.
        optional "maxSurge" max_surge: Portion,
        /// So many endpoints fewer than before may take requests; a share is rounded down. Default: 25%.
        optional "maxUnavailable" max_unavailable: Portion,
        /// How long each batch is judged at least. Default: as soon as there is evidence.
        optional "bakeTime" bake_time: std::time::Duration,
        /// How long endpoints that were taken out are waited for. Default: 30s.
        optional "drain" drain: Limit,
        /// What new endpoints must pass before they take requests. Default: nothing.
        optional "health" health: Smoke,
    }
    later []
}
