//! Gates: people who must approve, and times of the week.

use std::time::Duration;

use crate::config::file::{self, Day};
use crate::config::read::{Reader, Slot};
use crate::people::VIEWER;
use crate::rollout::{Approvals, Window};

/// Who must approve; a gate that nobody can pass is reported. `people`: they have names.
pub(super) fn approvals(slot: &Slot<file::Approvals>, people: bool, reader: &mut Reader<'_>) -> Option<Approvals> {
    let written = slot.get()?;
    if !people {
        reader.refuse(
            slot.at,
            "nobody has a name without `admin.tokensFile`, so that nobody could approve; give that",
        );
    }
    let roles: Option<Vec<String>> = written
        .roles
        .items()
        .map(|role| role.get().map(|role| role.0.clone()))
        .collect();
    for role in written.roles.items() {
        if role.get().is_some_and(|role| role.0 == VIEWER) {
            let only_reads = "may only read, so that nobody could approve as one; name a role of your own, or `approver`, `operator` or `admin`";
            reader.refuse_text(role.at, only_reads);
        }
    }
    let roles = roles.filter(|_| written.roles.left_out || written.roles.value.is_some())?;
    let least = u32::try_from(roles.len().max(1)).unwrap_or(u32::MAX);
    let count = match written.count.get() {
        Some(count) => count.0,
        None if written.count.left_out => least,
        None => return None,
    };
    if count < least {
        let roles = roles.len();
        reader.refuse_text(
            written.count.at,
            &format!("is too few: each of the {roles} roles needs a person of its own; give {least} or more"),
        );
    }
    Some(Approvals {
        count,
        roles,
        expires: written.expires.value.map_or(A_DAY, |limit| limit.0),
    })
}

/// The window; `None` when a part of it does not fit, which is reported already.
pub(super) fn window(slot: &Slot<file::Window>) -> Option<Window> {
    let written = slot.get()?;
    let days: Option<Vec<String>> = written
        .days
        .items()
        .map(|day| day.value.map(|day| word(day).to_owned()))
        .collect();
    let zone = match written.zone.get() {
        Some(zone) => zone.0.as_str(),
        None if written.zone.left_out => "UTC",
        None => return None,
    };
    // What could be wrong with it was refused with its parts.
    Window::new(&days?, &written.from.get()?.0, &written.to.get()?.0, zone).ok()
}

/// Whether there is a minute at which both are open, in winter or in summer: zones change their clocks on days of
/// their own.
pub(super) fn meet(one: &Window, other: &Window) -> bool {
    let minutes = |monday_ms: u64| (0..A_WEEK_MIN).map(move |minute| monday_ms + minute * 60_000);
    [A_WINTER_MONDAY_MS, A_SUMMER_MONDAY_MS]
        .into_iter()
        .flat_map(minutes)
        .any(|now_ms| one.is_open(now_ms) && other.is_open(now_ms))
}

fn word(day: Day) -> &'static str {
    match day {
        Day::Mon => "mon",
        Day::Tue => "tue",
        Day::Wed => "wed",
        Day::Thu => "thu",
        Day::Fri => "fri",
        Day::Sat => "sat",
        Day::Sun => "sun",
    }
}

const A_DAY: Duration = Duration::from_secs(24 * 3600);
const A_WEEK_MIN: u64 = 7 * 24 * 60;
/// 2026-01-05T00:00:00Z
const A_WINTER_MONDAY_MS: u64 = 1_767_571_200_000;
/// 2026-07-06T00:00:00Z
const A_SUMMER_MONDAY_MS: u64 = 1_783_296_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: (&str, &str, &str, &str), other: (&str, &str, &str, &str), expected: bool) {
        let window =
            |(day, from, to, zone): (&str, &str, &str, &str)| Window::new(&[day.to_owned()], from, to, zone).unwrap();
        assert_eq!(meet(&window(one), &window(other)), expected);
        assert_eq!(meet(&window(other), &window(one)), expected);
    }

    #[test]
    fn windows_meet_or_never_do() {
        let office = ("mon", "09:00", "17:00", "UTC");
        check(office, office, true);
        check(office, ("mon", "16:59", "18:00", "UTC"), true);
        check(office, ("mon", "17:00", "18:00", "UTC"), false);
        check(office, ("sun", "09:00", "17:00", "UTC"), false);
        check(office, ("sun", "22:00", "09:01", "UTC"), true);
        check(office, ("mon", "09:00", "10:00", "Asia/Tokyo"), false);
        // An hour in summer is another one in winter.
        check(office, ("mon", "10:00", "10:30", "Europe/Berlin"), true);
        check(office, ("mon", "18:00", "18:30", "Europe/Berlin"), true);
        check(office, ("mon", "19:00", "19:30", "Europe/Berlin"), false);
    }
}
