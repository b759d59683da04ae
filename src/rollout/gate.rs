//! People who must agree: who has approved, who is still missing.

use std::time::Duration;

/// Who must approve before a step gives way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// So many people, all different. At least 1, and at least one for each role.
    pub count: u32,
    /// Each of these roles is held by one of them, another person for each; those beyond hold any of
    /// these roles. Empty: `approver` or `admin`, or nobody in particular where people have no names.
    pub roles: Vec<String>,
    /// An approval counts for so long.
    pub expires: Duration,
}

/// One person's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The name of the token.
    pub by: String,
    /// The roles of that token when it was given.
    pub roles: Vec<String>,
    /// Why, in their words.
    pub reason: String,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// The generation that they approved.
    pub generation: u64,
}

impl Approvals {
    /// Who is still missing among `given` at `now_ms`, in words; `None`: nobody. Several approvals of one
    /// person count once; a clock that was put back makes none younger than it is.
    #[must_use]
    pub fn missing(&self, given: &[Approval], now_ms: u64) -> Option<String> {
        let valid = self.valid(given, now_ms);
        let placed = assign(&self.roles, &valid);
        let open: Vec<&str> = (0..self.roles.len())
            .filter(|role| !placed.contains(&Some(*role)))
            .map(|role| self.roles[role].as_str())
            .collect();
        let people = valid.len();
        let count = self.count as usize;
        if people >= count && open.is_empty() {
            return None;
        }
        let of = if open.is_empty() {
            String::new()
        } else {
            format!(", still to come: {}", open.join(", "))
        };
        Some(format!("{people} of {count} approvals{of}"))
    }

    /// Whether somebody with these roles can add anything.
    #[must_use]
    pub fn wants(&self, roles: &[String]) -> bool {
        if self.roles.is_empty() {
            return roles.is_empty() || roles.iter().any(|role| role == "approver" || role == "admin");
        }
        self.roles.iter().any(|role| roles.contains(role))
    }

    /// Whose word counts, in words: `releaseManager or sre`.
    #[must_use]
    pub fn wanted(&self) -> String {
        match self.roles.is_empty() {
            true => "approver or admin".to_owned(),
            false => self.roles.join(" or "),
        }
    }

    /// Who must approve in all, in words: `2 people, releaseManager and sre each by one`.
    #[must_use]
    pub fn asked(&self) -> String {
        let people = match self.count {
            1 => "1 person".to_owned(),
            count => format!("{count} people"),
        };
        match (self.roles.as_slice(), self.count) {
            ([], 1) => format!("{people} who is approver or admin"),
            ([], _) => format!("{people}, each approver or admin"),
            ([role], 1) => format!("{people} who is {role}"),
            ([role], _) => format!("{people}, each {role}"),
            (roles @ [first @ .., last], count) => {
                let least = if count as usize > roles.len() { "at least " } else { "" };
                format!("{people}, {} and {last} each by {least}one", first.join(", "))
            }
        }
    }

    /// Those in force: the newest of each person, in the order given.
    fn valid<'g>(&self, given: &'g [Approval], now_ms: u64) -> Vec<&'g Approval> {
        let life_ms = u64::try_from(self.expires.as_millis()).unwrap_or(u64::MAX);
        let mut valid: Vec<&Approval> = Vec::new();
        for approval in given {
            let fresh = now_ms.saturating_sub(approval.at_ms) < life_ms;
            if fresh && self.wants(&approval.roles) {
                valid.retain(|other| other.by != approval.by);
                valid.push(approval);
            }
        }
        valid
    }
}

/// For each person the role that they stand for, so that as many roles as possible are held (augmenting
/// paths: Kuhn 1955). The lists are short.
fn assign(roles: &[String], people: &[&Approval]) -> Vec<Option<usize>> {
    fn place(
        role: usize,
        roles: &[String],
        people: &[&Approval],
        held: &mut [Option<usize>],
        seen: &mut [bool],
    ) -> bool {
        for person in 0..people.len() {
            if seen[person] || !people[person].roles.contains(&roles[role]) {
                continue;
            }
            seen[person] = true;
            if held[person].is_none_or(|other| place(other, roles, people, held, seen)) {
                held[person] = Some(role);
                return true;
            }
        }
        false
    }
    let mut held = vec![None; people.len()];
    for role in 0..roles.len() {
        place(role, roles, people, &mut held, &mut vec![false; people.len()]);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(count: u32, roles: &[&str]) -> Approvals {
        Approvals {
            count,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            expires: Duration::from_secs(60),
        }
    }

    /// Each `name: role role`, given at 1,000 ms.
    fn given(people: &[&str]) -> Vec<Approval> {
        let approval = |text: &&str| {
            let (by, roles) = text.split_once(':').unwrap();
            Approval {
                by: by.to_owned(),
                roles: roles.split_whitespace().map(str::to_owned).collect(),
                reason: String::new(),
                at_ms: 1_000,
                generation: 1,
            }
        };
        people.iter().map(approval).collect()
    }

    #[track_caller]
    fn check(gate: &Approvals, people: &[&str], expected: Option<&str>) {
        assert_eq!(gate.missing(&given(people), 2_000).as_deref(), expected, "{people:?}");
    }

    #[test]
    fn two_people_are_two_people() {
        let two = gate(2, &[]);
        check(&two, &[], Some("0 of 2 approvals"));
        check(&two, &["ann:", "ann:"], Some("1 of 2 approvals"));
        check(&two, &["ann:", "bob:"], None);
    }

    #[test]
    fn a_gate_without_roles_wants_approvers() {
        let two = gate(2, &[]);
        check(&two, &["ann: sre operator", "bob: viewer"], Some("0 of 2 approvals"));
        check(&two, &["ann: approver", "bob: admin sre"], None);
    }

    #[test]
    fn each_role_has_a_person_of_its_own() {
        let two = gate(2, &["releaseManager", "sre"]);
        check(
            &two,
            &["ann: sre"],
            Some("1 of 2 approvals, still to come: releaseManager"),
        );
        check(
            &two,
            &["ann: sre", "bob: sre"],
            Some("2 of 2 approvals, still to come: releaseManager"),
        );
        check(
            &two,
            &["ann: sre releaseManager"],
            Some("1 of 2 approvals, still to come: sre"),
        );
        check(&two, &["ann: sre releaseManager", "bob: sre"], None);
        check(&two, &["ann: sre releaseManager", "bob: releaseManager"], None);
        check(
            &two,
            &["ann: viewer", "bob: releaseManager"],
            Some("1 of 2 approvals, still to come: sre"),
        );
    }

    #[test]
    fn who_comes_beyond_the_roles_holds_one_of_them() {
        let three = gate(3, &["sre"]);
        check(
            &three,
            &["ann: sre", "bob: sre", "eve: viewer"],
            Some("2 of 3 approvals"),
        );
        check(&three, &["ann: sre", "bob: sre", "eve: sre"], None);
    }

    #[test]
    fn a_gate_says_whom_it_asks() {
        let check = |count, roles: &[&str], expected: &str| assert_eq!(gate(count, roles).asked(), expected);
        check(1, &[], "1 person who is approver or admin");
        check(2, &[], "2 people, each approver or admin");
        check(1, &["sre"], "1 person who is sre");
        check(3, &["sre"], "3 people, each sre");
        check(
            2,
            &["releaseManager", "sre"],
            "2 people, releaseManager and sre each by one",
        );
        check(4, &["a", "b", "c"], "4 people, a, b and c each by at least one");
    }

    #[test]
    fn an_approval_expires() {
        let one = gate(1, &[]);
        let ann = given(&["ann:"]);
        assert_eq!(one.missing(&ann, 60_999), None);
        assert_eq!(one.missing(&ann, 61_000).as_deref(), Some("0 of 1 approvals"));
        // The clock was put back: it was given just now at the latest.
        assert_eq!(one.missing(&ann, 0), None);
    }
}
