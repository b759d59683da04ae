//! Commands that ask a running Serin: what they ask, and how its answer ends them.

use http::Method;
use serde_json::{Value, json};

use super::args::{
    ChangeArgs, ClientArgs, CommandArgs, EvaluateArgs, FlagAction, FlagArgs, FreezeArgs, Output, RolloutAction,
    RolloutArgs, WeightsArgs,
};
use super::client::{Answer, Client, ClientError, Question, segment};
use super::trust::Trust;
use super::{Console, Exit, text, wait, watch};

/// `serin status`
pub async fn status(args: &ClientArgs, console: &mut Console<'_>) -> Exit {
    let mut caller = match Caller::new(args, console) {
        Ok(caller) => caller,
        Err(exit) => return exit,
    };
    let answer = match caller.ask(Question::get("/v1/status")).await {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    // A page for people has routes and flags on it; the JSON is the API's own.
    let [mut routes, mut flags] = [None, None];
    if matches!(args.output, Output::Text) {
        for (path, page) in [("/v1/routes", &mut routes), ("/v1/flags", &mut flags)] {
            let answer = caller.client.ask(Question::get(path)).await.ok();
            *page = answer.filter(|answer| answer.status == 200).map(|answer| answer.body);
        }
    }
    caller.show(&answer, |status| {
        let certificates = text::certificates(status, jiff::Timestamp::now());
        let parts = [
            Some(text::status(status, routes.as_ref(), flags.as_ref())),
            certificates,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
    })
}

/// `serin weights`
pub async fn weights(args: &WeightsArgs, console: &mut Console<'_>) -> Exit {
    let weights = match weights_of(&args.weights, console) {
        Ok(weights) => weights,
        Err(exit) => return exit,
    };
    let query = if args.dry_run { "?dryRun=true" } else { "" };
    let target = format!("/v1/routes/{}/weights{query}", segment(&args.route));
    let body = json!({"weights": weights, "reason": args.reason});
    let question = Question {
        if_match: args.if_match,
        ..Question::change(Method::PUT, target, body)
    };
    let show = |route: &Value| text::weights_set(route, args.dry_run);
    ask_and_show(&args.client, question, console, show).await
}

/// `serin rollout …`
pub async fn rollout(args: &RolloutArgs, console: &mut Console<'_>) -> Exit {
    let client = &args.client;
    let of = |name: &str| format!("/v1/rollouts/{}", segment(name));
    let command = |verb: &str, command: &CommandArgs, mut body: Value| {
        body["reason"] = Value::from(command.reason.as_str());
        Question::change(Method::POST, format!("{}/{verb}", of(&command.name)), body)
    };
    let question = match &args.action {
        RolloutAction::List => {
            return ask_and_show(client, Question::get("/v1/rollouts"), console, text::rollouts).await;
        }
        RolloutAction::History { name } => {
            return ask_and_show(client, Question::get(of(name)), console, text::history).await;
        }
        RolloutAction::Wait { name, release, timeout } => {
            let wanted = wait::Wanted {
                target: &of(name),
                release: release.as_deref(),
                timeout: *timeout,
            };
            return match Caller::new(client, console) {
                Ok(caller) => wait::wait(caller, wanted).await,
                Err(exit) => exit,
            };
        }
        RolloutAction::Get { name, watch } => {
            return match Caller::new(client, console) {
                Ok(caller) if *watch => watch::watch(caller, &of(name), watch::Screen::of_stdout()).await,
                Ok(caller) => watch::once(caller, &of(name)).await,
                Err(exit) => exit,
            };
        }
        RolloutAction::Start {
            from,
            to,
            commit_time,
            command: args,
        } => {
            let given = [("from", from), ("to", to), ("commitTime", commit_time)];
            let given = given
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?))));
            command("start", args, Value::Object(given.collect()))
        }
        RolloutAction::Promote { full, command: args } => command("promote", args, json!({"full": full})),
        RolloutAction::Abort(args) => command("abort", args, json!({})),
        RolloutAction::Pause(args) => command("pause", args, json!({})),
        RolloutAction::Resume(args) => command("resume", args, json!({})),
        RolloutAction::Retry(args) => command("retry", args, json!({})),
        RolloutAction::Rollback(args) => command("rollback", args, json!({})),
        RolloutAction::Approve {
            if_match,
            command: args,
        } => Question {
            if_match: *if_match,
            ..command("approve", args, json!({}))
        },
    };
    ask_and_show(client, question, console, text::rollout).await
}

/// `serin flag …`
pub async fn flag(args: &FlagArgs, console: &mut Console<'_>) -> Exit {
    let client = &args.client;
    let of = |key: &str| format!("/v1/flags/{}", segment(key));
    let change = |method: Method, key: &str, call: &str, mut body: Value, change: &ChangeArgs| {
        let query = if change.dry_run { "?dryRun=true" } else { "" };
        body["reason"] = Value::from(change.reason.as_str());
        Question {
            if_match: change.if_match,
            ..Question::change(method, format!("{}/{call}{query}", of(key)), body)
        }
    };
    let (question, dry_run) = match &args.action {
        FlagAction::List => return ask_and_show(client, Question::get("/v1/flags"), console, text::flags).await,
        FlagAction::Get { key } => return ask_and_show(client, Question::get(of(key)), console, text::flag).await,
        FlagAction::Evaluate(who) => {
            let question = Question::get(format!("{}/evaluate{}", of(&who.flag), query_of(who)));
            return ask_and_show(client, question, console, text::evaluation).await;
        }
        FlagAction::Set {
            key,
            weights,
            change: args,
        } => match weights_of(weights, console) {
            Ok(weights) => (
                change(Method::PUT, key, "weights", json!({ "weights": weights }), args),
                args.dry_run,
            ),
            Err(exit) => return exit,
        },
        FlagAction::Enable { key, change: args } => {
            (change(Method::POST, key, "enable", json!({}), args), args.dry_run)
        }
        FlagAction::Disable { key, change: args } => {
            (change(Method::POST, key, "disable", json!({}), args), args.dry_run)
        }
    };
    let show = |flag: &Value| text::flag_changed(flag, dry_run);
    ask_and_show(client, question, console, show).await
}

/// Who is meant, as a query.
fn query_of(who: &EvaluateArgs) -> String {
    let single = [
        ("key", who.key.clone()),
        ("clientIp", who.client_ip.map(|address| address.to_string())),
        ("clientCertificate", who.client_certificate.clone()),
        ("host", who.host.clone()),
    ];
    let single = single
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let named = [
        ("header", &who.headers),
        ("cookie", &who.cookies),
        ("query", &who.query),
        ("claim", &who.claims),
        ("attribute", &who.attributes),
    ];
    let named = named.into_iter().flat_map(|(kind, pairs)| {
        let of_kind = move |(name, value): &(String, String)| (format!("{kind}.{name}"), value.clone());
        pairs.iter().map(of_kind)
    });
    let pairs: Vec<_> = single
        .chain(named)
        .map(|(name, value)| format!("{}={}", segment(&name), segment(&value)))
        .collect();
    match pairs.is_empty() {
        true => String::new(),
        false => format!("?{}", pairs.join("&")),
    }
}

fn weights_of(written: &[(String, u64)], console: &mut Console<'_>) -> Result<serde_json::Map<String, Value>, Exit> {
    let mut weights = serde_json::Map::new();
    for (name, weight) in written {
        if weights.insert(name.clone(), Value::from(*weight)).is_some() {
            console.complain(&format!("{name} is given twice"));
            return Err(Exit::Usage);
        }
    }
    Ok(weights)
}

/// `serin freeze` and `serin unfreeze`
pub async fn freeze(args: &FreezeArgs, frozen: bool, console: &mut Console<'_>) -> Exit {
    let method = if frozen { Method::POST } else { Method::DELETE };
    let question = Question::change(method, "/v1/freeze", json!({"reason": args.reason}));
    ask_and_show(&args.client, question, console, text::freeze).await
}

async fn ask_and_show(
    args: &ClientArgs,
    question: Question,
    console: &mut Console<'_>,
    show: impl FnOnce(&Value) -> String,
) -> Exit {
    let mut caller = match Caller::new(args, console) {
        Ok(caller) => caller,
        Err(exit) => return exit,
    };
    match caller.ask(question).await {
        Ok(answer) => caller.show(&answer, show),
        Err(exit) => exit,
    }
}

/// A client with the console that its answers go to.
pub(super) struct Caller<'c, 'o> {
    pub(super) client: Client,
    pub(super) output: Output,
    pub(super) console: &'c mut Console<'o>,
}

impl<'c, 'o> Caller<'c, 'o> {
    fn new(args: &ClientArgs, console: &'c mut Console<'o>) -> Result<Self, Exit> {
        match Client::new(&args.admin, args.token.as_deref()) {
            Ok(client) => Ok(Self {
                client: client.trusting(Trust {
                    ca: args.ca.clone(),
                    shown: args.certificate.clone().zip(args.certificate_key.clone()),
                }),
                output: args.output,
                console,
            }),
            Err(error) => {
                console.complain(&error.to_string());
                Err(exit_of_error(&error))
            }
        }
    }

    /// Asks, and says what went wrong.
    pub(super) async fn ask(&mut self, question: Question) -> Result<Answer, Exit> {
        let answer = self.client.ask(question).await;
        self.judge(answer)
    }

    /// A good answer, or how the command ends; the console then says why.
    pub(super) fn judge(&mut self, answer: Result<Answer, ClientError>) -> Result<Answer, Exit> {
        match answer {
            Ok(answer) => match (exit_of_status(answer.status), self.output) {
                (Exit::Done, _) => Ok(answer),
                (exit, Output::Json) => {
                    self.console.say(answer.text.trim_end());
                    Err(exit)
                }
                (exit, Output::Text) => {
                    self.console.complain(&text::problem(&answer.body));
                    Err(exit)
                }
            },
            Err(error) => {
                self.console.complain(&error.to_string());
                Err(exit_of_error(&error))
            }
        }
    }

    /// Shows a good answer in the way that was asked for.
    pub(super) fn show(&mut self, answer: &Answer, as_text: impl FnOnce(&Value) -> String) -> Exit {
        match self.output {
            Output::Json => self.console.say(answer.text.trim_end()),
            Output::Text => self.console.say(&as_text(&answer.body)),
        }
        Exit::Done
    }
}

const fn exit_of_status(status: u16) -> Exit {
    match status {
        200..=299 => Exit::Done,
        409 | 412 => Exit::Conflict,
        _ => Exit::Failed,
    }
}

const fn exit_of_error(error: &ClientError) -> Exit {
    match error {
        ClientError::BadUrl { .. } => Exit::Usage,
        ClientError::Unreachable { .. } => Exit::Unreachable,
        ClientError::Foreign { .. } => Exit::Failed,
    }
}
