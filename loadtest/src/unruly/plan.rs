//! What each exchange is, by its number: what is asked, what is answered, what goes wrong. Pure; the same on both sides.

use serde::Serialize;

use super::pattern::Pattern;

/// Length of a long body.
const LONG_BYTES: usize = 64 * 1024;

/// Short answers are shorter than this.
const SHORT_BYTES_END: usize = 2048;

/// Length of a short request body.
const POST_BYTES: usize = 200;

/// The number that answers carry which nobody has asked for.
const NOBODY: u64 = 0;

/// How exchanges are made up.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// All kinds of requests, answers and misdeeds.
    Mixed,
    /// GETs (even numbers) and short POSTs (odd ones); now and then a connection that has served before is closed at the
    /// very moment at which a request comes.
    Stale,
}

/// One exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// From 1 on.
    pub(crate) id: u64,
    /// The request.
    pub(crate) ask: Ask,
    /// Length of the answer's body.
    pub(crate) bytes: usize,
    /// Whether the answer is sent in chunks.
    pub(crate) chunked: bool,
    /// What the service does wrong.
    pub(crate) misdeed: Option<Misdeed>,
    /// Whether the client goes away.
    pub(crate) leave: Option<Leave>,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A GET.
    Get,
    /// A HEAD.
    Head,
    /// A POST.
    Post {
        /// Length of its body.
        bytes: usize,
        /// Whether that is sent in chunks.
        chunked: bool,
    },
}

/// What a service may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misdeed {
    /// Resets the connection instead of answering.
    Reset,
    /// Closes a connection that has served before, as if its idle timeout had just ended; answers on a fresh one.
    Vanish,
    /// Sends half a head and resets.
    HalfHead,
    /// Sends half a body and closes.
    HalfBody,
    /// Sends half a body and resets.
    HalfBodyReset,
    /// Sends an answer that nobody asked for right behind its own.
    Extra,
    /// Answers, and closes without having said so.
    CloseAfter,
    /// Answers 500.
    Error,
    /// Sends a body where none may be: to HEAD, or with 204.
    BodyUnasked,
    /// States two lengths.
    TwoLengths,
    /// Answers before it has read the request's body, and reads that then.
    Early,
    /// Answers before it has read the request's body, and closes.
    EarlyClose,
}

/// When a client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Once its request is sent.
    Unanswered,
    /// Once the first bytes of the answer have come.
    Midway,
}

const MISDEEDS: [Misdeed; 12] = [
    Misdeed::Reset,
    Misdeed::Vanish,
    Misdeed::HalfHead,
    Misdeed::HalfBody,
    Misdeed::HalfBodyReset,
    Misdeed::Extra,
    Misdeed::CloseAfter,
    Misdeed::Error,
    Misdeed::BodyUnasked,
    Misdeed::TwoLengths,
    Misdeed::Early,
    Misdeed::EarlyClose,
];

impl Profile {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Stale => "stale",
        }
    }

    /// The exchange of this number.
    pub(crate) fn plan(self, seed: u64, id: u64) -> Plan {
        // Numbers side by side begin far apart (the constant is 2^64 divided by the golden ratio).
        let mut random = fastrand::Rng::with_seed(seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match self {
            Self::Mixed => mixed(id, &mut random),
            Self::Stale => Plan {
                id,
                ask: if id.is_multiple_of(2) {
                    Ask::Get
                } else {
                    Ask::Post {
                        bytes: POST_BYTES,
                        chunked: false,
                    }
                },
                bytes: random.usize(..SHORT_BYTES_END),
                chunked: false,
                misdeed: (random.u32(..8) == 0).then_some(Misdeed::Vanish),
                leave: None,
            },
        }
    }
}

/// In a hundred: 60 GETs, 10 HEADs, 25 short POSTs and 5 long ones; 5 long answers; 10 misdeeds; 1 client that leaves.
fn mixed(id: u64, random: &mut fastrand::Rng) -> Plan {
    let ask = match random.u32(..100) {
        0..60 => Ask::Get,
        60..70 => Ask::Head,
        percent => Ask::Post {
            bytes: if percent < 95 { POST_BYTES } else { LONG_BYTES },
            chunked: random.bool(),
        },
    };
    let misdeed = (random.u32(..10) == 0).then(|| MISDEEDS[random.usize(..MISDEEDS.len())]);
    // What comes unasked stands in one segment with the end of the answer. Behind a long one it might arrive after its
    // connection has been used again, and then no proxy could tell.
    let may_be_long = misdeed != Some(Misdeed::Extra);
    let bytes = if may_be_long && random.u32(..20) == 0 {
        LONG_BYTES
    } else {
        random.usize(..SHORT_BYTES_END)
    };
    Plan {
        id,
        ask,
        bytes,
        chunked: random.u32(..3) == 0,
        misdeed,
        leave: match random.u32(..200) {
            0 => Some(Leave::Unanswered),
            1 => Some(Leave::Midway),
            _ => None,
        },
    }
}

impl Plan {
    /// Content of both bodies.
    pub(crate) fn pattern(&self) -> Pattern {
        Pattern::of(self.id)
    }

    /// Whether other requests may be sent on its connection before its answer has come.
    pub(crate) fn can_be_pipelined(&self) -> bool {
        let is_short = !matches!(self.ask, Ask::Post { bytes: LONG_BYTES, .. });
        is_short && self.leave.is_none()
    }

    /// Appends the request.
    pub(crate) fn write_request(&self, output: &mut Vec<u8>) {
        let (method, body) = match self.ask {
            Ask::Get => ("GET", None),
            Ask::Head => ("HEAD", None),
            Ask::Post { bytes, chunked } => ("POST", Some((bytes, chunked))),
        };
        let head = format!("{method} /x/{} HTTP/1.1\r\nhost: unruly.test\r\n", self.id);
        output.extend_from_slice(head.as_bytes());
        match body {
            None => output.extend_from_slice(b"\r\n"),
            Some((bytes, chunked)) => self.write_body(bytes, chunked, output),
        }
    }

    /// Appends the answer as it should be, with this status.
    pub(crate) fn write_answer(&self, status: u16, closes: bool, output: &mut Vec<u8>) {
        let close = if closes { "connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 {status} x\r\nx-id: {}\r\n{close}", self.id);
        output.extend_from_slice(head.as_bytes());
        let begin = output.len();
        self.write_body(self.bytes, self.chunked, output);
        if self.ask == Ask::Head {
            output.truncate(begin + framing(self.bytes, self.chunked).len());
        }
    }

    /// The last framing field, the empty line, and the body.
    fn write_body(&self, bytes: usize, chunked: bool, output: &mut Vec<u8>) {
        output.extend_from_slice(framing(bytes, chunked).as_bytes());
        let pattern = self.pattern();
        if !chunked {
            pattern.write(0, bytes, output);
            return;
        }
        // A body in crumbs, each with an extension, may well be refused; these are at most 65.
        let size_max = 1 + bytes / 64 + (self.id as usize * 37) % 9000;
        let mut at = 0;
        while at < bytes {
            let end = (at + size_max).min(bytes);
            let extension = if self.id.is_multiple_of(5) { ";a=b" } else { "" };
            output.extend_from_slice(format!("{:x}{extension}\r\n", end - at).as_bytes());
            pattern.write(at, end, output);
            output.extend_from_slice(b"\r\n");
            at = end;
        }
        let trailer = if self.id.is_multiple_of(7) { "x-end: 1\r\n" } else { "" };
        output.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
    }
}

fn framing(bytes: usize, chunked: bool) -> String {
    if chunked {
        "transfer-encoding: chunked\r\n\r\n".to_owned()
    } else {
        format!("content-length: {bytes}\r\n\r\n")
    }
}

/// An answer that belongs to nobody: it may reach no client.
pub(crate) fn poison() -> Vec<u8> {
    let mut output = Vec::new();
    let nobody = Plan {
        id: NOBODY,
        ask: Ask::Get,
        bytes: 64,
        chunked: false,
        misdeed: None,
        leave: None,
    };
    nobody.write_answer(200, false, &mut output);
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Body, Head};

    fn plans() -> impl Iterator<Item = Plan> {
        (1..20_000).map(|id| Profile::Mixed.plan(7, id))
    }

    #[test]
    fn every_message_is_as_long_as_it_says() {
        let check = |message: &[u8], to_head: bool, is_request: bool, expected: usize| {
            let head = Head::parse(message).expect("well formed").expect("complete");
            let body = if is_request {
                head.request_body()
            } else {
                head.response_body(to_head)
            };
            let (mut body, mut found) = (body.expect("framed"), 0);
            let taken = body.read(&message[head.length..], |piece| found += piece.len());
            assert_eq!((taken, body), (Ok(message.len() - head.length), Body::Over));
            assert_eq!(found, expected);
        };
        for plan in plans().take(2000) {
            let (mut request, mut answer) = (Vec::new(), Vec::new());
            plan.write_request(&mut request);
            plan.write_answer(200, false, &mut answer);
            match plan.ask {
                Ask::Get => check(&request, false, true, 0),
                Ask::Head => check(&request, false, true, 0),
                Ask::Post { bytes, .. } => check(&request, false, true, bytes),
            }
            let to_head = plan.ask == Ask::Head;
            check(&answer, to_head, false, if to_head { 0 } else { plan.bytes });
        }
    }

    #[test]
    fn the_mix_has_some_of_everything() {
        for misdeed in MISDEEDS {
            assert!(plans().any(|plan| plan.misdeed == Some(misdeed)), "{misdeed:?}");
        }
        let share = |of: &dyn Fn(&Plan) -> bool| plans().filter(of).count() as f64 / 20_000.0;
        let check = |what: &dyn Fn(&Plan) -> bool, expected: f64| {
            let found = share(what);
            assert!((found - expected).abs() < 0.02, "{found} is not {expected}");
        };
        check(&|plan| plan.ask == Ask::Get, 0.60);
        check(&|plan| plan.ask == Ask::Head, 0.10);
        check(&|plan| plan.misdeed.is_some(), 0.10);
        check(&|plan| plan.bytes == LONG_BYTES, 0.05);
        check(&|plan| plan.leave.is_some(), 0.01);
    }

    #[test]
    fn a_plan_follows_from_seed_and_number() {
        let of = |seed, id| Profile::Mixed.plan(seed, id);
        assert_eq!(of(1, 2), of(1, 2));
        assert!((1..100).any(|id| of(1, id) != of(2, id)));
        assert_eq!(Profile::Stale.plan(1, 4).ask, Ask::Get);
        assert!(matches!(Profile::Stale.plan(1, 5).ask, Ask::Post { .. }));
    }

    #[test]
    fn nobodys_answer_has_nobodys_number() {
        let poison = String::from_utf8(poison()).expect("text");
        assert!(poison.contains("x-id: 0\r\n"), "{poison}");
        assert!(poison.ends_with("000000000000000\n"), "{poison}");
    }
}
