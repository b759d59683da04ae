//! The one canonical form of a request's path, in which it is matched and forwarded.
//!
//! Readers of a path disagree about escapes, dot segments, empty segments and backslashes. A rule for `/admin`
//! that one reader applies and the next does not see is no rule, so a path has one form here, or none. What is
//! equal by definition (RFC 3986 §6.2.2.1 and §6.2.2.2) is rewritten under every policy; what is ambiguous is
//! refused by [`PathPolicy::Strict`]. Escapes are decoded once. The query is checked and never changed.

use thiserror::Error;

/// What becomes of a path that two readers could take for two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathPolicy {
    /// It is refused.
    #[default]
    Strict,
    /// It is brought into the form that it is an alias of. `%2F` and `%5C` stay, and separate nothing.
    Normalize,
}

/// A target in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// Bytes of path and query.
    pub len: usize,
    /// Bytes of the path alone, at least one.
    pub path_len: usize,
}

/// Why a target has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{}", self.detail())]
pub enum PathProblem {
    /// It does not begin with `/` (RFC 9112 §3.2.1).
    NotRooted,
    /// A byte that is no visible ASCII, in path or query (RFC 3986 §2).
    Byte,
    /// A `#`, in path or query: fragments are not sent (RFC 9110 §4.2.5).
    Fragment,
    /// A backslash in the path, which some readers take for a slash.
    Backslash,
    /// A `%` in the path without two hexadecimal digits (RFC 3986 §2.1).
    Escape,
    /// `%00` to `%1F` or `%7F` in the path.
    EncodedControl,
    /// `%2F` in the path. Strict only.
    EncodedSlash,
    /// `%5C` in the path. Strict only.
    EncodedBackslash,
    /// `//` in the path. Strict only.
    EmptySegment,
    /// A segment `.` or `..`, escaped or not. Strict only.
    DotSegment,
    /// More `..` than there are segments before them. [`PathPolicy::Normalize`] only.
    AboveRoot,
    /// What some readers take for `.` or `..`: one with a parameter (`..;a`), or beside `%2F` or `%5C`.
    HiddenDots,
}

impl PathProblem {
    /// One plain sentence without quotes, backslashes or control characters: what is wrong.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NotRooted => "the target does not begin with a slash",
            Self::Byte => "the target holds a byte that no target has",
            Self::Fragment => "the target holds a fragment",
            Self::Backslash => "the path holds a backslash",
            Self::Escape => "the path holds a percent sign without two hexadecimal digits",
            Self::EncodedControl => "the path holds an encoded control character",
            Self::EncodedSlash => "the path holds an encoded slash",
            Self::EncodedBackslash => "the path holds an encoded backslash",
            Self::EmptySegment => "the path holds an empty segment",
            Self::DotSegment => "the path holds a dot segment",
            Self::AboveRoot => "the path climbs above its root",
            Self::HiddenDots => "the path holds a dot segment with a parameter or an encoded separator",
        }
    }
}

/// Brings `target` (origin form: a path that begins with `/`, perhaps a query) into its canonical form, in place:
/// that is never longer, and its own canonical form. What lies behind it is left in any state.
///
/// One look at each byte is all that most targets need; none costs an allocation.
///
/// # Errors
/// When the target is refused; it is then left in any state.
pub fn canonical(target: &mut [u8], policy: PathPolicy) -> Result<Canonical, PathProblem> {
    let Glance { path_len, plain } = glance(target)?;
    let mut len = path_len;
    if !plain {
        len = unescape(&mut target[..len], policy)?;
        len = resolve(&mut target[..len], policy)?;
        target.copy_within(path_len.., len);
    }
    Ok(Canonical {
        len: len + (target.len() - path_len),
        path_len: len,
    })
}

/// What one look at a target shows.
struct Glance {
    /// Where the query begins, or the target ends.
    path_len: usize,
    /// Whether the path is in canonical form for certain.
    plain: bool,
}

fn glance(target: &[u8]) -> Result<Glance, PathProblem> {
    if target.first() != Some(&b'/') {
        return Err(PathProblem::NotRooted);
    }
    let mut plain = true;
    let mut previous = 0;
    for (at, &byte) in target.iter().enumerate() {
        match KINDS[usize::from(byte)] {
            Kind::Data => {}
            // `//`, or what may be a dot segment.
            Kind::Slash | Kind::Dot => plain &= previous != b'/',
            Kind::Percent => plain = false,
            Kind::Backslash => return Err(PathProblem::Backslash),
            Kind::Fragment => return Err(PathProblem::Fragment),
            Kind::Foreign => return Err(PathProblem::Byte),
            Kind::Query => {
                check_query(&target[at..])?;
                return Ok(Glance { path_len: at, plain });
            }
        }
        previous = byte;
    }
    Ok(Glance {
        path_len: target.len(),
        plain,
    })
}

/// Applications differ in what they take for an escape here, and no reader splits a path by one: so all
/// visible ASCII passes.
fn check_query(query: &[u8]) -> Result<(), PathProblem> {
    for &byte in query {
        match KINDS[usize::from(byte)] {
            Kind::Fragment => return Err(PathProblem::Fragment),
            Kind::Foreign => return Err(PathProblem::Byte),
            Kind::Data | Kind::Slash | Kind::Dot | Kind::Percent | Kind::Query | Kind::Backslash => {}
        }
    }
    Ok(())
}

/// Decodes the escapes of unreserved characters, and writes the digits of the others in upper case. The answer is
/// the new length.
fn unescape(path: &mut [u8], policy: PathPolicy) -> Result<usize, PathProblem> {
    let strict = policy == PathPolicy::Strict;
    let (mut read, mut written) = (0, 0);
    while let Some(&byte) = path.get(read) {
        if byte != b'%' {
            path[written] = byte;
            (read, written) = (read + 1, written + 1);
            continue;
        }
        let Some(&[high, low]) = path.get(read + 1..read + 3) else {
            return Err(PathProblem::Escape);
        };
        let value = digit(high)? << 4 | digit(low)?;
        read += 3;
        match value {
            0x00..=0x1F | 0x7F => return Err(PathProblem::EncodedControl),
            b'/' if strict => return Err(PathProblem::EncodedSlash),
            b'\\' if strict => return Err(PathProblem::EncodedBackslash),
            value if is_unreserved(value) => {
                path[written] = value;
                written += 1;
            }
            _ => {
                let escape = [b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()];
                path[written..written + 3].copy_from_slice(&escape);
                written += 3;
            }
        }
    }
    Ok(written)
}

/// Takes out empty segments and dot segments (RFC 3986 §5.2.4), where the policy does not refuse them. An empty
/// segment is gone before a `..` could take it for its parent. The answer is the new length.
fn resolve(path: &mut [u8], policy: PathPolicy) -> Result<usize, PathProblem> {
    let strict = policy == PathPolicy::Strict;
    // What is written ends with a slash, until the last segment.
    let mut written = 1;
    let mut start = 1;
    while start <= path.len() {
        let end = path[start..].iter().position(|&b| b == b'/').map(|len| start + len);
        let segment = start..end.unwrap_or(path.len());
        start = segment.end + 1;
        match &path[segment.clone()] {
            // A slash at the end of the path is no empty segment.
            b"" if strict && end.is_some() => return Err(PathProblem::EmptySegment),
            b"." | b".." if strict => return Err(PathProblem::DotSegment),
            b"" | b"." => {}
            b".." => {
                let parent = path[..written - 1].iter().rposition(|&b| b == b'/');
                written = parent.ok_or(PathProblem::AboveRoot)? + 1;
            }
            text if hides_dots(text) => return Err(PathProblem::HiddenDots),
            text => {
                let len = text.len();
                path.copy_within(segment, written);
                written += len;
                if end.is_some() {
                    path[written] = b'/';
                    written += 1;
                }
            }
        }
    }
    Ok(written)
}

/// Whether a reader that takes parameters off, or takes `%2F` or `%5C` for a separator, sees a dot segment here.
fn hides_dots(segment: &[u8]) -> bool {
    let is_escape = |text: &[u8], of: &[&[u8]]| of.iter().any(|escape| text.starts_with(escape));
    (0..segment.len())
        .filter(|&at| at == 0 || is_escape(&segment[at - at.min(3)..at], &[b"%2F", b"%5C"]))
        .any(|at| {
            let piece = &segment[at..];
            let dots = piece.iter().take_while(|&&b| b == b'.').count();
            let rest = &piece[dots..];
            (1..=2).contains(&dots) && (rest.is_empty() || is_escape(rest, &[b";", b"%3B", b"%2F", b"%5C"]))
        })
}

/// The value, below 16, of a hexadecimal digit.
const fn digit(byte: u8) -> Result<u8, PathProblem> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(PathProblem::Escape),
    }
}

/// Whether an escape of `byte` means the same as itself (RFC 3986 §2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a byte of a target may mean.
#[derive(Clone, Copy)]
enum Kind {
    Data,
    Slash,
    Dot,
    Percent,
    Query,
    Backslash,
    Fragment,
    /// No visible ASCII.
    Foreign,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Foreign; 256];
    let mut byte = 0x21;
    while byte < 0x7F {
        kinds[byte] = Kind::Data;
        byte += 1;
    }
    kinds[b'/' as usize] = Kind::Slash;
    kinds[b'.' as usize] = Kind::Dot;
    kinds[b'%' as usize] = Kind::Percent;
    kinds[b'?' as usize] = Kind::Query;
    kinds[b'\\' as usize] = Kind::Backslash;
    kinds[b'#' as usize] = Kind::Fragment;
    kinds
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PathPolicy::{Normalize, Strict};
    use super::{Canonical, PathPolicy, PathProblem, canonical};

    fn form(target: &[u8], policy: PathPolicy) -> Result<Vec<u8>, PathProblem> {
        let mut bytes = target.to_vec();
        let Canonical { len, path_len } = canonical(&mut bytes, policy)?;
        bytes.truncate(len);
        let query = bytes.iter().position(|&b| b == b'?').unwrap_or(len);
        assert_eq!(path_len, query);
        Ok(bytes)
    }

    type Expected<'a> = Result<&'a str, PathProblem>;

    #[track_caller]
    fn check(target: &str, strict: Expected<'_>, normalize: Expected<'_>) {
        let form = |policy| form(target.as_bytes(), policy).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(form(Strict), strict.map(str::to_owned), "{target} strict");
        assert_eq!(form(Normalize), normalize.map(str::to_owned), "{target} normalize");
    }

    #[track_caller]
    fn same(target: &str) {
        check(target, Ok(target), Ok(target));
    }

    #[track_caller]
    fn alias(target: &str, form: &str) {
        check(target, Ok(form), Ok(form));
    }

    #[track_caller]
    fn refused(target: &str, problem: PathProblem) {
        check(target, Err(problem), Err(problem));
    }

    #[track_caller]
    fn policies_differ(target: &str, problem: PathProblem, form: &str) {
        check(target, Err(problem), Ok(form));
    }

    #[test]
    fn most_targets_stand_as_they_are() {
        same("/");
        same("/?");
        same("/api/checkout");
        same("/api/checkout/");
        same("/a.b/c..d/...");
        same("/.well-known/acme/.x");
        same("/..a/.b./a..");
        same("/!$&'()*+,;=:@-_~\"<>^`{|}");
        same("/a;v=1/b;;");
        same("/a%20b%3F%C3%A9%FF");
    }

    #[test]
    fn escapes_of_unreserved_characters_are_decoded() {
        alias("/%61dmin", "/admin");
        alias("/%41%5a%30%2d%2E%5f%7e", "/AZ0-._~");
        alias("/a%2eb", "/a.b");
        alias("/%2e%2e%2e", "/...");
    }

    #[test]
    fn digits_of_other_escapes_are_upper_case() {
        alias("/%c3%a9", "/%C3%A9");
        alias("/%3f%3b%3d%40%24", "/%3F%3B%3D%40%24");
        alias("/%7b%7C", "/%7B%7C");
    }

    #[test]
    fn escapes_are_decoded_once() {
        same("/%252e%252e/x");
        same("/%252F%255C");
        alias("/%25%32%35", "/%2525");
        alias("/%25%32e", "/%252e");
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for path in [
            "/%", "/%4", "/%zz", "/%4g", "/%%34%31", "/%4%31", "/a%/b", "/%u0041", "/%+1",
        ] {
            refused(path, PathProblem::Escape);
        }
        refused("/%4?1", PathProblem::Escape);
    }

    #[test]
    fn encoded_controls_are_refused() {
        for path in ["/%00", "/a%0d%0a", "/%1F", "/%7f"] {
            refused(path, PathProblem::EncodedControl);
        }
    }

    #[test]
    fn bytes_that_no_target_has_are_refused() {
        for target in ["/ ", "/a\tb", "/\0", "/\r\n", "/\x7f", "/é", "/?a b", "/?\u{1}", "/?é"] {
            refused(target, PathProblem::Byte);
        }
        assert_eq!(form(b"/\x80", Strict), Err(PathProblem::Byte));
        assert_eq!(form(b"/?\xff", Normalize), Err(PathProblem::Byte));
        refused("/#a", PathProblem::Fragment);
        refused("/?#a", PathProblem::Fragment);
        refused("/a\\b", PathProblem::Backslash);
        refused("/..\\admin", PathProblem::Backslash);
    }

    #[test]
    fn a_path_begins_with_a_slash() {
        for target in ["", "*", "a", "?", "?a=/", "%2Fa", "http://host/", "\\a", "../a"] {
            refused(target, PathProblem::NotRooted);
        }
    }

    #[test]
    fn dot_segments_are_refused_or_removed() {
        let dots = |target, form| policies_differ(target, PathProblem::DotSegment, form);
        dots("/.", "/");
        dots("/./", "/");
        dots("/a/.", "/a/");
        dots("/a/..", "/");
        dots("/a/b/..", "/a/");
        dots("/a/b/../", "/a/");
        dots("/a/./b/../c", "/a/c");
        dots("/x/../admin?..", "/admin?..");
        dots("/%2e/admin", "/admin");
        dots("/x/%2E%2e/admin", "/admin");
        dots("/x/.%2e/%61?a=%2e", "/a?a=%2e");
        // RFC 3986 §5.2.4.
        dots("/a/b/c/./../../g", "/a/g");
    }

    #[test]
    fn no_path_climbs_above_its_root() {
        for path in ["/..", "/../", "/../a", "/a/../..", "/a/../../b", "/%2e%2e/a"] {
            check(path, Err(PathProblem::DotSegment), Err(PathProblem::AboveRoot));
        }
        check("//..", Err(PathProblem::EmptySegment), Err(PathProblem::AboveRoot));
    }

    #[test]
    fn empty_segments_are_refused_or_merged() {
        let empty = |target, form| policies_differ(target, PathProblem::EmptySegment, form);
        empty("//", "/");
        empty("//admin", "/admin");
        empty("///a////b//?//", "/a/b/?//");
        empty("/a//", "/a/");
        empty("/a//../b", "/b");
        empty("//host/path", "/host/path");
    }

    #[test]
    fn encoded_separators_are_refused_or_data() {
        let slash = |target, form| policies_differ(target, PathProblem::EncodedSlash, form);
        slash("/admin%2fx", "/admin%2Fx");
        slash("/%2F", "/%2F");
        slash("/a%2F%2Fb/", "/a%2F%2Fb/");
        slash("/%2f/../a", "/a");
        policies_differ("/a%5cb", PathProblem::EncodedBackslash, "/a%5Cb");
    }

    #[test]
    fn hidden_dot_segments_are_refused() {
        for path in [
            "/..;/admin",
            "/x/.;a=1",
            "/..;",
            "/%2e%2e;x/y",
            "/..%3b/admin",
            "/x/.%3B",
        ] {
            refused(path, PathProblem::HiddenDots);
        }
        let slash = |target| check(target, Err(PathProblem::EncodedSlash), Err(PathProblem::HiddenDots));
        slash("/x/..%2fadmin");
        slash("/x%2f..");
        slash("/x%2f..%2fadmin");
        slash("/x%2F.;a");
        slash("/x%2f%2e%2e%5cadmin");
        let backslash = PathProblem::EncodedBackslash;
        check("/x/..%5cadmin", Err(backslash), Err(PathProblem::HiddenDots));
        for path in ["/.x;a", "/...;", "/a..;b", "/a;..", "/a;..;", "/..%25"] {
            same(path);
        }
    }

    #[test]
    fn the_query_is_never_changed() {
        same("/a?%41%2e%2f/../..//\\%zz%&a=[1]?");
        alias("/%61?%61", "/a?%61");
        policies_differ("/b/./../a//?x=%2f//", PathProblem::DotSegment, "/a/?x=%2f//");
    }

    #[test]
    fn details_stand_in_a_problem_document_as_they_are() {
        use PathProblem as P;
        let all = [
            P::NotRooted,
            P::Byte,
            P::Fragment,
            P::Backslash,
            P::Escape,
            P::EncodedControl,
            P::EncodedSlash,
            P::EncodedBackslash,
            P::EmptySegment,
            P::DotSegment,
            P::AboveRoot,
            P::HiddenDots,
        ];
        for problem in all {
            let detail = problem.detail();
            assert!(detail.len() <= 90 && !detail.contains(['"', '\\']), "{detail}");
            assert_eq!(problem.to_string(), detail);
        }
    }

    /// Targets full of what matters here.
    fn targets() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "/", "/", "/", "//", ".", "..", "%2e", "%2E%2e", "a", "B", "%41", "%7e", "%2f", "%2F", "%5c", "%25",
            "%252e", ";", "%3b", "%c3", "?", "/../", "/./",
        ];
        let rare = ["%zz", "%", "%4", "\\", "#", " ", "%00", "\u{e9}"];
        let word =
            prop_oneof![60 => proptest::sample::select(words.to_vec()), 1 => proptest::sample::select(rare.to_vec())];
        let built =
            proptest::collection::vec(word, 0..14).prop_map(|words| format!("/{}", words.concat()).into_bytes());
        prop_oneof![8 => built, 1 => proptest::collection::vec(any::<u8>(), 0..24)]
    }

    /// The segments that a path stands for, each decoded: by lists instead of in place.
    fn meaning(path: &[u8]) -> Vec<Vec<u8>> {
        let segments: Vec<Vec<u8>> = path[1..].split(|&b| b == b'/').map(decoded).collect();
        let mut found: Vec<Vec<u8>> = Vec::new();
        let last = segments.len() - 1;
        for (at, segment) in segments.into_iter().enumerate() {
            let dots = matches!(&segment[..], b"." | b"..");
            if segment == b".." {
                found.pop();
            }
            if at == last && dots {
                found.push(Vec::new());
            } else if at == last || !(dots || segment.is_empty()) {
                found.push(segment);
            }
        }
        found
    }

    fn decoded(text: &[u8]) -> Vec<u8> {
        match text {
            [b'%', high, low, rest @ ..] => {
                let digits = [*high, *low];
                let value = u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap();
                [vec![value], decoded(rest)].concat()
            }
            [first, rest @ ..] => [vec![*first], decoded(rest)].concat(),
            [] => Vec::new(),
        }
    }

    fn halves(target: &[u8]) -> (&[u8], &[u8]) {
        target.split_at(target.iter().position(|&b| b == b'?').unwrap_or(target.len()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_form_is_its_own_form_and_never_longer(target in targets()) {
            for policy in [Strict, Normalize] {
                if let Ok(once) = form(&target, policy) {
                    prop_assert!(once.len() <= target.len());
                    prop_assert_eq!(form(&once, policy), Ok(once));
                }
            }
        }

        #[test]
        fn a_form_means_what_was_meant(target in targets()) {
            for policy in [Strict, Normalize] {
                if let Ok(form) = form(&target, policy) {
                    let ((path, query), (was, asked)) = (halves(&form), halves(&target));
                    prop_assert_eq!(query, asked);
                    prop_assert_eq!(meaning(path), meaning(was));
                }
            }
        }

        #[test]
        fn a_form_leaves_nothing_to_resolve(target in targets()) {
            for policy in [Strict, Normalize] {
                if let Ok(form) = form(&target, policy) {
                    let segments: Vec<&[u8]> = halves(&form).0[1..].split(|&b| b == b'/').collect();
                    let last = segments.len() - 1;
                    for (at, segment) in segments.into_iter().enumerate() {
                        prop_assert!(!matches!(&decoded(segment)[..], b"." | b".."));
                        prop_assert!(at == last || !segment.is_empty());
                    }
                }
            }
        }

        #[test]
        fn strict_takes_nothing_that_normalize_refuses_or_reads_otherwise(target in targets()) {
            if let Ok(strict) = form(&target, Strict) {
                prop_assert_eq!(form(&target, Normalize), Ok(strict));
            }
        }
    }
}
