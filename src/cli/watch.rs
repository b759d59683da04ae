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
            Self::Terminal { colours } => {
                let (columns, rows) = size();
                // Home; each line is cleared behind its end, and the screen behind the last.
                let mut text = "\x1b[H".to_owned();
                for line in lines.iter().take(rows.saturating_sub(1)) {
                    let mut left = columns;
                    for (colour, part) in line {
                        let part: String = part.chars().take(left).collect();
                        left -= part.chars().count();
                        match escape(*colour).filter(|_| colours) {
                            Some(escape) => text.push_str(&format!("{escape}{part}\x1b[0m")),
                            None => text.push_str(&part),
                        }
                    }
                    text.push_str("\x1b[K\n");
                }
                text.push_str("\x1b[J");
                text
            }
        }
    }
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
    use super::{Colour, Screen};

    #[test]
    fn escapes_are_for_terminals_and_colours_for_those_who_want_them() {
        let lines = [
            vec![(Colour::Plain, "phase ".to_owned()), (Colour::Good, "fine".to_owned())],
            vec![(Colour::Bad, "x".repeat(10_000))],
        ];
        let render = |screen: Screen| screen.render(&lines);
        assert!(!render(Screen::Paper).contains('\x1b') && render(Screen::Paper).starts_with("phase fine\nxxx"));
        let coloured = render(Screen::Terminal { colours: true });
        assert!(
            coloured.starts_with("\x1b[Hphase \x1b[32mfine\x1b[0m\x1b[K\n\x1b[31mxxx"),
            "{coloured:?}"
        );
        let plain = render(Screen::Terminal { colours: false });
        assert!(plain.starts_with("\x1b[Hphase fine\x1b[K\nxxx"), "{plain:?}");
        assert!(
            plain.len() < 5_000,
            "a line is cut at the edge, or it would move the picture"
        );
    }
}
