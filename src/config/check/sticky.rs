//! Sticky cookies: for clients without a key, and no two of one name.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::file::{self, SameSite};
use crate::config::read::{Reader, Slot};
use crate::route::{KeyFallback, KeySource, KeySpec, StickySpec};

/// The sticky cookie of a split with this `key`, where that came about; `None` when it does not come about, which is
/// then reported.
pub(super) fn check(slot: &Slot<file::Sticky>, key: Option<&KeySpec>, reader: &mut Reader<'_>) -> Option<StickySpec> {
    let written = slot.get()?;
    let needs_none = |key: &KeySpec| key.source == KeySource::ClientIp || key.fallback == KeyFallback::ClientIp;
    if key.is_some_and(needs_none) {
        reader.refuse(
            slot.at,
            "is for clients without a key, and every client has an address; leave it out, or the `fallback`",
        );
    }
    if let (
        Some(KeySpec {
            source: KeySource::Cookie(users),
            ..
        }),
        Some(own),
    ) = (key, written.cookie.get())
        && *users == own.0
    {
        reader.refuse_text(
            written.cookie.at,
            "is the cookie of the key, too; give it a name of its own",
        );
    }
    let max_age = match written.max_age.get() {
        Some(limit) if (AGE_MIN..=AGE_MAX).contains(&limit.0) => limit.0,
        Some(_) => {
            reader.refuse_text(written.max_age.at, "is out of range; give 1m to 30d");
            return None;
        }
        None if written.max_age.left_out => AGE,
        None => return None,
    };
    if !(written.cookie.known() && written.secret.known()) {
        return None;
    }
    Some(StickySpec {
        cookie: written.cookie.get().map(|name| name.0.clone()),
        max_age_s: u32::try_from(max_age.as_secs()).expect("30 days in seconds fit"),
        secret: written.secret.get().map(|secret| secret.0.clone()),
        same_site: match written.same_site.known_or(SameSite::Lax)? {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        },
    })
}

/// Reports sticky cookies that are named like an earlier one: each would overwrite the other.
pub(super) fn check_unique(file: &file::File, reader: &mut Reader<'_>) {
    let mut lines = HashMap::new();
    for route in file.routes.items().filter_map(Slot::get) {
        let Some(slot) = route.split.get().map(|split| &split.sticky) else {
            continue;
        };
        let (Some(written), Some(route)) = (slot.get(), route.name.get()) else {
            continue;
        };
        let (name, at) = match written.cookie.get() {
            Some(name) => (name.0.clone(), written.cookie.at),
            None => (format!("serin-{}", route.as_str()), slot.at),
        };
        let line = reader.tree.get(at).place.0;
        if let Some(first) = lines.insert(name, line) {
            let message = format!("has the name of the cookie on line {first}; give each route a `cookie` of its own");
            reader.refuse(at, message);
        }
    }
}

const AGE: Duration = Duration::from_secs(3_600);
const AGE_MIN: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(30 * 86_400);
