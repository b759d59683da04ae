//! A client of the unruly service behind a proxy: sends planned exchanges, one or several at once, and says of each how
//! it ended. It retries nothing and believes nothing.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use super::plan::{Ask, Leave, Plan};
use crate::wire::{Body, Head, Malformed};

/// The longest wait for all answers of one batch; far above any timeout that a scenario configures.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(15);

/// Room for what one read brings.
const READ_BYTES: usize = 64 * 1024;

/// How an exchange ended for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With the service's answer, whole.
    Answered {
        /// Its status.
        status: u16,
    },
    /// With an answer of the proxy's own: an error with this status.
    Refused {
        /// Its status.
        status: u16,
    },
    /// The connection ended before the end of the answer; the client knows that it has none.
    Cut,
    /// A connection that had been kept ended without a byte, though nothing was to go wrong: it was closed before the
    /// request came, and the answer before had not said so.
    Dropped {
        /// The exchange before, on the same connection.
        after: Plan,
    },
    /// It was sent behind another one, and that one's answer was the last on the connection.
    Unreached,
    /// The client went away by plan.
    Left,
    /// No answer for a long time.
    Hung,
    /// What came belongs to another exchange, or to nobody.
    Foreign(String),
    /// An answer passed for whole that was not as the service sent it.
    Misframed(String),
}

/// One client; it opens a connection when it has none.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<TcpStream>,
    /// The last exchange on it.
    last: Option<Plan>,
    input: Vec<u8>,
}

/// Whether the connection can be used for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Keep,
    End,
}

impl Client {
    /// A client of a loopback port.
    pub(crate) fn new(port: u16) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            connection: None,
            last: None,
            input: Vec::with_capacity(READ_BYTES),
        }
    }

    /// Sends all of `plans` at once and reads their answers in order; answers how each ended, in the same order.
    pub(crate) async fn exchange(&mut self, plans: &[Plan]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(plans.len());
        let last = self.last.take();
        let then = match self.connected().await {
            Some(mut connection) => {
                let run = run(&mut connection, &mut self.input, plans, &mut outcomes);
                let then = tokio::time::timeout(ANSWERS_TIMEOUT, run).await.unwrap_or_else(|_| {
                    outcomes.push(Outcome::Hung);
                    Then::End
                });
                if then == Then::Keep {
                    self.connection = Some(connection);
                    self.last = plans.last().copied();
                }
                then
            }
            None => {
                outcomes.push(Outcome::Cut);
                Then::End
            }
        };
        let nothing_came = outcomes == [Outcome::Cut] && self.input.is_empty();
        if let Some(after) = last.filter(|_| nothing_came && plans[0].misdeed.is_none()) {
            outcomes[0] = Outcome::Dropped { after };
        }
        if then == Then::End {
            self.input.clear();
        }
        outcomes.resize(plans.len(), Outcome::Unreached);
        outcomes
    }

    async fn connected(&mut self) -> Option<TcpStream> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let fresh = TcpStream::connect(self.address).await.ok()?;
        fresh.set_nodelay(true).ok()?;
        Some(fresh)
    }
}

/// Writes all requests while it reads the answers: a server may answer before it has read everything.
async fn run(connection: &mut TcpStream, input: &mut Vec<u8>, plans: &[Plan], outcomes: &mut Vec<Outcome>) -> Then {
    let mut requests = Vec::new();
    for plan in plans {
        plan.write_request(&mut requests);
    }
    let (mut reader, mut writer) = connection.split();
    let is_sent = Cell::new(false);
    let writing = async {
        // Should it fail, there may still be an answer to read.
        is_sent.set(writer.write_all(&requests).await.is_ok());
    };
    let reading = async {
        for plan in plans {
            if plan.leave == Some(Leave::Unanswered) {
                outcomes.push(Outcome::Left);
                return Then::End;
            }
            let (outcome, then) = read_answer(&mut reader, input, plan).await;
            outcomes.push(outcome);
            if then == Then::End {
                return Then::End;
            }
        }
        Then::Keep
    };
    // Who leaves without an answer leaves once everything is sent.
    let leaves_at_once = plans.iter().any(|plan| plan.leave == Some(Leave::Unanswered));
    let then = if leaves_at_once {
        writing.await;
        reading.await
    } else {
        tokio::pin!(reading);
        tokio::select! {
            biased;
            then = &mut reading => then,
            () = writing => reading.await,
        }
    };
    if then == Then::Keep && !input.is_empty() {
        if let Some(last) = outcomes.last_mut() {
            *last = Outcome::Foreign(format!("{} bytes behind the answer", input.len()));
        }
        return Then::End;
    }
    // A request that is not sent to its end cannot be followed by another.
    if is_sent.get() { then } else { Then::End }
}

async fn read_answer(reader: &mut ReadHalf<'_>, input: &mut Vec<u8>, plan: &Plan) -> (Outcome, Then) {
    loop {
        match Head::parse(input) {
            Ok(None) => {
                if !read_more(reader, input).await {
                    return (Outcome::Cut, Then::End);
                }
            }
            Ok(Some(head)) => match Answer::judge(&head, plan) {
                Ok(Some(mut answer)) => {
                    let length = head.length;
                    input.drain(..length);
                    return answer.read_body(reader, input, plan).await;
                }
                Ok(None) => {
                    let length = head.length;
                    input.drain(..length);
                }
                Err(outcome) => return (outcome, Then::End),
            },
            Err(Malformed(what)) => return (Outcome::Foreign(format!("no answer: {what}")), Then::End),
        }
    }
}

/// `false` when the connection has ended.
async fn read_more(reader: &mut ReadHalf<'_>, input: &mut Vec<u8>) -> bool {
    matches!(reader.read_buf(input).await, Ok(length) if length > 0)
}

/// A head that may answer the request, and what is known of its body.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Whether the service sent it, by the exchange's number.
    is_own: bool,
    body: Body,
    then: Then,
}

impl Answer {
    /// Whose answer this is; `None` for an interim one.
    fn judge(head: &Head<'_>, plan: &Plan) -> Result<Option<Self>, Outcome> {
        let misframed = |Malformed(what)| Outcome::Misframed(what.to_owned());
        let status = head.status().map_err(misframed)?;
        if status < 200 {
            return Ok(None);
        }
        let is_own = match head.only_value("x-id") {
            Some(id) if id == plan.id.to_string() => true,
            Some(id) => return Err(Outcome::Foreign(format!("the answer of {id} to {}", plan.id))),
            None if status >= 400 => false,
            None => return Err(Outcome::Foreign(format!("{status} of nobody to {}", plan.id))),
        };
        let body = head.response_body(plan.ask == Ask::Head).map_err(misframed)?;
        if body == Body::UntilClose {
            return Err(Outcome::Misframed("a body without an end of its own".to_owned()));
        }
        if let (true, Ask::Head, Some(length)) = (is_own, plan.ask, head.only_value("content-length"))
            && length != plan.bytes.to_string()
        {
            return Err(Outcome::Misframed(format!("HEAD says {length}, not {}", plan.bytes)));
        }
        Ok(Some(Self {
            status,
            is_own,
            body,
            then: if head.closes() { Then::End } else { Then::Keep },
        }))
    }

    async fn read_body(&mut self, reader: &mut ReadHalf<'_>, input: &mut Vec<u8>, plan: &Plan) -> (Outcome, Then) {
        if plan.leave == Some(Leave::Midway) {
            return (Outcome::Left, Then::End);
        }
        let (pattern, mut length, mut is_its_own) = (plan.pattern(), 0, true);
        loop {
            let read = self.body.read(input, |piece| {
                is_its_own &= !self.is_own || pattern.matches(length, piece);
                length += piece.len();
            });
            let taken = match read {
                Ok(taken) => taken,
                Err(Malformed(what)) => return (Outcome::Misframed(what.to_owned()), Then::End),
            };
            input.drain(..taken);
            if !is_its_own {
                return (Outcome::Foreign(format!("bytes in the body of {}", plan.id)), Then::End);
            }
            if self.body == Body::Over {
                return (self.outcome(length, plan), self.then);
            }
            if !read_more(reader, input).await {
                return (Outcome::Cut, Then::End);
            }
        }
    }

    /// What a whole answer with so long a body is.
    fn outcome(&self, length: usize, plan: &Plan) -> Outcome {
        let has_body = plan.ask != Ask::Head && self.status != 204;
        if !self.is_own {
            Outcome::Refused { status: self.status }
        } else if has_body && length != plan.bytes {
            Outcome::Misframed(format!("{length} bytes of {} in the body of {}", plan.bytes, plan.id))
        } else {
            Outcome::Answered { status: self.status }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn plan(id: u64) -> Plan {
        Plan {
            id,
            ask: Ask::Get,
            bytes: 100,
            chunked: id.is_multiple_of(2),
            misdeed: None,
            leave: None,
        }
    }

    fn answer(id: u64) -> Vec<u8> {
        let mut output = Vec::new();
        plan(id).write_answer(200, false, &mut output);
        output
    }

    /// What a client makes of `output` as answers to the exchanges 1, 2, …; the connection ends behind it.
    async fn check(output: &[u8], expected: &[Outcome]) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let plans: Vec<Plan> = (1..).map(plan).take(expected.len()).collect();
        let mut client = Client::new(port);
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut requests = 0;
            while requests < plans.len() {
                let mut input = Vec::new();
                stream.read_buf(&mut input).await.expect("requests");
                requests += input.windows(4).filter(|window| window == b"\r\n\r\n").count();
            }
            stream.write_all(output).await.expect("the client reads");
        };
        let (outcomes, ()) = tokio::join!(client.exchange(&plans), server);
        assert_eq!(outcomes, expected, "{}", String::from_utf8_lossy(output));
    }

    fn answered() -> Outcome {
        Outcome::Answered { status: 200 }
    }

    #[tokio::test]
    async fn an_answer_is_its_own_exchanges_or_foreign() {
        let foreign = |what: &str| Outcome::Foreign(what.to_owned());
        check(&answer(1), &[answered()]).await;
        check(&[answer(1), answer(2)].concat(), &[answered(), answered()]).await;
        check(&answer(2), &[foreign("the answer of 2 to 1")]).await;
        let swapped = [answer(2), answer(1)].concat();
        check(&swapped, &[foreign("the answer of 2 to 1"), Outcome::Unreached]).await;
        let behind = [answer(1), answer(2)].concat();
        check(
            &behind,
            &[foreign(&format!("{} bytes behind the answer", answer(2).len()))],
        )
        .await;
        let mut byte = answer(1);
        *byte.last_mut().expect("a body") = b'!';
        check(&byte, &[foreign("bytes in the body of 1")]).await;
        let nobody = b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n";
        check(nobody, &[foreign("200 of nobody to 1")]).await;
    }

    #[tokio::test]
    async fn what_is_cut_or_refused_is_no_cross_talk() {
        let whole = answer(1);
        check(&whole[..whole.len() - 1], &[Outcome::Cut]).await;
        check(&whole[..9], &[Outcome::Cut, Outcome::Unreached]).await;
        let refusal = b"HTTP/1.1 502 x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        check(refusal, &[Outcome::Refused { status: 502 }, Outcome::Unreached]).await;
        let interim = [b"HTTP/1.1 103 x\r\n\r\n".to_vec(), answer(1)].concat();
        check(&interim, &[answered()]).await;
    }

    #[tokio::test]
    async fn a_kept_connection_that_ends_is_told_from_a_cut() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let mut client = Client::new(listener.local_addr().expect("an address").port());
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.read_buf(&mut Vec::new()).await.expect("a request");
            stream.write_all(&answer(1)).await.expect("the client reads");
        };
        let (first, second) = ([plan(1)], [plan(2)]);
        let (outcomes, ()) = tokio::join!(client.exchange(&first), server);
        assert_eq!(outcomes, [answered()]);
        let after = first[0];
        assert_eq!(client.exchange(&second).await, [Outcome::Dropped { after }]);
    }

    #[tokio::test]
    async fn a_shorter_body_does_not_pass_for_whole() {
        let short = b"HTTP/1.1 200 x\r\nx-id: 1\r\ncontent-length: 3\r\n\r\n000";
        let misframed = |what: &str| Outcome::Misframed(what.to_owned());
        check(short, &[misframed("3 bytes of 100 in the body of 1")]).await;
        let endless = b"HTTP/1.1 200 x\r\nx-id: 1\r\n\r\n000";
        check(endless, &[misframed("a body without an end of its own")]).await;
    }
}
