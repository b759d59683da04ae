//! The formula that places a user, against what others say of it: the vectors that flagd publishes for its
//! `fractional`, and implementations of the hash that are not ours.
//!
//! The vectors stand in open-feature/flagd-testbed, `evaluator/gherkin/fractional.feature` at commit
//! 0df2cd0a92a710cb535162ef127086262af03798 (those tagged `@fractional-v2`; the same at
//! 9e1b98dcb6d15868ae8662e0c3fe9f04cd98212e), with flags from `evaluator/flags/testkit-flags.json` at
//! 0815d197ae0de06b96af3efdc08ea9596f0b21fc. They are of flagd since its pull request 1909 ("fractional bucketing
//! improvements", 2026): `(hash × sum of weights) >> 32` with an unsigned hash, in
//! `core/pkg/evaluator/fractional.go` at 04d23b3f4e19560c2a08224fcccde340d3ecc301.
//!
//! Earlier versions (`@fractional-v1`, and `core/pkg/evaluator/fractional_test.go` up to
//! 29c0552b0c435b63fb74dbcda65735a432181245) take the hash for a signed number, fold it to its absolute value and
//! divide by 2^31 - 1, in floating point and a hundred parts. They place other users, and not the same ones in every
//! language (flagd's issue 1872).

use std::io::Cursor;

use proptest::prelude::*;
use serin::name::Name;
use serin::route::{Key, KeyFallback, KeySource, KeySpec, RouteKey, Split, bucket_of_hash, bucket_of_key, murmur3};
use serin::share::bounds;

/// Equal shares in the order of the file.
const SUITS: [(&str, u32); 4] = [("clubs", 25), ("diamonds", 25), ("hearts", 25), ("spades", 25)];

/// What is hashed, and the variant that is published for it.
#[track_caller]
fn check(weights: &[(&str, u32)], flag: &str, key: &str, expected: &str) {
    let ends = bounds(&weights.iter().map(|&(_, weight)| weight).collect::<Vec<_>>()).unwrap();
    let variant = Split::new(ends).variant_of(bucket_of_key(flag, key.as_bytes()));
    assert_eq!(weights[variant].0, expected, "{flag} {key}");
}

#[test]
fn the_flags_key_before_an_attribute() {
    let check = |user, expected| check(&SUITS, "fractional-flag", user, expected);
    check("jack", "hearts");
    check("queen", "spades");
    check("ten", "clubs");
    check("nine", "diamonds");
    check("3", "clubs");
}

#[test]
fn the_flags_key_before_the_targeting_key() {
    let check = |user, expected| {
        check(
            &[("heads", 1), ("tails", 1)],
            "fractional-flag-shorthand",
            user,
            expected,
        )
    };
    check("jon@company.com", "heads");
    check("jane@company.com", "tails");
}

#[test]
fn one_text_before_the_keys_of_two_flags() {
    let check = |user, expected| check(&SUITS, "shared-seed", user, expected);
    check("seven", "hearts");
    check("eight", "diamonds");
    check("nine", "clubs");
    check("two", "spades");
}

#[test]
fn the_least_the_middle_and_the_greatest_hash() {
    let edge = |key: &str, hash: u32, expected| {
        assert_eq!(murmur3(key.as_bytes()), hash, "{key}");
        check(&[("lower", 50), ("upper", 50)], "", key, expected);
    };
    edge("ejOoVL", 0, "lower");
    edge("bY9fO-", 1, "lower");
    edge("SI7p-", 0x7fff_ffff, "lower");
    edge("6LvT0", 0x8000_0000, "upper");
    edge("ceQdGm", 0xffff_ffff, "upper");
}

#[test]
fn hundredths_as_published() {
    // "bv(100)" in the comments of the same file.
    let hundredth = |key: &str| bucket_of_key("", key.as_bytes()) / 10_000;
    assert_eq!((hundredth("jon@company.com"), hundredth("user1")), (36, 76));
}

#[test]
fn a_hundred_thousand_users_lie_where_pythons_mmh3_puts_them() {
    // From mmh3 5.3.1 of PyPI: `h = mmh3.hash(f"checkoutuser-{n}", 0, signed=False)` for n below 100,000; their sum,
    // the buckets `(h * 1000000) >> 32` folded by `x = (x * 31 + bucket) % 2**64`, and their shares of 95:4:1.
    let split = Split::new(bounds(&[95, 4, 1]).unwrap());
    let (mut sum, mut folded, mut users) = (0u64, 0u64, [0; 3]);
    for n in 0..100_000 {
        let key = format!("user-{n}");
        sum += u64::from(murmur3(format!("checkout{key}").as_bytes()));
        let bucket = bucket_of_key("checkout", key.as_bytes());
        folded = folded.wrapping_mul(31).wrapping_add(u64::from(bucket));
        users[split.variant_of(bucket)] += 1;
    }
    assert_eq!((sum, folded), (214_955_466_142_662, 13_576_199_093_584_880_527));
    assert_eq!(users, [95_007, 4_012, 981]);
}

/// Rule 3 with the crate `murmur3`, which knows nothing of ours.
fn bucket_by_others(name: &str, salt: &str, key: &[u8]) -> u32 {
    let text = [name.as_bytes(), salt.as_bytes(), key].concat();
    let hash = murmur3::murmur3_32(&mut Cursor::new(text), 0).expect("it is in memory");
    u32::try_from((u64::from(hash) * 1_000_000) >> 32).expect("it is below a million")
}

proptest! {
    #[test]
    fn our_hash_is_that_of_others(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let theirs = murmur3::murmur3_32(&mut Cursor::new(&text), 0).expect("it is in memory");
        prop_assert_eq!(murmur3(&text), theirs);
    }

    #[test]
    fn a_route_places_a_user_as_others_do(
        name in "[a-z][a-z0-9.-]{0,20}",
        salt in ".{0,9}",
        key in "[a-zA-Z0-9@.-]{1,40}",
    ) {
        let spec = KeySpec { source: KeySource::TargetingKey, fallback: KeyFallback::FreshDraw };
        let route = RouteKey::new(&Name::new(&name).unwrap(), &salt, spec.into());
        let bucket = bucket_of_hash(route.hash_of(&Key::of(key.as_bytes()).unwrap()));
        prop_assert_eq!(bucket, bucket_by_others(&name, &salt, key.as_bytes()));
    }

    /// flagd's ranges are of the sum of weights, ours of a million: where the sum divides it they are the same, else
    /// a boundary lies less than a millionth of the users away.
    #[test]
    fn ranges_of_a_million_are_those_of_the_weights(
        weights in prop::collection::vec(0u32..=1_000, 1..6),
        hash in any::<u32>(),
    ) {
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        prop_assume!(sum > 0);
        let of_flagd = |hash: u32| {
            let bucket = (u64::from(hash) * sum) >> 32;
            let mut end = 0;
            weights.iter().position(|&weight| { end += u64::from(weight); bucket < end })
        };
        let ours = Split::new(bounds(&weights).unwrap()).variant_of(bucket_of_hash(hash));
        let near = u32::MAX / 1_000_000 + 1;
        let around = [hash.saturating_sub(near), hash, hash.saturating_add(near)];
        if 1_000_000 % sum == 0 {
            prop_assert_eq!(Some(ours), of_flagd(hash));
        } else {
            prop_assert!(around.into_iter().any(|hash| of_flagd(hash) == Some(ours)));
        }
    }
}
