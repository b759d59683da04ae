//! What the tests of all scalars have in common.

use std::fmt::Debug;

use super::read::Scalar;

/// Whether `text` is read as expected, or refused with words that contain those expected.
#[track_caller]
pub(super) fn check<T: Scalar + Debug + PartialEq>(text: &str, expected: Result<T, &str>) {
    match (T::parse(text), expected) {
        (Err(got), Err(expected)) => assert!(got.contains(expected), "{text}: {got}"),
        (got, expected) => assert_eq!(got.ok(), expected.ok(), "{text}"),
    }
}
