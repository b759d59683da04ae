//! What a person writes about which requests go where.

use serde_json::Value as Json;

use super::{List, Split};
use crate::config::address::UrlPath;
use crate::config::declare::record;
use crate::config::read::{AtLeastOne, Field, Reader, Slot, Written};
use crate::config::scalar::{HeaderName, Statuses, Text};
use crate::config::schema::Defs;
use crate::config::tree::NodeId;
use crate::config::units::Limit;
use crate::head::Method;
use crate::name::Name;
use crate::route::HostMatch;

record! {
    /// Which requests go where.
    Route {
        /// A name that no other route has.
        required "name" name: Name,
        /// Which requests. All when left out.
        optional "match" matches: Match,
        /// Until the head of the response. Default: 5s.
        optional "timeout" timeout: Limit,
        /// Between two reads of a response's body. Default: as the listener's timeouts.body.
        optional "bodyTimeout" body_timeout: Limit,
        /// For a whole exchange, its bodies and tunnels included; not below timeout. Default: it may last.
        optional "totalTimeout" total_timeout: Limit,
        /// How requests divide among variants.
        required "split" split: Split,
        /// Which answers of its backends are their failures: statuses such as 404, classes 4xx and 5xx. Default: [5xx].
        optional "failureStatuses" failure_statuses: AtLeastOne<Statuses>,
        /// Whether responses carry x-serin-variant and x-serin-generation. Default: true.
        optional "exposeVariant" expose_variant: bool,
    }
    later ["retry", "replay", "mirror"]
}

record! {
    /// Which requests a route wants: all conditions must hold.
    Match {
        /// Any of these: a name, or `*.` and a name for every host below it.
        optional "hosts" hosts: List<HostMatch>,
        /// The whole path.
        optional "path" path: UrlPath,
        /// The path and all below it, in whole segments.
        optional "pathPrefix" path_prefix: UrlPath,
        /// A regular expression for the whole path.
        optional "pathRegex" path_regex: Text,
        /// Any of these.
        optional "methods" methods: List<Method>,
        /// All of these.
        optional "headers" headers: List<HeaderCondition>,
        /// All of these.
        optional "query" query: List<QueryCondition>,
    }
    later []
}

record! {
    /// A condition on a header: its name and one of exact, prefix, regex, present.
    HeaderCondition {
        /// The name of the header, in any case.
        required "name" name: HeaderName,
        /// The value is this.
        optional "exact" exact: String,
        /// The value begins so.
        optional "prefix" prefix: Text,
        /// A regular expression for the whole value.
        optional "regex" regex: Text,
        /// Whether there is such a header at all.
        optional "present" present: bool,
    }
    later []
}

record! {
    /// A condition on a query parameter: its name and one of exact, prefix, regex, present.
    QueryCondition {
        /// The name of the parameter, as in the request.
        required "name" name: Text,
        /// The value is this.
        optional "exact" exact: String,
        /// The value begins so.
        optional "prefix" prefix: Text,
        /// A regular expression for the whole value.
        optional "regex" regex: Text,
        /// Whether there is such a parameter at all.
        optional "present" present: bool,
    }
    later []
}
