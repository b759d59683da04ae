//! A case of the table: a dialogue step by step, what becomes of both connections, and what the books show.

use std::time::Duration;

use super::expected;

/// One event. `{path}` in what the client says stands for the path of the case.
#[derive(Clone, Debug)]
pub enum Step {
    /// The client sends these bytes.
    Asks(Vec<u8>),
    /// The client sends so many bytes, or as many as are taken without delay.
    Pours(usize),
    /// A request with this method comes on a fresh connection, which is the backend's from now on.
    Fresh(&'static str),
    /// A fresh connection comes. No request has been read from it.
    Accepts,
    /// A request with this method comes on the connection of the one before.
    Again(&'static str),
    /// These bytes of the request's body come.
    Takes(Vec<u8>),
    /// Nothing comes to the backend for a while.
    HearsNothing,
    /// The backend sends these bytes.
    Says(Vec<u8>),
    /// The backend sends these bytes one by one with a pause after each.
    Drips(Vec<u8>, Duration),
    /// The backend sends this piece so many times, or until nobody takes it.
    Floods(Vec<u8>, usize),
    /// The backend says that nothing more will come, and goes on reading.
    Finishes,
    /// The backend closes in good order.
    Ends,
    /// The backend closes with a reset.
    Resets,
    /// The client gets exactly these bytes.
    Gets(Vec<u8>),
    /// The client gets exactly this content in chunks of any size, and no last chunk.
    GetsChunks(Vec<u8>),
    /// The client gets chunks of this byte, no more than so many, and no last chunk.
    GetsSomeChunks(u8, usize),
    /// The client's connection ends with a reset: no end of a body can be read out of it.
    Reset,
}

impl Step {
    /// What kind of event it is.
    pub fn word(&self) -> String {
        let text = format!("{self:?}");
        text.split('(').next().unwrap_or_default().to_owned()
    }
}

/// What becomes of a connection once the dialogue is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It serves the next request.
    Kept,
    /// It is closed, with nothing more on it.
    Closed,
}

/// One dialogue, and what remains of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
    pub client: Fate,
    pub backend: Fate,
    /// Exchanges as success, failure and no evidence.
    pub books: (u64, u64, u64),
}

/// Plain text or bytes.
pub trait Said {
    fn bytes(self) -> Vec<u8>;
}

impl<T: AsRef<[u8]>> Said for T {
    fn bytes(self) -> Vec<u8> {
        self.as_ref().to_vec()
    }
}

impl Case {
    /// A case in which nothing has been said. Unless told otherwise both connections are kept, and one
    /// success is in the books.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            steps: Vec::new(),
            client: Fate::Kept,
            backend: Fate::Kept,
            books: (1, 0, 0),
        }
    }

    /// A `GET` that has come to the backend on a fresh connection.
    pub fn get(name: &str) -> Self {
        Self::asked(name, "GET")
    }

    /// A request without a body that has come to the backend on a fresh connection.
    pub fn asked(name: &str, method: &'static str) -> Self {
        Self::new(name)
            .asks(format!("{method} {{path}} HTTP/1.1\r\nhost: serin.test\r\n\r\n"))
            .fresh(method)
    }

    pub fn asks(self, bytes: impl Said) -> Self {
        self.step(Step::Asks(bytes.bytes()))
    }

    pub fn pours(self, bytes: usize) -> Self {
        self.step(Step::Pours(bytes))
    }

    pub fn fresh(self, method: &'static str) -> Self {
        self.step(Step::Fresh(method))
    }

    pub fn again(self, method: &'static str) -> Self {
        self.step(Step::Again(method))
    }

    /// A connection comes, and the backend does not wait for the request.
    pub fn accepts(self) -> Self {
        self.step(Step::Accepts)
    }

    pub fn hears_nothing(self) -> Self {
        self.step(Step::HearsNothing)
    }

    pub fn takes(self, bytes: impl Said) -> Self {
        self.step(Step::Takes(bytes.bytes()))
    }

    pub fn says(self, bytes: impl Said) -> Self {
        self.step(Step::Says(bytes.bytes()))
    }

    pub fn drips(self, bytes: impl Said, pause: Duration) -> Self {
        self.step(Step::Drips(bytes.bytes(), pause))
    }

    pub fn floods(self, piece: impl Said, times: usize) -> Self {
        self.step(Step::Floods(piece.bytes(), times))
    }

    pub fn finishes(self) -> Self {
        self.step(Step::Finishes)
    }

    pub fn ends(self) -> Self {
        self.step(Step::Ends)
    }

    pub fn resets(self) -> Self {
        self.step(Step::Resets)
    }

    pub fn gets(self, bytes: impl Said) -> Self {
        self.step(Step::Gets(bytes.bytes()))
    }

    pub fn gets_chunks(self, content: impl Said) -> Self {
        self.step(Step::GetsChunks(content.bytes()))
    }

    pub fn gets_some_chunks_of(self, byte: u8, most: usize) -> Self {
        self.step(Step::GetsSomeChunks(byte, most))
    }

    /// The same with something behind its name.
    pub fn named(mut self, end: &str) -> Self {
        self.name.push_str(end);
        self
    }

    /// The client is cut off with a reset.
    pub fn reset(self) -> Self {
        self.step(Step::Reset).closed()
    }

    /// The client's connection is closed at the end.
    pub fn closed(mut self) -> Self {
        self.client = Fate::Closed;
        self
    }

    /// The backend's connection serves no other request.
    pub fn dropped(mut self) -> Self {
        self.backend = Fate::Closed;
        self
    }

    /// It stands in the books as a failure.
    pub fn failure(self) -> Self {
        self.books(0, 1, 0)
    }

    /// It stands in the books as no evidence.
    pub fn no_evidence(self) -> Self {
        self.books(0, 0, 1)
    }

    pub fn books(mut self, success: u64, failure: u64, none: u64) -> Self {
        self.books = (success, failure, none);
        self
    }

    /// The client gets a problem document, and the backend's connection is given up.
    pub fn refused(self, status: u16, detail: &str) -> Self {
        self.gets(expected::problem(status, detail)).dropped().failure()
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}
