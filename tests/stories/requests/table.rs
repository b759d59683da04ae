//! The table of requests: what a client sends, what of it reaches the backend, what the client is answered. Read
//! by the stories and by `loadtest strictness`, which sends the same bytes to other proxies.
//!
//! A file holds one theme, in lines:
//!
//! ```text
//! theme: Content-Length          the first line
//! # words                        a remark
//! case: a sign                   begins a case; its name is met once in the theme
//! > POST /x HTTP/1.1             the client sends this line and CRLF
//! >| +5                          it sends this and no line end
//! >!100                          it waits for `100 (Continue)`
//! >!end                          it closes its sending side
//! < POST /x HTTP/1.1             the backend sees this line and CRLF
//! <| hello                       it sees this and no line end
//! passed                         that was a whole request, it was answered 200 by the backend
//! passed, kept                   the same, and the answer says `connection: keep-alive`
//! passed, closed                 the same, and Serin says `connection: close` and closes
//! refused 400                    Serin answers with a problem and closes; nothing reaches the backend
//! broken 400                     the same, but a head had been accepted: what has reached the backend breaks off
//! ```
//!
//! One outcome for each request of the connection, in order. `by choice` behind a refusal says that the RFCs let a
//! recipient repair what came, or leave it open. A comment may stand behind ` ;; ` on an outcome's line.
//!
//! In text, `\r`, `\n`, `\t`, `\0`, `\s` (a space), `\\` and `\xHH` are bytes, and `\[3*ab]` is `ababab`. In what the
//! backend sees, `{hex16}` and `{hex32}` are so many digits, and a line `{added}` is what Serin adds to every request.

use super::text::bytes;

/// The theme files, in the order of reading.
pub const FILES: [(&str, &str); 15] = [
    ("start_line", include_str!("start_line.txt")),
    ("target", include_str!("target.txt")),
    ("path", include_str!("path.txt")),
    ("host", include_str!("host.txt")),
    ("fields", include_str!("fields.txt")),
    ("line_ends", include_str!("line_ends.txt")),
    ("content_length", include_str!("content_length.txt")),
    ("transfer_encoding", include_str!("transfer_encoding.txt")),
    ("chunks", include_str!("chunks.txt")),
    ("bodies", include_str!("bodies.txt")),
    ("expect", include_str!("expect.txt")),
    ("pipelining", include_str!("pipelining.txt")),
    ("hop_by_hop", include_str!("hop_by_hop.txt")),
    ("forwarding", include_str!("forwarding.txt")),
    ("limits", include_str!("limits.txt")),
];

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theme {
    pub name: String,
    pub cases: Vec<Case>,
}

/// One connection of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    /// Line of the file on which it begins, from 1.
    pub line: usize,
    pub steps: Vec<Step>,
    /// One for each request; all but the last are passed, and leave the connection open.
    pub outcomes: Vec<Outcome>,
}

impl Case {
    /// Whether its only request is a HEAD, whose answer has no body.
    #[allow(dead_code)] // of the two who read the table, the stories ask
    pub fn asks_by_head(&self) -> bool {
        self.outcomes.len() == 1 && matches!(self.steps.first(), Some(Step::Send(bytes)) if bytes.starts_with(b"HEAD "))
    }
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    AwaitContinue,
    /// It closes its sending side.
    End,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reaches the backend as this pattern says, and is answered 200.
    Passed { pattern: Vec<u8>, then: Then },
    /// Serin answers with this status and closes; nothing of it reaches the backend.
    Refused { status: u16, by_choice: bool },
    /// Its head was fit to be passed on, its body is not. Serin answers with this status and closes; what reached
    /// the backend breaks off.
    Broken { status: u16, by_choice: bool },
}

/// What becomes of the connection, and whether the answer says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Open,
    /// It stays open, and the answer says so.
    Kept,
    Closed,
}

impl Theme {
    /// Reads a file.
    ///
    /// # Errors
    /// When a line is not of the format; says which.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().zip(1..);
        let name = lines.next().and_then(|(line, _)| line.strip_prefix("theme: "));
        let mut theme = Self {
            name: name.ok_or("line 1: no theme")?.to_owned(),
            cases: Vec::new(),
        };
        let mut draft: Option<Draft> = None;
        for (line, number) in lines {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = |error: String| format!("{}, line {number}: {error}", theme.name);
            if let Some(name) = line.strip_prefix("case: ") {
                if let Some(draft) = draft.take() {
                    theme.cases.push(draft.finish().map_err(place)?);
                }
                if theme.cases.iter().any(|case| case.name == name) {
                    return Err(place(format!("{name:?} was there before")));
                }
                draft = Some(Draft::new(name, number));
            } else {
                let draft = draft.as_mut().ok_or_else(|| place("no case has begun".to_owned()))?;
                draft.line(line).map_err(place)?;
            }
        }
        if let Some(draft) = draft {
            theme.cases.push(draft.finish()?);
        }
        Ok(theme)
    }
}

/// A case that is being read.
struct Draft {
    case: Case,
    /// Of the next outcome.
    pattern: Vec<u8>,
}

impl Draft {
    fn new(name: &str, line: usize) -> Self {
        let case = Case {
            name: name.to_owned(),
            line,
            steps: Vec::new(),
            outcomes: Vec::new(),
        };
        Self {
            case,
            pattern: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        match line.as_bytes() {
            b">!100" => self.step(Step::AwaitContinue),
            b">!end" => self.step(Step::End),
            [b'>', rest @ ..] => self.step(Step::Send(bytes(rest)?)),
            [b'<', rest @ ..] => {
                self.pattern.extend(bytes(rest)?);
                Ok(())
            }
            _ => {
                let words = line.split(" ;; ").next().unwrap_or(line);
                let outcome = self.outcome(words)?;
                self.open()?;
                self.case.outcomes.push(outcome);
                Ok(())
            }
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        if !self.pattern.is_empty() || !self.case.outcomes.is_empty() {
            return Err("what the client does comes first".to_owned());
        }
        match (self.case.steps.last_mut(), step) {
            (Some(Step::Send(sent)), Step::Send(more)) => sent.extend(more),
            (_, step) => self.case.steps.push(step),
        }
        Ok(())
    }

    fn outcome(&mut self, words: &str) -> Result<Outcome, String> {
        let pattern = std::mem::take(&mut self.pattern);
        let then = match words {
            "passed" => Some(Then::Open),
            "passed, kept" => Some(Then::Kept),
            "passed, closed" => Some(Then::Closed),
            _ => None,
        };
        match then {
            Some(_) if pattern.is_empty() => return Err("nothing has reached the backend".to_owned()),
            Some(then) => return Ok(Outcome::Passed { pattern, then }),
            None => {}
        }
        if !pattern.is_empty() {
            return Err("what reaches the backend is passed".to_owned());
        }
        let (words, by_choice) = match words.strip_suffix(" by choice") {
            Some(words) => (words, true),
            None => (words, false),
        };
        let (word, status) = words
            .split_once(' ')
            .ok_or_else(|| format!("{words:?} is no outcome"))?;
        let status = status
            .parse()
            .ok()
            .filter(|status| (400..600).contains(status))
            .ok_or_else(|| format!("{status:?} is no status of a refusal"))?;
        match word {
            "refused" => Ok(Outcome::Refused { status, by_choice }),
            "broken" => Ok(Outcome::Broken { status, by_choice }),
            _ => Err(format!("{word:?} is no outcome")),
        }
    }

    /// Fails when the connection ended with the outcome before.
    fn open(&self) -> Result<(), String> {
        match self.case.outcomes.last() {
            None => Ok(()),
            Some(Outcome::Passed { then, .. }) if *then != Then::Closed => Ok(()),
            Some(_) => Err("the connection is closed already".to_owned()),
        }
    }

    fn finish(self) -> Result<Case, String> {
        let name = &self.case.name;
        if self.case.steps.is_empty() || self.case.outcomes.is_empty() || !self.pattern.is_empty() {
            return Err(format!("the case {name:?} is not complete"));
        }
        Ok(self.case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(lines: &str) -> Result<Case, String> {
        Theme::parse(&format!("theme: t\ncase: c\n{lines}")).map(|mut theme| theme.cases.remove(0))
    }

    #[track_caller]
    fn is_refused(lines: &str, why: &str) {
        let error = one(lines).expect_err("it is not of the format");
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn a_case_is_read() {
        let case =
            one("> GET\\s/ \\x00\\[2*ab]\n>\n>!100\n>| x\n< GET {hex16}\n<\npassed\nrefused 400 by choice ;; why\n");
        let case = case.expect("it is of the format");
        assert_eq!(case.line, 2);
        assert_eq!(
            case.steps,
            [
                Step::Send(b"GET / \0abab\r\n\r\n".to_vec()),
                Step::AwaitContinue,
                Step::Send(b"x".to_vec())
            ]
        );
        let pattern = b"GET {hex16}\r\n\r\n".to_vec();
        let (then, by_choice, status) = (Then::Open, true, 400);
        assert_eq!(
            case.outcomes,
            [
                Outcome::Passed { pattern, then },
                Outcome::Refused { status, by_choice }
            ]
        );
    }

    #[test]
    fn what_is_not_of_the_format_is_told() {
        is_refused(">x\nrefused 400\n", "a space is missing");
        is_refused("> x\n", "not complete");
        is_refused("> x\nrefused 200\n", "no status");
        is_refused("> x\npased\n", "no outcome");
        is_refused("> x\npassed\n", "nothing has reached");
        is_refused("> x\n< x\nrefused 400\n", "is passed");
        is_refused("> x\nrefused 400\n> x\n", "comes first");
        is_refused("> x\nrefused 400\nrefused 400\n", "closed already");
        is_refused("> \\q\nrefused 400\n", "means nothing");
        is_refused("> \\xg0\nrefused 400\n", "no two digits");
        is_refused("> x\nrefused 400\ncase: c\n> x\nrefused 400\n", "was there before");
        assert!(Theme::parse("case: c\n").is_err());
    }
}
