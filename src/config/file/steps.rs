//! What a person writes as the parts of a plan: weights, pauses, gates, tests, ramps.

use std::time::Duration;

use serde_json::Value as Json;

use super::errands::{GateWebhook, Smoke};
use crate::config::declare::{record, word_schema, words};
use crate::config::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use crate::config::scalar::{Count, Role};
use crate::config::schema::Defs;
use crate::config::tree::NodeId;
use crate::config::units::{Limit, Percent};
use crate::config::when::{TimeOfDay, Zone};

record! {
    /// One part of a plan: exactly one of setWeight, pause, gate, smoke, ramp, analysis.
    Step {
        /// What the canary gets of the two variants' weight together.
        optional "setWeight" set_weight: Percent,
        /// The least duration of a setWeight. Default: as soon as there is evidence.
        optional "bakeTime" bake_time: Duration,
        /// A rest.
        optional "pause" pause: Pause,
        /// Somebody who must agree.
        optional "gate" gate: Gate,
        /// Requests of our own that the canary must answer well.
        optional "smoke" smoke: Smoke,
        /// A weight that rises evenly.
        optional "ramp" ramp: Ramp,
        /// Judging on, at the weight in force.
        optional "analysis" analysis: Judging,
    }
    later []
}

record! {
    /// A rest.
    Pause {
        /// It is over after so long. Default: when a person resumes.
        optional "duration" duration: Limit,
    }
    later []
}

record! {
    /// A weight that rises evenly, while the canary is judged.
    Ramp {
        /// Where it begins. Default: the weight before.
        optional "from" from: Percent,
        /// Where it ends.
        required "to" to: Percent,
        /// How long it takes, 2s at least.
        required "over" over: Limit,
    }
    later []
}

record! {
    /// Judging on, at the weight in force.
    Judging {
        /// For so long at least, and until there is evidence.
        required "duration" duration: Limit,
    }
    later []
}

record! {
    /// Somebody who must agree: exactly one of approvals, webhook, window.
    Gate {
        /// People.
        optional "approvals" approvals: Approvals,
        /// A program.
        optional "webhook" webhook: GateWebhook,
        /// The time of the week.
        optional "window" window: Window,
    }
    later []
}

record! {
    /// People who must approve.
    Approvals {
        /// So many different people, one for each role at least. Default: one for each role, or 1.
        optional "count" count: Count<1, 100>,
        /// Each of these roles is held by another one of them. Default: whoever may approve.
        optional "roles" roles: AtLeastOne<Role>,
        /// An approval counts for so long. Default: 24h.
        optional "expires" expires: Limit,
    }
    later []
}

record! {
    /// A part of the week. One that ends before it begins goes over midnight.
    Window {
        /// The days on which it opens.
        required "days" days: AtLeastOne<Day>,
        /// The first moment that is in, such as "09:00".
        required "from" from: TimeOfDay,
        /// The first moment that is out again, such as "17:00"; "24:00" is the end of the day.
        required "to" to: TimeOfDay,
        /// A time zone by its IANA name, such as Europe/Berlin. Default: UTC.
        optional "zone" zone: Zone,
    }
    later []
}

words! {
    /// A day of the week.
    Day {
        /// Monday.
        "mon" Mon,
        /// Tuesday.
        "tue" Tue,
        /// Wednesday.
        "wed" Wed,
        /// Thursday.
        "thu" Thu,
        /// Friday.
        "fri" Fri,
        /// Saturday.
        "sat" Sat,
        /// Sunday.
        "sun" Sun,
    }
    later []
}
