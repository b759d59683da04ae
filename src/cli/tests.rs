//! Commands against the real admin API with a fake control behind it: what they print, how they end.

use std::sync::atomic::Ordering;

use clap::Parser;
use serde_json::Value;

use super::{Args, Command, Console, Exit};
use crate::admin::fake::Fake;
use crate::rollout::Phase;

/// An admin API on a free port, until the test ends.
struct Serin {
    fake: Fake,
    admin: String,
}

/// How a command ended, and what it wrote.
struct Ended {
    exit: Exit,
    out: String,
    err: String,
}

impl Serin {
    fn start() -> Self {
        let fake = Fake::start();
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let admin = format!("http://{}", socket.local_addr().unwrap());
        let (handle, context) = (fake.handle.clone(), fake.context.clone());
        tokio::spawn(crate::admin::serve(socket, handle, context, std::future::pending()));
        Self { fake, admin }
    }

    async fn run(&self, line: &str) -> Ended {
        run(line, &self.admin).await
    }
}

async fn run(line: &str, admin: &str) -> Ended {
    let words = ["serin"]
        .into_iter()
        .chain(line.split_whitespace())
        .chain(["--admin", admin]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let console = &mut Console {
        out: &mut out,
        err: &mut err,
    };
    let exit = match Args::try_parse_from(words).unwrap().command {
        Command::Status(args) => super::status(&args, console).await,
        Command::Weights(args) => super::weights(&args, console).await,
        Command::Rollout(args) => super::rollout(&args, console).await,
        Command::Flag(args) => super::flag(&args, console).await,
        Command::Freeze(args) => super::freeze(&args, true, console).await,
        Command::Unfreeze(args) => super::freeze(&args, false, console).await,
        other => panic!("{other:?} is no client command"),
    };
    Ended {
        exit,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

#[tokio::test]
async fn status_is_a_page_or_the_api_s_json() {
    let serin = Serin::start();
    let page = serin.run("status").await;
    assert_eq!((page.exit, page.err.as_str()), (Exit::Done, ""));
    assert!(
        page.out.contains("ready, up 1h02m\n") && page.out.contains("canary   checkout-canary"),
        "{}",
        page.out
    );
    let json = serin.run("status --output json").await;
    let body: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(body["generation"], 42);
}

#[tokio::test]
async fn weights_are_set_or_the_refusal_is_shown() {
    let serin = Serin::start();
    let line = "weights checkout stable=90 canary=10 --reason calm";
    let done = serin.run(line).await;
    assert_eq!(done.exit, Exit::Done);
    assert!(done.out.starts_with("checkout: generation 43\n"), "{}", done.out);
    let dry = serin.run(&format!("{line} --dry-run --if-match 42")).await;
    assert!(dry.out.starts_with("checkout: generation 42 (dry run"), "{}", dry.out);
    let told = serin.fake.told.lock().unwrap().clone();
    assert!(
        told[1].contains(r#"if_match: Some("\"42\""), dry_run: true"#),
        "{told:?}"
    );

    for (line, exit, err) in [
        (
            "weights nope a=1 --reason x",
            Exit::Failed,
            "Not found: no route of that name\n",
        ),
        (
            "weights checkout a=1 --reason now",
            Exit::Conflict,
            "Not possible now: progressing; pause it first\n",
        ),
        (
            "weights checkout a=1 --reason x --if-match 41",
            Exit::Conflict,
            "The generation moved on: the present generation is 42; nothing was changed\n",
        ),
        (
            "weights checkout a=1 --reason disk",
            Exit::Failed,
            "Not available now: the state cannot be written\n",
        ),
        ("weights checkout a=1 a=2 --reason x", Exit::Usage, "a is given twice\n"),
    ] {
        let ended = serin.run(line).await;
        assert_eq!((ended.exit, ended.err.as_str()), (exit, err), "{line}");
        assert_eq!(ended.out, "", "{line}");
    }
    let json = serin.run("weights checkout a=1 --reason now --output json").await;
    assert_eq!((json.exit, json.err.as_str()), (Exit::Conflict, ""));
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["status"], 409);
}

#[tokio::test]
async fn flags_are_shown_switched_and_explained() {
    let serin = Serin::start();
    for (line, part) in [
        (
            "flag list",
            "dark-mode     -         on                 off      off 90 %, on 10 %  1        -\nnew-checkout  checkout  held by \
             dark-mode  stable                      3        checkout, progressing",
        ),
        (
            "flag get dark-mode",
            "dark-mode: on, for applications alone\noff       at 2026-11-21T12:00:13.042Z\n",
        ),
        ("flag get dark-mode", "on           10   10 %  true"),
        (
            "flag disable dark-mode --reason smoke",
            "generation 43\ndark-mode: OFF, for applications alone\nswitched  off by ann at",
        ),
        (
            "flag enable dark-mode --dry-run --if-match 42",
            "generation 43 (dry run: nothing was changed)\n",
        ),
        ("flag set dark-mode on=10 off=90", "generation 43\n"),
        (
            "flag evaluate dark-mode --key alice",
            "dark-mode: off, value false\nreason    SPLIT: the targeting key has bucket",
        ),
        (
            "flag evaluate new-checkout --header X-Staff=yes --attribute a=b&c --client-ip ::1",
            "reason    TARGETING_MATCH: cohort staff: canary\ncohort    staff: matches",
        ),
        (
            "flag evaluate beta --key alice",
            "asked     flag dark-mode answers off and not on",
        ),
        ("flag evaluate theme", "value {\"colour\":\"dark\",\"sizes\":[1,2.5]}"),
    ] {
        let ended = serin.run(line).await;
        assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""), "{line}");
        assert!(ended.out.contains(part), "{line}: {}", ended.out);
    }
    let told = serin.fake.told.lock().unwrap().clone();
    assert_eq!(told[1], r#"dark-mode true "" by api at Some("\"42\""), true"#);
    for (line, exit) in [
        ("flag get no", Exit::Failed),
        ("flag evaluate no", Exit::Failed),
        ("flag disable dark-mode --if-match 41", Exit::Conflict),
        ("flag enable dark-mode --reason now", Exit::Conflict),
        ("flag set dark-mode on=1 on=2", Exit::Usage),
    ] {
        assert_eq!(serin.run(line).await.exit, exit, "{line}");
    }
    let json = serin.run("flag get dark-mode --output json").await;
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["generation"], 42);
}

#[tokio::test]
async fn rollouts_are_shown_and_directed() {
    let serin = Serin::start();
    for (line, part) in [
        ("rollout list", "checkout  checkout  act   progressing"),
        ("rollout get checkout", "phase    progressing"),
        ("rollout history checkout", "progressing  aborted"),
        ("rollout start checkout", "phase    progressing"),
        ("rollout promote checkout --full --reason sure", "phase    promoting"),
        ("rollout abort checkout --reason smoke", "phase    aborted"),
        ("rollout pause checkout", "phase    paused"),
        ("rollout retry checkout", "phase    progressing"),
        ("rollout rollback checkout", "phase    progressing"),
        (
            "rollout approve checkout --reason well --if-match 42",
            "phase    progressing",
        ),
        (
            "rollout start checkout --from b --to a --commit-time 2026-11-21T12:00:13Z",
            "phase    progressing",
        ),
        ("rollout get checkout", "├─ ● 2: 25 %, approvals"),
        ("rollout get checkout", "canary   canary  checkout-canary"),
        (
            "freeze --reason sale",
            "frozen since 2026-11-21T12:00:13.042Z by api: sale",
        ),
        ("status", "frozen         since"),
        ("unfreeze", "not frozen"),
    ] {
        let ended = serin.run(line).await;
        assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""), "{line}");
        assert!(ended.out.contains(part), "{line}: {}", ended.out);
    }
    let told = serin.fake.told.lock().unwrap().clone();
    assert!(
        told.contains(&r#"checkout Promote { full: true } "sure" by api"#.to_owned()),
        "{told:?}"
    );
    for told_so in [
        r#"checkout approved "well" by api [] at Some("\"42\"")"#,
        r#"checkout Start "" by api b to a of Some(1795262413000)"#,
    ] {
        assert!(told.contains(&told_so.to_owned()), "{told:?}");
    }
    assert!(
        told.contains(&r#"checkout Abort "smoke" by api"#.to_owned()),
        "{told:?}"
    );

    let refused = serin.run("rollout resume checkout").await;
    assert_eq!(refused.exit, Exit::Conflict);
    assert_eq!(refused.err, "Not possible now: not paused; possible: pause\n");
    let stale = serin.run("rollout approve checkout --if-match 41").await;
    assert_eq!(stale.exit, Exit::Conflict);
    assert_eq!(serin.run("rollout get nope").await.exit, Exit::Failed);
    assert_eq!(serin.run("rollout history ../status").await.exit, Exit::Failed);
}

#[tokio::test]
async fn waiting_ends_as_the_rollout_does() {
    use Phase::{Aborted, Idle, Paused, Progressing, Promoting, Succeeded, Watching};
    let serin = Serin::start();
    for (phases, exit) in [
        (vec![Progressing, Paused, Promoting, Succeeded], Exit::Done),
        (vec![Progressing, Aborted], Exit::RolledBack),
        (vec![Idle], Exit::Conflict),
        (vec![Watching], Exit::Conflict),
    ] {
        let steps = phases.len();
        *serin.fake.phases.lock().unwrap() = phases.into();
        let ended = serin.run("rollout wait checkout").await;
        assert_eq!((ended.exit, ended.err.as_str()), (exit, ""));
        assert_eq!(
            ended.out.lines().count(),
            steps,
            "one line for each change: {}",
            ended.out
        );
    }
    *serin.fake.phases.lock().unwrap() = [Progressing].into();
    let late = serin.run("rollout wait checkout --timeout 1ms --output json").await;
    assert_eq!(late.exit, Exit::TimedOut);
    assert_eq!(
        serde_json::from_str::<Value>(&late.out).unwrap()["phase"],
        "progressing"
    );
    assert_eq!(serin.run("rollout wait nope").await.exit, Exit::Failed);
}

#[tokio::test]
async fn who_waits_for_another_release_waits_on() {
    use Phase::{Aborted, Idle, Progressing, Succeeded};
    let serin = Serin::start();
    *serin.fake.phases.lock().unwrap() = [Idle, Progressing, Succeeded].into();
    let ended = serin.run("rollout wait checkout --release v1.5.0").await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    *serin.fake.phases.lock().unwrap() = [Aborted].into();
    let ended = serin.run("rollout wait checkout --release v1.6.0 --timeout 1ms").await;
    assert_eq!(ended.exit, Exit::TimedOut);
    let never = "v1.6.0 was never on trial within this time; the rollout is aborted, and its release is v1.5.0\n";
    assert_eq!(ended.err, never);
    *serin.fake.phases.lock().unwrap() = [Progressing].into();
    let ended = serin.run("rollout wait checkout --release v1.5.0 --timeout 1ms").await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::TimedOut, ""));
    *serin.fake.phases.lock().unwrap() = [Aborted].into();
    let ended = serin.run("rollout wait checkout --release v1.5.0").await;
    assert_eq!(ended.exit, Exit::RolledBack);
}

#[tokio::test]
async fn a_token_that_nobody_has_is_refused() {
    let serin = Serin::start();
    let people = crate::people::Tokens::new(vec![crate::people::Token {
        name: crate::name::Name::new("ann").unwrap(),
        hash: crate::people::TokenHash::of("sesame"),
        roles: vec!["viewer".to_owned()],
    }]);
    serin
        .fake
        .tokens
        .send_replace(Some(std::sync::Arc::new(people.unwrap())));
    for (line, exit, err) in [
        ("status", Exit::Failed, "Who are you?: this call needs a token"),
        (
            "status --token open",
            Exit::Failed,
            "Who are you?: nobody has this token",
        ),
        ("status --token sesame", Exit::Done, ""),
        (
            "rollout abort checkout --token sesame",
            Exit::Failed,
            "Not with these roles: this call needs the role operator or approver or admin; ann has viewer",
        ),
    ] {
        let ended = serin.run(line).await;
        assert_eq!(ended.exit, exit, "{line}");
        assert!(ended.err.starts_with(err), "{line}: {}", ended.err);
    }
}

#[tokio::test]
async fn a_serin_that_is_not_there_is_told_from_one_that_refuses() {
    // Bound and not listening: refuses, and nobody else gets the port.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let nobody = format!("http://{}", deaf.local_addr().unwrap());
    for line in [
        "status",
        "rollout list",
        "rollout wait checkout",
        "weights a b=1 --reason x",
    ] {
        let ended = run(line, &nobody).await;
        assert_eq!(ended.exit, Exit::Unreachable, "{line}");
        assert!(
            ended.err.starts_with("no Serin answers at http://127.0.0.1:"),
            "{}",
            ended.err
        );
    }
    let ended = run("status", &nobody.replace("http:", "https:")).await;
    assert_eq!(ended.exit, Exit::Unreachable);
    let begins = "no Serin answers at https://127.0.0.1:";
    assert!(ended.err.starts_with(begins), "{}", ended.err);

    let serin = Serin::start();
    serin.fake.context.ready.store(false, Ordering::Release);
    let draining = serin.run("status").await;
    assert_eq!(draining.exit, Exit::Done);
    assert!(draining.out.contains("not ready"), "{}", draining.out);
}
