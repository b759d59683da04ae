//! `serin rollout get`: a rollout as a picture, once or again whenever it changes.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Exit;
use super::args::Output;
use super::client::{Answer, ClientError, Question, segment};
use super::commands::Caller;
use super::tree::{Colour, Line, changes_with, tree};
use super::wait::ABSENCE_MAX;

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);

/// Columns before what a long line goes on with: as many as its label has.
const INDENT: usize = 9;

/// Where pictures are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// A file or a pipe: pictures follow each other, without escapes.
    Paper,
    /// A terminal: pictures stand in one place.
    Terminal {
        /// Whether colours are wanted (`NO_COLOR`).
        colours: bool,
    },
}

impl Screen {
    /// What standard output is.
    pub(super) fn of_stdout() -> Self {
        match std::io::stdout().is_terminal() {
            true => Self::Terminal {
                colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            },
            false => Self::Paper,
        }
    }

    /// The picture as it is written, without an end of line.
    fn render(self, lines: &[Line]) -> String {
        match self {
            Self::Paper => words(lines).join("\n"),
            Self::Terminal { colours } => drawn(lines, size(), colours),
        }
    }
}

/// The picture for a terminal of `(columns, rows)`. Long lines go on below, and where the rows do not suffice the
/// end is left out, so that nothing scrolls.
fn drawn(lines: &[Line], (columns, rows): (usize, usize), colours: bool) -> String {
    // A full last column would leave the cursor where the end of the line is cleared.
    let mut shown: Vec<Line> = lines
        .iter()
        .flat_map(|line| wrapped(line, columns.saturating_sub(1)))
        .collect();
    let room = rows.saturating_sub(1).max(1);
    if shown.len() > room {
        let more = shown.len() - (room - 1);
        shown.truncate(room - 1);
        shown.push(vec![(Colour::Faint, format!("… {more} more lines"))]);
    }
    let row = |line: &Line| {
        let part = |(colour, part): &(Colour, String)| match escape(*colour).filter(|_| colours) {
            Some(escape) => format!("{escape}{part}\x1b[0m"),
            None => part.clone(),
        };
        // Each line is cleared behind its end.
        line.iter().map(part).collect::<String>() + "\x1b[K"
    };
    let rows: Vec<String> = shown.iter().map(row).collect();
    // Home, and the screen is cleared behind the last line.
    format!("\x1b[H{}\x1b[J", rows.join("\n"))
}

/// `line` in rows of at most `columns`, broken at spaces where there are any; all but the first are indented.
fn wrapped(line: &Line, columns: usize) -> Vec<Line> {
    let columns = columns.max(2);
    let indent = INDENT.min(columns / 4);
    let letters: Vec<(Colour, char)> = (line.iter())
        .flat_map(|(colour, part)| part.chars().map(|letter| (*colour, letter)))
        .collect();
    let mut rows = Vec::new();
    let mut rest = letters.as_slice();
    loop {
        let before = if rows.is_empty() { 0 } else { indent };
        let room = columns - before;
        if rest.len() <= room {
            rows.push(row(before, rest));
            return rows;
        }
        // The space itself may stand beyond the edge; one at the beginning breaks nothing.
        let space = rest[..=room].iter().rposition(|(_, letter)| *letter == ' ');
        let end = space.filter(|&space| space > 0).unwrap_or(room);
        rows.push(row(before, &rest[..end]));
        let blank = rest[end..].iter().take_while(|(_, letter)| *letter == ' ').count();
        rest = &rest[end + blank..];
    }
}

/// Letters behind an indent, in parts of one colour each.
fn row(indent: usize, letters: &[(Colour, char)]) -> Line {
    let mut line: Line = Vec::new();
    if indent > 0 {
        line.push((Colour::Plain, " ".repeat(indent)));
    }
    for (colour, letter) in letters {
        match line.last_mut().filter(|(last, _)| last == colour) {
            Some((_, part)) => part.push(*letter),
            None => line.push((*colour, letter.to_string())),
        }
    }
    line
}

/// `serin rollout get NAME`
pub(super) async fn once(mut caller: Caller<'_, '_>, target: &str) -> Exit {
    let answer = match caller.ask(Question::get(target)).await {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    let route = match caller.output {
        Output::Text => route_of(&caller, &answer.body).await,
        Output::Json => None,
    };
    caller.show(&answer, |rollout| words(&tree(rollout, route.as_ref())).join("\n"))
}

/// `serin rollout get NAME --watch`: until Ctrl-C, or until Serin is gone for good. A terminal shows one picture
/// that is always new; elsewhere, and as JSON, another follows when something has changed.
pub(super) async fn watch(mut caller: Caller<'_, '_>, target: &str, screen: Screen) -> Exit {
    let mut last_seen: Option<Instant> = None;
    let mut last_drawn: Option<String> = None;
    if caller.output == Output::Text && screen != Screen::Paper {
        caller.console.say("\x1b[2J");
    }
    loop {
        let looked = tokio::select! {
            looked = caller.client.ask(Question::get(target)) => looked,
            _ = tokio::signal::ctrl_c() => return Exit::Done,
        };
        let now = Instant::now();
        let absent = matches!(looked, Err(ClientError::Unreachable { .. }))
            && last_seen.is_some_and(|seen| now.duration_since(seen) < ABSENCE_MAX);
        if !absent {
            let answer = match caller.judge(looked) {
                Ok(answer) => answer,
                Err(exit) => return exit,
            };
            last_seen = Some(now);
            draw(&mut caller, &answer, screen, &mut last_drawn).await;
        }
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            _ = tokio::signal::ctrl_c() => return Exit::Done,
        }
    }
}

async fn draw(caller: &mut Caller<'_, '_>, answer: &Answer, screen: Screen, last_drawn: &mut Option<String>) {
    let key = changes_with(&answer.body);
    let is_new = last_drawn.as_ref() != Some(&key);
    let first = last_drawn.is_none();
    *last_drawn = Some(key);
    match (caller.output, screen) {
        (Output::Json, _) if is_new => caller.console.say(answer.text.trim_end()),
        (Output::Text, Screen::Terminal { .. }) => {
            let route = route_of(caller, &answer.body).await;
            caller.console.say(&screen.render(&tree(&answer.body, route.as_ref())));
        }
        (Output::Text, Screen::Paper) if is_new => {
            let route = route_of(caller, &answer.body).await;
            let picture = screen.render(&tree(&answer.body, route.as_ref()));
            caller
                .console
                .say(&if first { picture } else { format!("\n{picture}") });
        }
        (Output::Json, _) | (Output::Text, Screen::Paper) => {}
    }
}

/// The route's figures; the picture is drawn without them rather than not.
async fn route_of(caller: &Caller<'_, '_>, rollout: &Value) -> Option<Value> {
    let target = format!("/v1/routes/{}", segment(rollout["route"].as_str()?));
    let answer = caller.client.ask(Question::get(target)).await.ok()?;
    (answer.status == 200).then_some(answer.body)
}

fn words(lines: &[Line]) -> Vec<String> {
    let line = |line: &Line| line.iter().map(|(_, text)| text.as_str()).collect::<String>();
    lines.iter().map(line).collect()
}

const fn escape(colour: Colour) -> Option<&'static str> {
    match colour {
        Colour::Plain => None,
        Colour::Good => Some("\x1b[32m"),
        Colour::Bad => Some("\x1b[31m"),
        Colour::Waits => Some("\x1b[33m"),
        Colour::Faint => Some("\x1b[2m"),
    }
}

/// Columns and rows of the terminal; those of the oldest where it does not say.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        Ok(_) | Err(_) => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::{Colour, Line, Screen, drawn, wrapped};

    fn line(text: &str) -> Line {
        vec![(Colour::Plain, text.to_owned())]
    }

    #[test]
    fn escapes_are_for_terminals_and_colours_for_those_who_want_them() {
        let lines = [
            vec![(Colour::Plain, "phase ".to_owned()), (Colour::Good, "fine".to_owned())],
            vec![(Colour::Bad, "x".to_owned())],
        ];
        assert_eq!(Screen::Paper.render(&lines), "phase fine\nx");
        let coloured = drawn(&lines, (80, 24), true);
        assert_eq!(
            coloured,
            "\x1b[Hphase \x1b[32mfine\x1b[0m\x1b[K\n\x1b[31mx\x1b[0m\x1b[K\x1b[J"
        );
        assert_eq!(drawn(&lines, (80, 24), false), "\x1b[Hphase fine\x1b[K\nx\x1b[K\x1b[J");
    }

    #[test]
    fn a_long_line_goes_on_below_its_words() {
        let check = |text: &str, columns: usize, expected: &[&str]| {
            let rows: Vec<String> = super::words(&wrapped(&line(text), columns));
            assert_eq!(rows, expected, "{text:?} in {columns}");
            assert!(rows.iter().all(|row| row.chars().count() <= columns.max(2)));
        };
        check("", 10, &[""]);
        check("reason   short", 40, &["reason   short"]);
        let long = "reason   5 of 100 requests failed and that is too many";
        check(
            long,
            36,
            &["reason   5 of 100 requests failed", "         and that is too many"],
        );
        check("0123456789", 10, &["0123456789"]);
        check("0123456789 1", 10, &["0123456789", "  1"]);
        check("0123456789abcdefgh", 10, &["0123456789", "  abcdefgh"]);
        check("   0123456789", 8, &["  ", "  012345", "  6789"]);
        check("ab", 0, &["ab"]);
        check("abc", 1, &["ab", "c"]);
    }

    #[test]
    fn a_colour_goes_on_with_its_line() {
        let line = vec![
            (Colour::Plain, "verdict  ".to_owned()),
            (Colour::Bad, "too many of them".to_owned()),
        ];
        let rows = wrapped(&line, 18);
        let expected = vec![
            vec![
                (Colour::Plain, "verdict  ".to_owned()),
                (Colour::Bad, "too many".to_owned()),
            ],
            vec![(Colour::Plain, "    ".to_owned()), (Colour::Bad, "of them".to_owned())],
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn on_a_low_screen_the_top_stays() {
        let lines: Vec<Line> = (1..=9).map(|n| line(&n.to_string())).collect();
        let check = |rows: usize, expected: &[&str]| {
            let text = drawn(&lines, (80, rows), false).replace("\x1b[K", "");
            let text = text.strip_prefix("\x1b[H").unwrap().strip_suffix("\x1b[J").unwrap();
            assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{rows}");
        };
        check(10, &["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        check(5, &["1", "2", "3", "… 6 more lines"]);
        check(1, &["… 9 more lines"]);
        check(0, &["… 9 more lines"]);
    }
}
