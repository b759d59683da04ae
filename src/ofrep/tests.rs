//! What calls are answered; and that applications are told what requests get.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::fixture::{aborted, by_file, cohort, name, prerequisite, route, shop, shop_table, spec, table};
use super::{Answer, BODY_BYTES_MAX, Call, Context, Outcome, Unmet, answer, explain};
use crate::config::Rules;
use crate::head::{HeadBuilder, Method, Version};
use crate::name::Name;
use crate::route::{
    CohortSpec, Condition, Destination, FieldTest, FlagId, KeyFallback, KeySource, KeySpec, KeysSpec, Origin, Request,
    Secret, StickySpec, Table, Why, bucket_of_key,
};
use crate::values::Values;

const FLAGS: &str = "/ofrep/v1/evaluate/flags";

fn post(table: &Table, path: &str, body: &[u8], if_none_match: Option<&str>) -> Answer {
    let call = Call {
        path,
        is_post: true,
        if_none_match: if_none_match.map(str::as_bytes),
        body,
    };
    answer(table, &call, 0, 0)
}

fn body_of(answer: &Answer) -> Json {
    serde_json::from_slice(&answer.body).unwrap()
}

#[track_caller]
fn one(table: &Table, key: &str, context: Json, status: u16, expected: Json) {
    let body = json!({ "context": context }).to_string();
    let answer = post(table, &format!("{FLAGS}/{key}"), body.as_bytes(), None);
    assert_eq!((answer.status, body_of(&answer)), (status, expected), "{key} {context}");
    assert_eq!(answer.etag, None);
}

#[track_caller]
fn refused(table: &Table, path: &str, body: &str, status: u16, code: &str) {
    let answer = post(table, path, body.as_bytes(), None);
    let found = body_of(&answer)["errorCode"].clone();
    assert_eq!((answer.status, found), (status, json!(code)), "{path} {body:.60}");
}

#[test]
fn a_flag_answers_variant_value_reason_and_where_it_comes_from() {
    let table = shop_table();
    // bucket_of_key("dark-mode", "alice") lies below 900,000, that of "u6" above.
    assert!(bucket_of_key("dark-mode", b"alice") < 900_000);
    let on = (0..)
        .map(|n| format!("u{n}"))
        .find(|user| bucket_of_key("dark-mode", user.as_bytes()) >= 900_000);
    one(
        &table,
        "dark-mode",
        json!({"targetingKey": "alice"}),
        200,
        json!({"key": "dark-mode", "reason": "SPLIT", "variant": "off", "value": false, "metadata": {"generation": 42}}),
    );
    one(
        &table,
        "dark-mode",
        json!({ "targetingKey": on.unwrap() }),
        200,
        json!({"key": "dark-mode", "reason": "SPLIT", "variant": "on", "value": true, "metadata": {"generation": 42}}),
    );
    one(
        &table,
        "theme",
        json!({}),
        200,
        json!({"key": "theme", "reason": "SPLIT", "variant": "night", "value": {"colour": "dark", "sizes": [1, 2.5]},
            "metadata": {"generation": 42}}),
    );
    one(
        &table,
        "limit",
        json!({"targetingKey": "alice"}),
        200,
        json!({"key": "limit", "reason": "DEFAULT", "variant": "low", "value": 3, "metadata": {"generation": 42}}),
    );
    one(
        &table,
        "beta",
        json!({"targetingKey": "alice"}),
        200,
        json!({"key": "beta", "reason": "DEFAULT", "variant": "no", "value": "no", "metadata": {"generation": 42}}),
    );
    one(
        &table,
        "new-checkout",
        json!({"x-staff": "yes", "targetingKey": "alice"}),
        200,
        json!({"key": "new-checkout", "reason": "TARGETING_MATCH", "variant": "canary", "value": "canary",
            "metadata": {"generation": 42, "cohort": "staff", "route": "checkout"}}),
    );
}

#[test]
fn a_flag_that_is_off_gives_everybody_the_default() {
    let spec = shop();
    let mut in_force = by_file(&spec);
    in_force[0].enabled = false;
    one(
        &table(spec, &in_force),
        "new-checkout",
        json!({"headers": {"x-staff": "yes"}}),
        200,
        json!({"key": "new-checkout", "reason": "DISABLED", "variant": "stable", "value": "stable",
            "metadata": {"generation": 42, "route": "checkout"}}),
    );
}

#[test]
fn who_has_no_key_is_told_so_where_chance_would_decide() {
    let table = shop_table();
    one(
        &table,
        "new-checkout",
        json!({"headers": {"x-user-id": ""}}),
        400,
        json!({"key": "new-checkout", "errorCode": "TARGETING_KEY_MISSING",
            "errorDetails": "the context has no targetingKey or headers.x-user-id, which keeps a user on one side"}),
    );
    // A route without a key draws anew for each request, and for each question.
    let plain = |draw| {
        let call = Call {
            path: "/ofrep/v1/evaluate/flags/plain",
            is_post: true,
            if_none_match: None,
            body: b"{}",
        };
        body_of(&answer(&table, &call, draw, 0))["variant"].clone()
    };
    assert_eq!((plain(0), plain(u64::MAX)), (json!("stable"), json!("canary")));
}

#[test]
fn what_cannot_be_answered_says_why() {
    let table = shop_table();
    let flag = &format!("{FLAGS}/dark-mode");
    refused(&table, flag, "", 400, "PARSE_ERROR");
    refused(&table, flag, "{\"context\":{}}}", 400, "PARSE_ERROR");
    refused(&table, flag, &"[".repeat(9_000), 400, "PARSE_ERROR");
    refused(&table, flag, "{\"context\":7}", 400, "INVALID_CONTEXT");
    refused(
        &table,
        flag,
        "{\"context\":{\"targetingKey\":{}}}",
        400,
        "INVALID_CONTEXT",
    );
    refused(&table, flag, "{}", 400, "TARGETING_KEY_MISSING");
    refused(&table, flag, &" ".repeat(BODY_BYTES_MAX + 1), 413, "GENERAL");
    refused(&table, FLAGS, &" ".repeat(BODY_BYTES_MAX + 1), 413, "GENERAL");
    refused(&table, FLAGS, "7", 400, "PARSE_ERROR");
    refused(&table, &format!("{FLAGS}/nobody"), "{", 404, "FLAG_NOT_FOUND");
    refused(&table, &format!("{FLAGS}/"), "{}", 404, "GENERAL");
    refused(&table, &format!("{FLAGS}/a/b"), "{}", 404, "GENERAL");
    refused(&table, &format!("{FLAGS}s"), "{}", 404, "GENERAL");
    refused(&table, "/ofrep/v1/configuration", "{}", 404, "GENERAL");
    let key = "%22".repeat(500);
    let answer = post(&table, &format!("{FLAGS}/{key}"), b"{}", None);
    assert_eq!(body_of(&answer)["key"], "\"".repeat(80));
    let get = Call {
        path: flag,
        is_post: false,
        if_none_match: None,
        body: b"",
    };
    assert_eq!(super::answer(&table, &get, 0, 0).status, 405);
    assert_eq!(super::too_large().status, 413);
}

#[test]
fn a_key_may_be_escaped() {
    let answer = post(
        &shop_table(),
        &format!("{FLAGS}/dark%2Dmode"),
        b"{\"context\":{\"targetingKey\":\"a\"}}",
        None,
    );
    assert_eq!(answer.status, 200);
}

#[test]
fn all_flags_are_answered_at_once_and_who_has_them_is_told_nothing_new() {
    let table = shop_table();
    let body = |user: &str| json!({"context": {"targetingKey": user}}).to_string();
    let first = post(&table, FLAGS, body("alice").as_bytes(), None);
    let all = body_of(&first);
    let keys: Vec<_> = all["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| flag["key"].clone())
        .collect();
    assert_eq!(keys, ["new-checkout", "dark-mode", "theme", "limit", "beta"]);
    assert_eq!((first.status, &all["metadata"]), (200, &json!({"generation": 42})));
    for flag in all["flags"].as_array().unwrap() {
        let key = flag["key"].as_str().unwrap();
        one(&table, key, json!({"targetingKey": "alice"}), 200, flag.clone());
    }
    let tag = first.etag.as_deref().unwrap();
    let again = post(&table, FLAGS, body("alice").as_bytes(), Some(tag));
    assert_eq!(
        (again.status, again.body.len(), again.etag.as_deref()),
        (304, 0, Some(tag))
    );
    let weak = format!("\"other\", W/{tag}");
    assert_eq!(post(&table, FLAGS, body("alice").as_bytes(), Some(&weak)).status, 304);
    assert_eq!(
        post(&table, FLAGS, body("alice").as_bytes(), Some("\"other\"")).status,
        200
    );
    let mut later = shop_table();
    later.generation_text = "43".into();
    assert_eq!(post(&later, FLAGS, body("alice").as_bytes(), Some(tag)).status, 200);
}

#[test]
fn a_flag_that_fails_is_an_entry_among_the_others() {
    let answer = post(&shop_table(), FLAGS, b"{\"context\":{}}", None);
    let all = body_of(&answer);
    let codes: Vec<_> = all["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| flag["errorCode"].as_str())
        .collect();
    let missing = Some("TARGETING_KEY_MISSING");
    assert_eq!(
        (answer.status, codes),
        (200, vec![missing, missing, None, None, missing])
    );
}

#[track_caller]
fn explained(id: FlagId, context: Json, why: &str) {
    let table = shop_table();
    let Json::Object(object) = context.clone() else {
        panic!("{context}")
    };
    let context = Context::of(object, 0).unwrap();
    assert_eq!(explain(&table, id, &context, 1 << 63).why, why);
}

#[test]
fn an_explanation_says_what_decided_in_words() {
    let bucket = bucket_of_key("dark-mode", b"alice");
    let bucket = format!("{},{:03}", bucket / 1000, bucket % 1000);
    explained(
        FlagId::Own(0),
        json!({"targetingKey": "alice"}),
        &format!("the targeting key has bucket {bucket}, which lies in the part of off, 0 to 899,999 of 1,000,000"),
    );
    explained(
        FlagId::Own(0),
        json!({}),
        "the targeting key is not there, and chance drew bucket 500,000, which lies in the part of off, 0 to 899,999 \
         of 1,000,000",
    );
    explained(
        FlagId::Route(1),
        json!({}),
        "chance drew bucket 500,000, which lies in the part of canary, 500,000 to 999,999 of 1,000,000",
    );
    explained(FlagId::Route(0), json!({"x-staff": "yes"}), "cohort staff: canary");
    explained(FlagId::Own(1), json!({}), "night has all the weight");
    explained(
        FlagId::Own(3),
        json!({"targetingKey": "alice"}),
        "flag dark-mode answers off and not on: no is the default",
    );
}

#[test]
fn an_explanation_lists_what_was_tried() {
    let mut spec = shop();
    let mut picky = cohort("picky", Origin::Header, "x-staff", "yes", 0);
    picky.prerequisites = vec![prerequisite(FlagId::Own(0), 1)];
    spec.routes[0]
        .rules
        .cohorts
        .insert(0, cohort("press", Origin::Header, "x-press", "yes", 0));
    spec.routes[0].rules.cohorts.insert(1, picky);
    let in_force = by_file(&spec);
    let table = table(spec, &in_force);
    let object = json!({"x-staff": "yes", "targetingKey": "alice"});
    let context = Context::of(object.as_object().unwrap().clone(), 0).unwrap();
    let explanation = explain(&table, FlagId::Route(0), &context, 0);
    let tried: Vec<_> = explanation
        .cohorts
        .iter()
        .map(|tried| (tried.name.as_str(), tried.outcome))
        .collect();
    let unmet = |at: usize| match tried[at].1 {
        Outcome::Unmet(unmet) => unmet.in_words(|_| true),
        Outcome::Matched => panic!("{tried:?}"),
    };
    assert_eq!(
        (tried[0].0, unmet(0)),
        ("press", "the header x-press is not there".to_owned())
    );
    assert!(matches!(tried[1], ("picky", Outcome::Unmet(Unmet::Flag(asked))) if asked.flag.as_str() == "dark-mode"));
    assert_eq!(unmet(1), "flag dark-mode answers off and not on");
    assert_eq!(tried[2..], [("staff", Outcome::Matched)]);
    assert_eq!(explanation.key.as_deref(), Some("alice"));
    assert_eq!(explanation.cohort.map(Name::as_str), Some("staff"));
}

#[test]
fn an_explanation_asks_other_flags_as_the_decision_did() {
    let mut spec = shop();
    let mut lucky = cohort("lucky", Origin::Header, "x-user-id", "alice", 0);
    lucky.prerequisites = vec![prerequisite(FlagId::Route(1), 1)];
    spec.routes[0].rules.cohorts.insert(0, lucky);
    let in_force = by_file(&spec);
    let table = table(spec, &in_force);
    let object = json!({"headers": {"x-user-id": "alice"}});
    let context = Context::of(object.as_object().unwrap().clone(), 0).unwrap();
    for draw in [0, u64::MAX] {
        let explanation = explain(&table, FlagId::Route(0), &context, draw);
        let is_matched = explanation.cohorts[0].outcome == Outcome::Matched;
        assert_eq!(
            is_matched,
            explanation.decision.why == Why::Cohort(0),
            "{explanation:?}"
        );
    }
}

/// A request, in the words of both sides.
#[derive(Clone, Debug)]
struct Visit {
    route: usize,
    /// Of header, cookie, parameter and claim: the user, and the plan.
    places: [(Option<String>, Option<String>); 4],
    certificate: Option<String>,
    client: [u8; 4],
    host: String,
    secret: Option<String>,
    sticky: Option<String>,
    draw: u64,
}

const USERS: &str = "[ab]?[a-z0-9]{1,6}";
const NOW_S: u64 = 1_795_262_413;

fn visit() -> impl Strategy<Value = Visit> {
    let place = || (prop::option::of(USERS), prop::option::of("gold|iron"));
    let sticky = any::<u32>().prop_map(|draw| {
        let table = odd_table(&Odd::default());
        let field = table.routes[0].flag.sticky.as_ref().unwrap().seal(draw, NOW_S, false);
        let (value, _) = field.split_once(';').unwrap();
        value.split_once('=').unwrap().1.to_owned()
    });
    (
        (
            0..3_usize,
            [place(), place(), place(), place()],
            prop::option::of(USERS),
        ),
        (any::<[bool; 2]>(), "(a|b)[.]example", prop::option::of("sesame|other")),
        (
            prop::option::of(prop_oneof![sticky, USERS.prop_map(|text| text)]),
            any::<u64>(),
        ),
    )
        .prop_map(
            |((route, places, certificate), (client, host, secret), (sticky, draw))| Visit {
                route,
                places,
                certificate,
                client: [10, u8::from(client[0]), 0, u8::from(client[1])],
                host,
                secret,
                sticky,
                draw,
            },
        )
}

impl Visit {
    fn pairs(&self, place: usize) -> impl Iterator<Item = (&'static str, &str)> {
        let (user, plan) = &self.places[place];
        let user = user.iter().map(|user| ("user", user.as_str()));
        user.chain(plan.iter().map(|plan| ("plan", plan.as_str())))
    }

    /// As the proxy sees it.
    fn choice(&self, table: &Table) -> (usize, Option<usize>, Option<u32>) {
        let mut head = HeadBuilder::default();
        for (name, value) in self.pairs(0) {
            head.field(name.as_bytes(), value.as_bytes());
        }
        if let Some(secret) = &self.secret {
            head.field(b"x-override", secret.as_bytes());
        }
        let sticky = self.sticky.iter().map(|value| ("serin-r0", value.as_str()));
        let cookies: Vec<_> = self
            .pairs(1)
            .chain(sticky)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            head.field(b"cookie", cookies.join("; ").as_bytes());
        }
        let query: Vec<_> = self.pairs(2).map(|(name, value)| format!("{name}={value}")).collect();
        let target = format!("/r{}/x?{}", self.route, query.join("&"));
        let head = head.request(Method::Get, Version::Http11, &self.host, &target);
        let claims = self
            .pairs(3)
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let claims = Values::of(&claims).unwrap();
        let request = Request {
            certificate: self.certificate.as_deref(),
            claims: Some(&claims),
            now_s: NOW_S,
            ..Request::of(&head, self.client.into())
        };
        assert_eq!(table.find(&head, true), Some(self.route));
        let choice = table.choose(self.route, &request, self.draw);
        (choice.variant, choice.cohort, choice.key)
    }

    /// As an application describes it.
    fn body(&self) -> Vec<u8> {
        let object = |place| -> Json {
            self.pairs(place)
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect()
        };
        let mut context = json!({
            "headers": object(0),
            "cookies": object(1),
            "query": object(2),
            "claims": object(3),
            "clientIp": std::net::IpAddr::from(self.client),
            "host": self.host,
        });
        if let Some(certificate) = &self.certificate {
            context["clientCertificate"] = json!(certificate);
        }
        if let Some(secret) = &self.secret {
            context["headers"]["X-Override"] = json!(secret);
        }
        if let Some(sticky) = &self.sticky {
            context["cookies"]["serin-r0"] = json!(sticky);
        }
        json!({ "context": context }).to_string().into_bytes()
    }
}

/// Three routes with odd rules; a later one may ask the earlier ones.
#[derive(Clone, Debug, Default)]
struct Odd {
    weights: [[u32; 2]; 3],
    enabled: [bool; 3],
    aborted: [bool; 3],
    salts: [String; 3],
    keys: [Option<(u8, bool)>; 3],
    cohorts: [Vec<OddCohort>; 3],
    asks: [Option<usize>; 3],
}

#[derive(Clone, Debug)]
struct OddCohort {
    /// Where it looks: its origin, whether at the plan, how, and whether for the opposite.
    conditions: Vec<(u8, bool, u8, bool)>,
    network: bool,
    secret: bool,
    keys: Option<Vec<String>>,
    asks: Option<usize>,
    to: Result<usize, [u32; 2]>,
}

fn odd() -> impl Strategy<Value = Odd> {
    let weights = || {
        prop_oneof![
            Just([1, 0]),
            Just([0, 1]),
            (1..100_u32, 1..100_u32).prop_map(|(a, b)| [a, b])
        ]
    };
    let cohort = || {
        let condition = (0..5_u8, any::<bool>(), 0..4_u8, any::<bool>());
        (
            prop::collection::vec(condition, 0..3),
            (prop::bool::weighted(0.2), prop::bool::weighted(0.2)),
            prop::option::weighted(0.3, prop::collection::vec(USERS, 1..4)),
            prop::option::weighted(0.3, 0..2_usize),
            prop_oneof![(0..2_usize).prop_map(Ok), weights().prop_map(Err)],
        )
            .prop_map(|(conditions, (network, secret), keys, asks, to)| OddCohort {
                conditions,
                network,
                secret,
                keys,
                asks,
                to,
            })
    };
    let cohorts = || prop::collection::vec(cohort(), 0..4);
    let mostly = || prop::bool::weighted(0.85);
    let seldom = || prop::bool::weighted(0.2);
    let key = || prop::option::weighted(0.8, (0..6_u8, any::<bool>()));
    let asks = || prop::option::weighted(0.4, 0..2_usize);
    (
        [weights(), weights(), weights()],
        [mostly(), mostly(), mostly()],
        [seldom(), seldom(), seldom()],
        ["[a-z]{0,2}", "[a-z]{0,2}", "[a-z]{0,2}"],
        [key(), key(), key()],
        [cohorts(), cohorts(), cohorts()],
        [asks(), asks(), asks()],
    )
        .prop_map(|(weights, enabled, aborted, salts, keys, cohorts, asks)| Odd {
            weights,
            enabled,
            aborted,
            salts,
            keys,
            cohorts,
            asks,
        })
}

fn odd_table(odd: &Odd) -> Table {
    let routes = (0..3).map(|at| {
        let text = format!("r{at}");
        // A route may ask the one before it.
        let before = |variant: usize| (at > 0).then(|| prerequisite(FlagId::Route(at - 1), variant));
        let cohort = |(number, odd): (usize, &OddCohort)| CohortSpec {
            conditions: odd.conditions.iter().map(condition).collect(),
            networks: if odd.network {
                vec![([10, 1, 0, 0].into(), 16)]
            } else {
                Vec::new()
            },
            secret: odd.secret.then(|| Secret {
                header: "x-override".to_owned(),
                value: "sesame".to_owned(),
            }),
            keys: odd.keys.clone().map(|inline| KeysSpec { inline, file: None }),
            prerequisites: odd.asks.and_then(before).into_iter().collect(),
            ..CohortSpec::of(
                name(&format!("c{number}")),
                match odd.to {
                    Ok(variant) => Destination::Variant(variant),
                    Err(weights) => Destination::Fractional(weights.to_vec()),
                },
            )
        };
        let rules = Rules {
            salt: odd.salts[at].clone(),
            key: odd.keys[at].map(|(place, by_address)| KeySpec {
                source: match place {
                    0 => KeySource::Header("user".to_owned()),
                    1 => KeySource::Cookie("user".to_owned()),
                    2 => KeySource::Query("user".to_owned()),
                    3 => KeySource::Claim("user".to_owned()),
                    4 => KeySource::ClientCertificate,
                    _ => KeySource::ClientIp,
                },
                fallback: if by_address {
                    KeyFallback::ClientIp
                } else {
                    KeyFallback::FreshDraw
                },
            }),
            cohorts: odd.cohorts[at].iter().enumerate().map(cohort).collect(),
            prerequisites: odd.asks[at].and_then(before).into_iter().collect(),
            sticky: (at == 0).then(|| StickySpec {
                cookie: None,
                max_age_s: 3600,
                secret: Some("x".repeat(32)),
                same_site: "Lax",
            }),
            ..Rules::of(name(&text))
        };
        let weights = if odd.weights[at] == [0, 0] {
            [1, 1]
        } else {
            odd.weights[at]
        };
        route(&text, weights, rules)
    });
    let spec = spec(routes.collect(), Vec::new());
    let mut in_force = by_file(&spec);
    for (at, now) in in_force.iter_mut().enumerate() {
        // By default nothing is said of it, and it is on.
        now.enabled = odd.enabled[at] || odd.weights[at] == [0, 0];
        now.trial = odd.aborted[at].then(|| aborted(&spec.routes[at].name));
    }
    table(spec, &in_force)
}

fn condition(&(place, at_plan, how, negated): &(u8, bool, u8, bool)) -> Condition {
    let (name, wanted) = if at_plan { ("plan", "gold") } else { ("user", "a") };
    let origin = [
        Origin::Header,
        Origin::Cookie,
        Origin::Query,
        Origin::Claim,
        Origin::ClientCertificate,
    ][usize::from(place)];
    Condition {
        origin,
        name: if origin == Origin::ClientCertificate {
            String::new()
        } else {
            name.to_owned()
        },
        test: match how {
            0 => FieldTest::Exact(wanted.to_owned()),
            1 => FieldTest::Prefix(wanted[..1].to_owned()),
            2 => FieldTest::OneOf(vec!["iron".to_owned(), wanted.to_owned()]),
            _ => FieldTest::Present(true),
        },
        negated,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn applications_are_told_what_requests_get(
        odd in odd(),
        visits in prop::collection::vec(visit(), 8),
    ) {
        let table = odd_table(&odd);
        for visit in visits {
            let (variant, cohort, key) = visit.choice(&table);
            let flag = &table.routes[visit.route].flag;
            let context = Context::read(&visit.body(), NOW_S).unwrap();
            let decision = table.decide(flag, &context, visit.draw);
            let why = match decision.why {
                Why::Cohort(cohort) => Some(cohort),
                Why::Disabled | Why::Prerequisite(_) | Why::Split => None,
            };
            prop_assert_eq!((decision.variant, why, decision.hash), (variant, cohort, key), "{:?}", visit);
            let path = format!("{FLAGS}/r{}", visit.route);
            let call = Call { path: &path, is_post: true, if_none_match: None, body: &visit.body() };
            let told = answer(&table, &call, visit.draw, NOW_S);
            let body = body_of(&told);
            if told.status == 200 {
                prop_assert_eq!(&body["variant"], flag.names[variant].as_str());
                let cohort = cohort.map(|cohort| json!(flag.cohorts[cohort].name.as_str()));
                prop_assert_eq!(body["metadata"].get("cohort"), cohort.as_ref());
            } else {
                prop_assert!(key.is_none() && flag.rule.is_some());
                prop_assert_eq!(&body["errorCode"], "TARGETING_KEY_MISSING");
            }
            let explanation = explain(&table, FlagId::Route(visit.route), &context, visit.draw);
            prop_assert_eq!(explanation.decision, decision);
            let matched = explanation.cohorts.last().is_some_and(|tried| tried.outcome == Outcome::Matched);
            prop_assert_eq!(matched, cohort.is_some());
        }
    }

    #[test]
    fn no_body_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\",:a-c0-9]{0,120}") {
        let table = shop_table();
        for path in [FLAGS, "/ofrep/v1/evaluate/flags/beta", "/ofrep/v1/evaluate/flags/%"] {
            let wrapped = format!("{{\"context\":{text}}}");
            for body in [&bytes[..], text.as_bytes(), wrapped.as_bytes()] {
                let answer = post(&table, path, body, None);
                prop_assert!([200, 400, 404].contains(&answer.status));
                prop_assert!(body_of(&answer).is_object());
            }
        }
    }

    #[test]
    fn no_context_is_too_odd(context in json_value()) {
        let body = json!({ "context": context }).to_string();
        let answer = post(&shop_table(), FLAGS, body.as_bytes(), None);
        prop_assert!([200, 400].contains(&answer.status) && body_of(&answer).is_object());
    }
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
        Just(json!("10.0.0.1")),
    ];
    let known = prop_oneof![
        "targetingKey|headers|cookies|query|claims|clientIp|clientCertificate|host|x-staff",
        ".{0,9}",
    ];
    leaf.prop_recursive(10, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map(known.clone(), inner, 0..6)
                .prop_map(|object| Json::Object(object.into_iter().collect())),
        ]
    })
}
