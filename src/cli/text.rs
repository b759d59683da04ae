//! The API's JSON as text that a person likes to read.

mod certificates;

use serde_json::Value;

use super::table::Table;

pub(super) use certificates::certificates;

/// Variants listed by `serin status`; more are for programs.
const VARIANTS_SHOWN: usize = 60;

/// Flags that give everybody the default, in `serin status`.
const FLAGS_SHOWN: usize = 20;

/// `GET /v1/status`, with the routes of `GET /v1/routes` and the flags of `GET /v1/flags` where they are at
/// hand.
pub(super) fn status(status: &Value, routes: Option<&Value>, flags: Option<&Value>) -> String {
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    let up = span(&status["uptimeSeconds"]);
    let reload = &status["lastReload"];
    let mut parts = vec![format!(
        "serin {}, {ready}, up {up}\ngeneration     {}\nworkers        {}\nconfiguration  {}, {} {}",
        word(&status["version"]),
        word(&status["generation"]),
        word(&status["workers"]),
        word(&status["configFile"]),
        if reload["ok"] == true {
            "live since"
        } else {
            "REFUSED at"
        },
        word(&reload["at"]),
    )];
    for problem in items(&reload["problems"]) {
        parts[0].push_str(&format!("\n  {}", field_error(problem)));
    }
    if let Some(environment) = status["environment"].as_str() {
        parts[0].push_str(&format!("\nenvironment    {environment}"));
    }
    if let Some(problem) = status["stateProblem"].as_str() {
        parts[0].push_str(&format!("\nstate          CANNOT BE WRITTEN: {problem}"));
    }
    if status["overloaded"] == true {
        parts[0].push_str("\noverloaded     new requests are refused (503) for want of memory");
    }
    if status["frozen"]["frozen"] == true {
        parts[0].push_str(&format!("\nfrozen         {}", frozen(&status["frozen"])));
    }
    for kept in items(&status["kept"]) {
        parts[0].push_str(&format!("\nkept           {}", word(kept)));
    }
    for issuer in items(&status["jwt"]).iter().filter_map(issuer_problem) {
        parts[0].push_str(&format!("\njwt            {issuer}"));
    }
    let silent = || {
        flags
            .iter()
            .flat_map(|flags| items(&flags["flags"]))
            .filter_map(silence)
    };
    for flag in silent().take(FLAGS_SHOWN) {
        parts[0].push_str(&format!("\nflag           {flag}"));
    }
    if let more @ 1.. = silent().count().saturating_sub(FLAGS_SHOWN) {
        parts[0].push_str(&format!("\nflag           and {more} more: see serin flag list"));
    }

    let mut listeners = Table::new(&["LISTENER", "ADDRESS", "TLS"]);
    for listener in items(&status["listeners"]) {
        let tls = if listener["tls"] == true { "yes" } else { "no" };
        listeners.row(vec![
            word(&listener["name"]),
            word(&listener["address"]),
            tls.to_owned(),
        ]);
    }
    parts.push(listeners.render());
    if let Some(routes) = routes {
        parts.push(variants(items(&routes["routes"])));
    }
    if !items(&status["rollouts"]).is_empty() {
        let mut rollouts = Table::new(&["ROLLOUT", "PHASE"]);
        for rollout in items(&status["rollouts"]) {
            rollouts.row(vec![word(&rollout["name"]), word(&rollout["phase"])]);
        }
        parts.push(rollouts.render());
    }
    parts.join("\n\n")
}

/// What is wrong with the keys of an issuer of tokens.
fn issuer_problem(issuer: &Value) -> Option<String> {
    let keys = issuer["keys"].as_u64().unwrap_or(0);
    if keys > 0 && issuer["problem"].is_null() {
        return None;
    }
    let problem = match &issuer["problem"] {
        Value::Null => String::new(),
        problem => format!(": {}", one_line(problem)),
    };
    let name = one_line(&issuer["issuer"]);
    Some(match (keys, issuer["fetchedAt"].as_str()) {
        (0, _) => format!("{name} has NO KEYS, nobody is believed{problem}"),
        (_, Some(_)) => format!("{name} goes by keys of {}{problem}", word(&issuer["fetchedAt"])),
        (_, None) => format!("{name}{problem}"),
    })
}

/// That a flag gives everybody the default, and why; `None`: it does not.
fn silence(flag: &Value) -> Option<String> {
    let key = word(&flag["key"]);
    let default = word(&flag["defaultVariant"]);
    if flag["enabled"] != true {
        let by_hand = &flag["byHand"];
        let why = match by_hand["enabled"] == false {
            true => format!(
                ", by {} at {}{}",
                one_line(&by_hand["by"]),
                word(&by_hand["at"]),
                because(by_hand)
            ),
            false => String::new(),
        };
        return Some(format!("{key} is OFF{why}; everybody gets {default}"));
    }
    let held_by = flag["heldBy"].as_str()?;
    Some(format!("{key} is held by {held_by}; everybody gets {default}"))
}

/// `: reason`, or nothing.
fn because(said: &Value) -> String {
    match said["reason"].as_str() {
        None | Some("") => String::new(),
        Some(_) => format!(": {}", one_line(&said["reason"])),
    }
}

/// A route after its weights were set.
pub(super) fn weights_set(route: &Value, dry_run: bool) -> String {
    let note = if dry_run { " (dry run: nothing was changed)" } else { "" };
    format!(
        "{}: generation {}{note}\n\n{}",
        word(&route["name"]),
        word(&route["generation"]),
        variants(std::slice::from_ref(route))
    )
}

fn variants(routes: &[Value]) -> String {
    let mut table = Table::new(&[
        "ROUTE",
        "VARIANT",
        "BACKEND",
        "RELEASE",
        ">WEIGHT",
        ">SHARE",
        ">REQUESTS",
        ">ERRORS",
        ">P95",
    ]);
    let rows = || {
        routes
            .iter()
            .flat_map(|route| items(&route["variants"]).iter().map(move |variant| (route, variant)))
    };
    for (route, variant) in rows().take(VARIANTS_SHOWN) {
        table.row(vec![
            word(&route["name"]),
            word(&variant["name"]),
            word(&variant["backend"]),
            word(&variant["release"]),
            word(&variant["weight"]),
            percent(&variant["share"]),
            word(&variant["requests"]),
            percent(&variant["errorRate"]),
            span(&variant["p95"]),
        ]);
    }
    match rows().count().saturating_sub(VARIANTS_SHOWN) {
        0 => table.render(),
        more => format!("{}\nand {more} more: see GET /v1/routes", table.render()),
    }
}

/// `GET /v1/rollouts`
pub(super) fn rollouts(list: &Value) -> String {
    let mut table = Table::new(&[
        "ROLLOUT", "ROUTE", "MODE", "PHASE", "STEP", ">SHARE", "VERDICT", "REASON",
    ]);
    for rollout in items(&list["rollouts"]) {
        table.row(vec![
            word(&rollout["name"]),
            word(&rollout["route"]),
            word(&rollout["mode"]),
            word(&rollout["phase"]),
            step(rollout),
            percent(&rollout["share"]),
            word(&rollout["verdict"]),
            one_line(&rollout["reason"]),
        ]);
    }
    table.render()
}

/// `GET /v1/rollouts/{rollout}`
pub(super) fn rollout(rollout: &Value) -> String {
    let mut text = format!(
        "{}: route {}, from {} to {}\nphase    {}, since {}\nshare    {} of the split",
        word(&rollout["name"]),
        word(&rollout["route"]),
        word(&rollout["from"]),
        word(&rollout["to"]),
        word(&rollout["phase"]),
        word(&rollout["since"]),
        percent(&rollout["share"]),
    );
    if rollout["mode"] == "observe" {
        text.push_str("\nmode     observe: judged and reported, nothing moves by itself");
    }
    if !rollout["step"].is_null() {
        text.push_str(&format!("\nstep     {}{}", step(rollout), baked(rollout)));
    }
    for (label, line) in afterwards(rollout) {
        text.push_str(&format!("\n{label:<9}{line}"));
    }
    if let Some(waiting) = waiting(rollout) {
        text.push_str(&format!("\nwaiting  {waiting}"));
    }
    for (index, line) in judgement(rollout).iter().enumerate() {
        let label = if index == 0 { "verdict" } else { "" };
        text.push_str(&format!("\n{label:<9}{line}"));
    }
    text.push_str(&format!("\nreason   {}", one_line(&rollout["reason"])));
    text
}

/// `, baked 1.5 s of 2h00m`; empty for a step without such a time.
pub(super) fn baked(rollout: &Value) -> String {
    match rollout["bakeSeconds"].as_f64() {
        Some(of) if of > 0.0 => {
            let (baked, of) = (span(&rollout["bakedSeconds"]), span(&rollout["bakeSeconds"]));
            format!(", baked {baked} of {of}")
        }
        Some(_) | None => String::new(),
    }
}

/// What a rollout waits for beside time and evidence. A gate that was just opened gives way with the next
/// tick.
pub(super) fn waiting(rollout: &Value) -> Option<String> {
    if rollout["waiting"].is_string() {
        return Some(word(&rollout["waiting"]));
    }
    let now = items(&rollout["plan"]).iter().find(|step| step["state"] == "current")?;
    let runs = rollout["phase"] == "progressing" || rollout["phase"] == "promoting";
    (runs && now["kind"] == "approvals").then(|| "nobody any more: the gate is open".to_owned())
}

/// Until when what follows a success goes on: label and words.
pub(super) fn afterwards(rollout: &Value) -> Vec<(&'static str, String)> {
    let lines = [
        ("standby", "standbyUntil", "the former version stands by"),
        ("watch", "watchUntil", "judged on, and rolled back when it fails,"),
        ("rollback", "rollbackUntil", "possible"),
    ];
    let known = lines.into_iter().filter(|(_, key, _)| rollout[key].is_string());
    known
        .map(|(label, key, words)| (label, format!("{words} until {}", word(&rollout[key]))))
        .collect()
}

/// The verdict with its reason, and its figures below. None where nothing has been judged; where nobody judges
/// the canary, that stands here in its place.
pub(super) fn judgement(rollout: &Value) -> Vec<String> {
    if rollout["verdict"].is_null() {
        return Vec::new();
    }
    let phase = rollout["phase"].as_str();
    if phase == Some("succeeded") && rollout["watchUntil"].is_null() {
        return vec!["not judged any more".to_owned()];
    }
    let votes = rollout["evidence"]["canary"]["requests"].as_u64();
    let runs = matches!(phase, Some("progressing" | "paused" | "promoting"));
    if runs && rollout["share"].as_f64() == Some(0.0) && votes.is_none_or(|votes| votes == 0) {
        return vec!["nothing is judged yet: the canary has no weight".to_owned()];
    }
    let verdict = format!("{}: {}", word(&rollout["verdict"]), one_line(&rollout["verdictReason"]));
    std::iter::once(verdict).chain(evidence(rollout)).collect()
}

/// The figures of both sides and of the test, a line each.
pub(super) fn evidence(rollout: &Value) -> Vec<String> {
    let evidence = &rollout["evidence"];
    let mut lines = Vec::new();
    for (side, name) in [("canary", "to"), ("stable", "from")] {
        let (side, name) = (&evidence[side], word(&rollout[name]));
        let window = span(&evidence["windowSeconds"]);
        if side["share"].is_number() {
            let since = match &evidence["sinceSeconds"] {
                Value::Null => window,
                since => span(since),
            };
            lines.push(format!(
                "{name}: {} {} ({} to {}, {} of {}) in {since}",
                counted(&evidence["metric"]),
                percent(&side["share"]),
                percent(&side["low"]),
                percent(&side["high"]),
                word(&side["bad"]),
                word(&side["all"]),
            ));
        } else if side.is_object() {
            lines.push(format!(
                "{name}: {} of {} failed ({}) in {window}",
                word(&side["failures"]),
                word(&side["requests"]),
                percent(&side["errorRate"]),
            ));
        }
    }
    let statistic = &evidence["statistic"];
    if evidence["metric"] == "failedRequests" {
        let (spent, of) = (word(&statistic["value"]), word(&statistic["level"]));
        lines.push(format!("budget {spent} of {of} failed requests spent"));
    } else if let (Some(value), Some(level)) = (statistic["value"].as_f64(), statistic["level"].as_f64()) {
        let does = match (rollout["verdict"].as_str(), evidence["level"].as_str()) {
            (Some("pass" | "inconclusive"), _) => "passes",
            (_, Some("warn")) => "holds",
            _ => "aborts",
        };
        lines.push(format!("evidence {} to 1 ({} to 1 {does})", ratio(value), ratio(level)));
    }
    lines
}

/// What the bad ones of a metric are, whose share is shown.
fn counted(metric: &Value) -> String {
    match metric.as_str() {
        None | Some("successRate" | "errorRateRatio") => "errorRate".to_owned(),
        Some(latency) if latency.starts_with("latency") => "slow".to_owned(),
        _ => word(metric),
    }
}

/// Odds as people say them: `0.32`, `19.6`, `1320`, `4.2e15`.
fn ratio(value: f64) -> String {
    if value < 1e7 {
        digits(value)
    } else {
        format!("{value:.1e}")
    }
}

/// A rollout in one line, for a log of its progress.
pub(super) fn progress(rollout: &Value) -> String {
    let step = match &rollout["step"] {
        Value::Null => String::new(),
        _ => format!(" step {}", step(rollout)),
    };
    format!(
        "{} {}{step} share {}: {}",
        word(&rollout["name"]),
        word(&rollout["phase"]),
        percent(&rollout["share"]),
        one_line(&rollout["reason"])
    )
}

/// The history of `GET /v1/rollouts/{rollout}`, oldest first.
pub(super) fn history(rollout: &Value) -> String {
    let mut table = Table::new(&["AT", "WHAT", "BY", "FROM", "TO", "REASON"]);
    for event in items(&rollout["history"]) {
        table.row(vec![
            word(&event["at"]),
            word(&event["kind"]),
            one_line(&event["by"]),
            word(&event["from"]),
            word(&event["to"]),
            one_line(&event["reason"]),
        ]);
    }
    table.render()
}

/// `GET /v1/flags`
pub(super) fn flags(list: &Value) -> String {
    let mut table = Table::new(&["FLAG", "ROUTE", "STATE", "DEFAULT", "VARIANTS", "COHORTS", "ROLLOUT"]);
    for flag in items(&list["flags"]) {
        let variants = items(&flag["variants"]).iter();
        let variants: Vec<_> = variants
            .take(FLAG_VARIANTS_SHOWN)
            .map(|variant| format!("{} {}", word(&variant["name"]), percent(&variant["share"])))
            .collect();
        let more = match items(&flag["variants"]).len().saturating_sub(FLAG_VARIANTS_SHOWN) {
            0 => String::new(),
            more => format!(", {more} more"),
        };
        table.row(vec![
            word(&flag["key"]),
            word(&flag["route"]),
            match flag["heldBy"].as_str() {
                Some(other) if flag["enabled"] == true => format!("held by {other}"),
                _ => on_or_off(flag).to_owned(),
            },
            word(&flag["defaultVariant"]),
            variants.join(", ") + &more,
            items(&flag["cohorts"]).len().to_string(),
            match flag["rollout"].is_object() {
                true => rollout_of(flag),
                false => "-".to_owned(),
            },
        ]);
    }
    table.render()
}

fn rollout_of(flag: &Value) -> String {
    let rollout = &flag["rollout"];
    format!("{}, {}", word(&rollout["name"]), word(&rollout["phase"]))
}

/// Variants of one flag in the list of all.
const FLAG_VARIANTS_SHOWN: usize = 4;

/// `GET /v1/flags/{key}`
pub(super) fn flag(flag: &Value) -> String {
    let place = match flag["route"].as_str() {
        Some(_) => format!("route {}", word(&flag["route"])),
        None => "for applications alone".to_owned(),
    };
    let mut text = format!("{}: {}, {place}", word(&flag["key"]), on_or_off(flag));
    let by_hand = &flag["byHand"];
    if by_hand.is_object() {
        let did = if by_hand["enabled"] == true { "on" } else { "off" };
        let reason = because(by_hand);
        text.push_str(&format!(
            "\nswitched  {did} by {} at {}{reason}",
            one_line(&by_hand["by"]),
            word(&by_hand["at"])
        ));
    }
    let schedule = &flag["schedule"];
    if schedule["enabled"] == false {
        text.push_str("\nfile      enabled: false");
    }
    for (name, what) in [("enableAt", "on "), ("disableAt", "off")] {
        if schedule[name].is_string() {
            text.push_str(&format!("\n{what}       at {}", word(&schedule[name])));
        }
    }
    for prerequisite in items(&flag["prerequisites"]) {
        let (other, variant) = (word(&prerequisite["flag"]), word(&prerequisite["variant"]));
        text.push_str(&format!("\nneeds     flag {other} to answer {variant}"));
    }
    if flag["heldBy"].is_string() {
        text.push_str(&format!(
            "\nheld      by flag {}: everybody gets the default",
            word(&flag["heldBy"])
        ));
    }
    if flag["userKey"].is_string() {
        text.push_str(&format!("\nkey       {}", one_line(&flag["userKey"])));
    }
    if flag["stickyCookie"].is_string() {
        text.push_str(&format!("\nsticky    cookie {}", word(&flag["stickyCookie"])));
    }
    text.push_str(&format!("\ndefault   {}", word(&flag["defaultVariant"])));
    let cohorts: Vec<_> = items(&flag["cohorts"]).iter().map(word).collect();
    if !cohorts.is_empty() {
        text.push_str(&format!("\ncohorts   {}", cohorts.join(", ")));
    }
    if flag["rollout"].is_object() {
        text.push_str(&format!("\nrollout   {}", rollout_of(flag)));
    }
    let mut table = Table::new(&["VARIANT", ">WEIGHT", ">SHARE", "VALUE"]);
    for variant in items(&flag["variants"]).iter().take(VARIANTS_SHOWN) {
        table.row(vec![
            word(&variant["name"]),
            word(&variant["weight"]),
            percent(&variant["share"]),
            json_in_line(&variant["value"]),
        ]);
    }
    format!("{text}\n\n{}", table.render())
}

/// A flag after it was changed.
pub(super) fn flag_changed(flag: &Value, dry_run: bool) -> String {
    let note = if dry_run { " (dry run: nothing was changed)" } else { "" };
    format!("generation {}{note}\n{}", word(&flag["generation"]), self::flag(flag))
}

/// `GET /v1/flags/{key}/evaluate`
pub(super) fn evaluation(evaluation: &Value) -> String {
    let mut text = format!(
        "{}: {}, value {}\nreason    {}: {}",
        word(&evaluation["key"]),
        word(&evaluation["variant"]),
        json_in_line(&evaluation["value"]),
        word(&evaluation["reason"]),
        one_line(&evaluation["why"]),
    );
    if evaluation["seenKey"].is_string() {
        text.push_str(&format!("\nkey       {}", one_line(&evaluation["seenKey"])));
    }
    if evaluation["byChance"] == true {
        text.push_str("\nchance    decided: the next answer may be another one");
    }
    for asked in items(&evaluation["prerequisites"]) {
        text.push_str(&format!("\nasked     {}", asked_flag(asked)));
    }
    for cohort in items(&evaluation["cohorts"]) {
        let outcome = match (&cohort["matched"], &cohort["unmet"]) {
            (Value::Bool(true), _) => "matches".to_owned(),
            (_, unmet) => one_line(unmet),
        };
        text.push_str(&format!("\ncohort    {}: {outcome}", word(&cohort["name"])));
    }
    text
}

fn asked_flag(asked: &Value) -> String {
    let (flag, answered) = (word(&asked["flag"]), word(&asked["answered"]));
    match asked["wanted"] == asked["answered"] {
        true => format!("flag {flag} answers {answered}"),
        false => format!("flag {flag} answers {answered} and not {}", word(&asked["wanted"])),
    }
}

fn on_or_off(flag: &Value) -> &'static str {
    if flag["enabled"] == true { "on" } else { "OFF" }
}

/// JSON in one line; strings in it escape what would move the cursor.
fn json_in_line(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(JSON_CHARS_SHOWN) {
        Some((end, _)) => format!("{}…", one_line(&Value::from(&text[..end]))),
        None => one_line(&Value::from(text)),
    }
}

/// Characters of a value in a table; all of it is in the JSON.
const JSON_CHARS_SHOWN: usize = 80;

/// `GET /v1/freeze`
pub(super) fn freeze(freeze: &Value) -> String {
    match freeze["frozen"] == true {
        true => format!("frozen {}", frozen(freeze)),
        false => "not frozen: rollouts may move forward".to_owned(),
    }
}

fn frozen(freeze: &Value) -> String {
    let reason = because(freeze);
    let (since, by) = (word(&freeze["since"]), word(&freeze["by"]));
    format!("since {since} by {by}{reason}; nothing moves forward, aborts still work")
}

/// A problem document.
pub(super) fn problem(problem: &Value) -> String {
    let mut text = format!("{}: {}", word(&problem["title"]), one_line(&problem["detail"]));
    for error in items(&problem["errors"]) {
        text.push_str(&format!("\n  {}", field_error(error)));
    }
    text
}

fn field_error(error: &Value) -> String {
    let parts = [&error["place"], &error["field"]].into_iter();
    // A problem of a whole file has no field, one of a body no place.
    let parts = parts.filter(|part| part.as_str().is_some_and(|text| !text.is_empty()));
    let at: Vec<String> = parts.map(one_line).collect();
    match at.is_empty() {
        true => one_line(&error["detail"]),
        false => format!("{}: {}", at.join(" "), one_line(&error["detail"])),
    }
}

/// `2 of 3 (25 %)`: people count from 1.
pub(super) fn step(rollout: &Value) -> String {
    let Some(index) = rollout["step"].as_u64() else {
        return "-".to_owned();
    };
    let steps = word(&rollout["steps"]);
    let weights = items(&rollout["stepWeights"]);
    let weight = usize::try_from(index).ok().and_then(|index| weights.get(index));
    let weight = weight.map_or(String::new(), |weight| format!(" ({})", percent(weight)));
    format!("{} of {steps}{weight}", index + 1)
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text or number as it is; `-` for what is unknown.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => one_line(value),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

/// A text without anything that would move the cursor: people's reasons are shown as they are.
pub(super) fn one_line(value: &Value) -> String {
    let text = value.as_str().unwrap_or("-");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// 0 to 1 as percent with three digits that count.
pub(super) fn percent(value: &Value) -> String {
    value
        .as_f64()
        .map_or("-".to_owned(), |share| format!("{} %", digits(share * 100.0)))
}

/// Seconds in the unit that suits them.
pub(super) fn span(value: &Value) -> String {
    let Some(seconds) = value.as_f64() else {
        return "-".to_owned();
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; uptimes are small
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 if seconds <= 0.0 => "0 s".to_owned(),
        0 => format!("{} ms", digits(seconds * 1000.0)),
        1..60 => format!("{} s", digits(seconds)),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

/// Three digits that count, no zeros behind the point.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests;
