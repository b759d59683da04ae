//! One connection of the unruly service: reads requests, checks that they are whole and their own, answers by plan.

use std::io;
use std::rc::Rc;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::plan::{Ask, Misdeed, Plan, poison};
use super::{COUNT_PATH, Shared};
use crate::wire::{Body, Head};

/// Room for what one read brings.
const READ_BYTES: usize = 64 * 1024;

/// Serves until the connection ends or is ended.
pub(super) async fn serve(stream: TcpStream, shared: Rc<Shared>) {
    let mut connection = Connection {
        stream,
        input: Vec::with_capacity(READ_BYTES),
        shared,
        has_served: false,
    };
    // A connection that breaks is the proxy's affair: what it did with it shows at the client.
    while let Ok(Then::Keep) = connection.exchange().await {}
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Keep,
    /// The other side has closed it.
    Closed,
    /// We close it, or have set it up to be reset.
    End,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    shared: Rc<Shared>,
    has_served: bool,
}

/// What a head asks for.
enum Request {
    Counts,
    Planned(Plan, Body),
}

impl Connection {
    async fn exchange(&mut self) -> io::Result<Then> {
        if !self.await_head().await? {
            return Ok(Then::Closed);
        }
        let then = match self.take_head() {
            None => {
                self.shared.count(|counts| counts.misframed += 1);
                return Ok(Then::End);
            }
            Some(Request::Counts) => {
                let body = serde_json::to_string(&self.shared.counts.get()).expect("counts are plain numbers");
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                self.stream.write_all(answer.as_bytes()).await?;
                Then::Keep
            }
            Some(Request::Planned(plan, body)) => self.follow(plan, body).await?,
        };
        if then == Then::End {
            self.shared.count(|counts| counts.closed += 1);
        }
        self.has_served = true;
        Ok(then)
    }

    /// Reads until a head is complete; `false` when the connection ends before, or has been silent for too long.
    async fn await_head(&mut self) -> io::Result<bool> {
        while memmem::find(&self.input, b"\r\n\r\n").is_none() {
            let idle_max = self.shared.idle_max;
            if !idle_max.is_zero() && self.has_served && self.input.is_empty() {
                let wait = idle_max.mul_f64(fastrand::f64());
                match tokio::time::timeout(wait, self.stream.read_buf(&mut self.input)).await {
                    Ok(read) => {
                        if read? == 0 {
                            return Ok(false);
                        }
                    }
                    Err(_) => {
                        if fastrand::u32(..4) == 0 {
                            self.stream.set_zero_linger()?;
                        }
                        self.shared.count(|counts| counts.closed += 1);
                        return Ok(false);
                    }
                }
            } else if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the head from the input; `None` when it is not one that a client of ours has sent.
    fn take_head(&mut self) -> Option<Request> {
        let head = Head::parse(&self.input).ok()??;
        let mut words = head.line.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let request = if path == COUNT_PATH {
            Request::Counts
        } else {
            let id: u64 = path.strip_prefix("/x/")?.parse().ok()?;
            let plan = self.shared.profile.plan(self.shared.seed, id);
            let (asked, is_post) = match plan.ask {
                Ask::Get => ("GET", false),
                Ask::Head => ("HEAD", false),
                Ask::Post { .. } => ("POST", true),
            };
            if method != asked {
                return None;
            }
            let body = head.request_body().ok()?;
            self.shared.note(id, is_post);
            Request::Planned(plan, body)
        };
        let length = head.length;
        self.input.drain(..length);
        Some(request)
    }

    async fn follow(&mut self, plan: Plan, body: Body) -> io::Result<Then> {
        let misdeed = plan
            .misdeed
            .filter(|&misdeed| misdeed != Misdeed::Vanish || self.has_served);
        match misdeed {
            Some(Misdeed::Vanish) => return Ok(Then::End),
            Some(Misdeed::Reset) => return self.reset(),
            Some(Misdeed::Early) => {
                self.answer(&plan, 200, false).await?;
                return self.read_body(&plan, body).await;
            }
            Some(Misdeed::EarlyClose) => {
                self.answer(&plan, 200, true).await?;
                return Ok(Then::End);
            }
            _ => {}
        }
        if self.read_body(&plan, body).await? != Then::Keep {
            return Ok(Then::Closed);
        }
        let mut output = Vec::new();
        match misdeed {
            Some(Misdeed::Error) => {
                self.answer(&plan, 500, false).await?;
                Ok(Then::Keep)
            }
            Some(Misdeed::HalfHead) => {
                plan.write_answer(200, false, &mut output);
                self.stream.write_all(&output[..body_at(&output) / 2]).await?;
                self.reset()
            }
            Some(misdeed @ (Misdeed::HalfBody | Misdeed::HalfBodyReset)) => {
                plan.write_answer(200, false, &mut output);
                self.stream.write_all(&output[..half_body(&output)]).await?;
                if misdeed == Misdeed::HalfBodyReset {
                    return self.reset();
                }
                Ok(Then::End)
            }
            Some(Misdeed::Extra) => {
                plan.write_answer(200, false, &mut output);
                output.extend_from_slice(&poison());
                self.stream.write_all(&output).await?;
                Ok(Then::Keep)
            }
            Some(Misdeed::BodyUnasked) => {
                self.stream.write_all(&body_unasked(&plan)).await?;
                Ok(Then::Keep)
            }
            Some(Misdeed::TwoLengths) => {
                self.stream.write_all(&two_lengths(&plan)).await?;
                Ok(Then::Keep)
            }
            Some(Misdeed::CloseAfter) => {
                self.answer(&plan, 200, false).await?;
                Ok(Then::End)
            }
            Some(Misdeed::Reset | Misdeed::Vanish | Misdeed::Early | Misdeed::EarlyClose) | None => {
                self.answer(&plan, 200, false).await?;
                Ok(Then::Keep)
            }
        }
    }

    async fn answer(&mut self, plan: &Plan, status: u16, closes: bool) -> io::Result<()> {
        let mut output = Vec::new();
        plan.write_answer(status, closes, &mut output);
        self.stream.write_all(&output).await
    }

    /// Closing it from now on resets it.
    fn reset(&self) -> io::Result<Then> {
        self.stream.set_zero_linger()?;
        Ok(Then::End)
    }

    /// Reads the request's body to its end, and checks that it is what this exchange's client sends.
    async fn read_body(&mut self, plan: &Plan, mut body: Body) -> io::Result<Then> {
        let (pattern, mut length, mut is_own) = (plan.pattern(), 0, true);
        loop {
            let read = body.read(&self.input, |piece| {
                is_own &= pattern.matches(length, piece);
                length += piece.len();
            });
            let Ok(taken) = read else {
                self.shared.count(|counts| counts.misframed += 1);
                return Ok(Then::Closed);
            };
            self.input.drain(..taken);
            if body == Body::Over {
                break;
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                self.shared.count(|counts| counts.foreign_bodies += u64::from(!is_own));
                return Ok(Then::Closed);
            }
        }
        let expected = match plan.ask {
            Ask::Get | Ask::Head => 0,
            Ask::Post { bytes, .. } => bytes,
        };
        self.shared.count(|counts| {
            counts.foreign_bodies += u64::from(!is_own);
            counts.misframed += u64::from(length != expected);
        });
        Ok(Then::Keep)
    }
}

/// Where the body of a message begins.
fn body_at(message: &[u8]) -> usize {
    memmem::find(message, b"\r\n\r\n").map_or(message.len(), |end| end + 4)
}

/// The middle of the body; where there is none, the end of the head is missing.
fn half_body(answer: &[u8]) -> usize {
    let body = body_at(answer);
    if body == answer.len() {
        body - 2
    } else {
        body + (answer.len() - body) / 2
    }
}

/// The plan's own body in answer to HEAD; nobody's answer behind 204 to other methods.
fn body_unasked(plan: &Plan) -> Vec<u8> {
    let mut output = Vec::new();
    if plan.ask == Ask::Head {
        let with_body = Plan { ask: Ask::Get, ..*plan };
        with_body.write_answer(200, false, &mut output);
    } else {
        output.extend_from_slice(format!("HTTP/1.1 204 x\r\nx-id: {}\r\n\r\n", plan.id).as_bytes());
        output.extend_from_slice(&poison());
    }
    output
}

/// An answer that ends after 20 bytes, or after 30.
fn two_lengths(plan: &Plan) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 x\r\nx-id: {}\r\ncontent-length: 20\r\ncontent-length: 30\r\n\r\n",
        plan.id
    );
    let mut output = head.into_bytes();
    plan.pattern().write(0, 30, &mut output);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_answer_is_never_whole() {
        let check = |answer: &str, expected: &str| {
            let half = &answer.as_bytes()[..half_body(answer.as_bytes())];
            assert_eq!(std::str::from_utf8(half).expect("text"), expected);
        };
        check(
            "HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\nabcd",
            "HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\nab",
        );
        check(
            "HTTP/1.1 200 x\r\ncontent-length: 1\r\n\r\na",
            "HTTP/1.1 200 x\r\ncontent-length: 1\r\n\r\n",
        );
        check(
            "HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 x\r\ncontent-length: 0\r\n",
        );
    }
}
