//! Who comes in, and what they may do.

use super::*;

fn token(name: &str, secret: &str, roles: &[&str]) -> Token {
    Token {
        name: Name::new(name).unwrap(),
        hash: TokenHash::of(secret),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    }
}

#[test]
fn each_role_may_what_it_is_for() {
    let check = |roles: &[&str], expected: &[Right]| {
        let all = [Right::Read, Right::Direct, Right::Abort, Right::Approve, Right::Freeze];
        let token = token("ann", "s", roles);
        let found: Vec<Right> = all.into_iter().filter(|right| token.may(*right)).collect();
        assert_eq!(found, expected, "{roles:?}");
    };
    check(&["viewer"], &[Right::Read]);
    check(
        &["operator"],
        &[Right::Read, Right::Direct, Right::Abort, Right::Approve, Right::Freeze],
    );
    check(&["approver"], &[Right::Read, Right::Abort, Right::Approve]);
    check(&["sre"], &[Right::Read, Right::Approve]);
    check(&["viewer", "sre"], &[Right::Read, Right::Approve]);
    let everything = [Right::Read, Right::Direct, Right::Abort, Right::Approve, Right::Freeze];
    check(&["admin"], &everything);
    check(&["operator", "approver"], &everything);
    // Words in another case are other words.
    check(&["Admin"], &[Right::Read, Right::Approve]);
}

#[test]
fn a_token_is_found_by_its_hash_and_nothing_else() {
    let tokens = Tokens::new(vec![
        token("ann", "sesame", &["admin"]),
        token("bob", "open", &["viewer"]),
    ])
    .unwrap();
    let check = |bearer: &str, expected: Option<&str>| {
        assert_eq!(
            tokens.find(bearer).map(|token| token.name.as_str()),
            expected,
            "{bearer}"
        );
    };
    check("sesame", Some("ann"));
    check("open", Some("bob"));
    check("Sesame", None);
    check("sesame ", None);
    check("", None);
    check(&"x".repeat(5000), None);
    assert_eq!(tokens.count(), 2);
    assert!(Tokens::default().find("sesame").is_none());
}

#[test]
fn nobody_is_there_twice() {
    let doubled = |a, b| {
        Tokens::new(vec![token("eve", "x", &["admin"]), a, b])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        doubled(token("ann", "a", &["sre"]), token("ann", "b", &["sre"])),
        "the name of token 2 is that of token 1 as well"
    );
    assert_eq!(
        doubled(token("ann", "a", &["sre"]), token("bob", "x", &["sre"])),
        "the hash of token 2 is that of token 0 as well"
    );
}

#[test]
fn a_hash_is_sha256_in_hexadecimal() {
    // FIPS 180-4, the example of one block.
    let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(TokenHash::parse(abc), Some(TokenHash::of("abc")));
    let upper = format!("sha256:{}", abc["sha256:".len()..].to_uppercase());
    assert_eq!(TokenHash::parse(&upper), Some(TokenHash::of("abc")));
    for bad in [
        "sesame",
        "",
        "sha256:",
        &abc[1..],
        &abc[..70],
        &format!("{abc}0"),
        &abc.replace('b', "g"),
        &abc.replace("sha256", "sha512"),
        &format!("sha256:{}", "+f".repeat(32)),
        &format!("sha256:{}", "ä".repeat(32)),
    ] {
        assert_eq!(TokenHash::parse(bad), None, "{bad}");
    }
    assert!(TokenHash::of("").is_of_nothing() && !TokenHash::of("a").is_of_nothing());
}

#[test]
fn changes_of_people_are_told() {
    let of = |list: &[(&str, &str, &str)]| {
        let people = list.iter().map(|(name, secret, role)| token(name, secret, &[role]));
        Tokens::new(people.collect()).unwrap()
    };
    let one = of(&[
        ("ann", "a", "sre"),
        ("bob", "b", "viewer"),
        ("cid", "c", "sre"),
        ("dan", "d", "sre"),
    ]);
    let two = of(&[
        ("ann", "a", "sre"),
        ("bob", "b", "admin"),
        ("cid", "x", "sre"),
        ("eve", "e", "admin"),
    ]);
    let check = |before: Option<&Tokens>, after: Option<&Tokens>, expected: Option<&str>| {
        assert_eq!(changes(before, after).as_deref(), expected);
    };
    check(Some(&one), Some(&one), None);
    check(None, None, None);
    let told = "dan is gone, bob is admin now, cid has another token, eve is new as admin";
    check(Some(&one), Some(&two), Some(told));
    let solo = of(&[("ann", "a", "sre")]);
    check(
        None,
        Some(&solo),
        Some("everybody needs a token from now on, ann is new as sre"),
    );
    check(Some(&solo), None, Some("nobody needs a token any more, ann is gone"));
    let many: Vec<Token> = (0..30)
        .map(|n| token(&format!("p{n}"), &n.to_string(), &["sre"]))
        .collect();
    let words = changes(Some(&Tokens::default()), Some(&Tokens::new(many).unwrap())).unwrap();
    assert!(words.ends_with("p19 is new as sre, and 10 more"), "{words}");
}

#[test]
fn debug_shows_no_whole_hash() {
    let text = format!("{:?}", token("ann", "abc", &["sre"]));
    assert!(text.contains("sha256:ba78…") && !text.contains("ba7816"), "{text}");
}

#[test]
fn roles_are_plain_words() {
    for (text, ok) in [
        ("sre", true),
        ("releaseManager", true),
        ("on-call_2", true),
        ("", false),
        ("2nd", false),
        ("a b", false),
        ("é", false),
        ("a.b", false),
    ] {
        assert_eq!(is_role(text), ok, "{text}");
    }
    assert!(is_role(&"a".repeat(63)) && !is_role(&"a".repeat(64)));
}
