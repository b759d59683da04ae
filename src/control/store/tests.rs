use super::{Saved, Store, parse, text};
use crate::control::draft::Wish;
use crate::control::fixture::{name, spec, weigh};
use crate::control::ground::{Ground, Ordered};
use crate::control::standing::Standing;
use crate::rollout::Verb;

/// What stands after `weights` by hand and then `verbs`.
fn saved(weights: Option<[u32; 2]>, verbs: &[Verb]) -> Saved {
    let spec = spec(|spec| weigh(spec, 1, [3, 4]));
    let (mut ground, _) = Ground::meet(spec, Standing::default(), 1_000);
    let wish = Wish {
        by: "alice",
        reason: "because \"x\"\n",
    };
    if let Some(weights) = weights {
        ground = ground.set_weights(0, &weights, wish, 2_000).unwrap().0;
        ground = ground.set_weights(1, &weights, wish, 2_000).unwrap().0;
    }
    for &verb in verbs {
        ground = ground.command(0, verb, &Ordered::default(), wish, 3_000).unwrap().0;
    }
    Saved {
        generation: 42,
        clean: false,
        standing: ground.standing,
        audit: None,
    }
}

/// Stored and read again, everything is as it was, but for what is not stored: epochs and what
/// is derived, and the machine's own wording beside the reason that is shown.
#[track_caller]
fn check(saved: &Saved) {
    let read = parse(&String::from_utf8(text(saved).unwrap()).unwrap()).unwrap();
    assert_eq!((read.generation, read.clean), (saved.generation, saved.clean));
    assert_eq!(read.standing.routes.len(), saved.standing.routes.len());
    for (name, standing) in &saved.standing.routes {
        let read = &read.standing.routes[name];
        assert_eq!((&read.declared, &read.weights), (&standing.declared, &standing.weights));
        assert_eq!(read.by_hand, standing.by_hand);
    }
    for (name, standing) in &saved.standing.rollouts {
        let read = &read.standing.rollouts[name];
        assert_eq!((&read.marks, &read.releases), (&standing.marks, &standing.releases));
        assert_eq!(read.aborted_in, standing.aborted_in);
        assert_eq!((&read.pair, read.trial), (&standing.pair, standing.trial));
        let mut parts = standing.state.parts();
        parts.reason.clone_from(&standing.reason);
        assert_eq!((read.state.parts(), &read.reason), (parts, &standing.reason));
    }
}

#[test]
fn every_state_survives_storing() {
    check(&saved(None, &[]));
    check(&saved(Some([90, 10]), &[]));
    check(&saved(None, &[Verb::Start]));
    check(&saved(None, &[Verb::Start, Verb::Promote { full: false }]));
    check(&saved(None, &[Verb::Start, Verb::Promote { full: true }]));
    check(&saved(None, &[Verb::Start, Verb::Pause]));
    check(&saved(Some([90, 10]), &[Verb::Start, Verb::Abort]));
}

#[test]
fn the_step_of_an_abort_is_one_of_the_plan_and_may_be_missing() {
    let aborted = saved(None, &[Verb::Start, Verb::Promote { full: false }, Verb::Abort]);
    let text = String::from_utf8(text(&aborted).unwrap()).unwrap();
    let check = |to: &str, expected: Option<usize>| {
        let from = "\"abortedIn\": 1,";
        assert!(text.contains(from), "{text}");
        let read = parse(&text.replace(from, to)).unwrap();
        let standing = read.standing.rollouts.values().next().unwrap();
        assert_eq!(standing.aborted_in, expected, "{to}");
    };
    check("\"abortedIn\": 1,", Some(1));
    check("\"abortedIn\": 3,", Some(3));
    check("\"abortedIn\": 4,", None);
    check("", None);
}

#[test]
fn switches_and_weights_of_flags_are_stored() {
    let (wish, own) = (
        Wish {
            by: "alice",
            reason: "",
        },
        crate::route::FlagId::Own(0),
    );
    let with_flag = spec(|spec| {
        let variant = |(text, weight)| crate::config::FlagVariant {
            name: name(text),
            weight,
            value: None,
        };
        spec.flags.push(crate::config::Flag {
            name: name("dark-mode"),
            variants: [("off", 1), ("on", 1)].map(variant).into(),
            rules: crate::config::Rules::of(name("dark-mode")),
        });
    });
    let (ground, _) = Ground::meet(with_flag, Standing::default(), 1_000);
    let (ground, _) = ground.switch(own, false, wish, 2_000).unwrap();
    let (ground, _) = ground.set_flag_weights(0, &[3, 4], wish, 3_000).unwrap();
    let saved = Saved {
        generation: 1,
        clean: true,
        standing: ground.standing.clone(),
        audit: None,
    };
    let read = parse(std::str::from_utf8(&text(&saved).unwrap()).unwrap()).unwrap();
    assert_eq!(read.standing.switches, saved.standing.switches);
    assert_eq!(read.standing.flag_weights, saved.standing.flag_weights);
    assert!(!read.standing.switches.is_empty() && !read.standing.flag_weights.is_empty());
}

#[test]
fn what_is_no_state_is_refused_with_the_reason() {
    let check = |from: &str, to: &str, expected: &str| {
        let text = String::from_utf8(text(&saved(None, &[Verb::Start])).unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        let problem = parse(&text.replace(from, to)).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    };
    check("\"version\": 3", "\"version\": 4", "version 4 of the form");
    check("progressing", "flying", "\"flying\" is no phase");
    check("\"canary\"", "\"-canary\"", "is not a name");
    check("\"generation\": 42", "\"generation\": -1", "expected u64");
    for cut in [0, 1, 40, 200] {
        let whole = text(&saved(None, &[])).unwrap();
        assert!(parse(&String::from_utf8_lossy(&whole[..cut])).is_err(), "{cut}");
    }
}

#[test]
fn a_store_gives_back_what_it_was_given() {
    let temp = tempfile::tempdir().unwrap();
    let (mut store, nothing) = Store::open(temp.path()).unwrap();
    assert_eq!((nothing.saved, nothing.note), (None, None));
    store.save(&saved(None, &[Verb::Start])).unwrap();
    drop(store);
    let (_, read) = Store::open(temp.path()).unwrap();
    assert_eq!((read.saved.unwrap().generation, read.note), (42, None));
}

#[test]
fn a_state_behind_a_damaged_one_is_no_clean_end() {
    let temp = tempfile::tempdir().unwrap();
    let (mut store, ..) = Store::open(temp.path()).unwrap();
    let clean = Saved {
        clean: true,
        ..saved(None, &[])
    };
    store.save(&clean).unwrap();
    store.save(&saved(None, &[Verb::Start])).unwrap();
    drop(store);
    std::fs::write(temp.path().join("state.json"), "{").unwrap();
    let (_, read) = Store::open(temp.path()).unwrap();
    assert!(read.note.is_some() && !read.lost && !read.saved.unwrap().clean);
}

#[test]
fn a_state_of_which_nothing_is_whole_is_put_aside_and_known_to_be_lost() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("state.json"), "{").unwrap();
    std::fs::write(temp.path().join("state.json.bak"), "").unwrap();
    let (store, found) = Store::open(temp.path()).unwrap();
    assert!(found.lost && found.saved.is_none());
    assert!(
        found
            .note
            .unwrap()
            .contains("state.json.bak.damaged, every rollout begins aborted")
    );
    assert_eq!(
        std::fs::read_to_string(temp.path().join("state.json.damaged")).unwrap(),
        "{"
    );
    drop(store);
    assert!(!Store::open(temp.path()).unwrap().1.lost, "it is said once");
    let newer = r#"{"version": 99}"#;
    std::fs::write(temp.path().join("state.json"), newer).unwrap();
    let refusal = Store::open(temp.path()).unwrap_err().to_string();
    assert!(refusal.contains("version 99 of the form"), "{refusal}");
    assert_eq!(std::fs::read_to_string(temp.path().join("state.json")).unwrap(), newer);
}
