//! What the demo shows while it runs: a block redrawn in place on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::book::{Figures, Totals};
use crate::analysis::VerdictKind;
use crate::control::RolloutView;

/// Columns of a bar of 100 %: the line of a side has 80 then.
const BAR: usize = 20;

/// Without a terminal: the time between two lines.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// What is to be seen at one moment.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Since the rollout began.
    pub(super) at: Duration,
    /// Where the rollout stands.
    pub(super) rollout: RolloutView,
    /// The last second of stable, and of the canary.
    pub(super) sides: [Figures; 2],
    /// The run so far.
    pub(super) totals: Totals,
}

/// Where frames and notes go. What cannot be written is dropped: the run goes on without a reader.
#[derive(Debug)]
pub(super) struct Screen<W: Write> {
    out: W,
    mode: Mode,
    /// Whether colours are wanted.
    colour: bool,
    /// How wide the terminal is at this moment; `None`: unknown.
    columns: fn() -> Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Says nothing.
    Silent,
    /// A line now and then.
    Plain {
        /// When the next one is due.
        next: Duration,
    },
    /// A block of so many lines, redrawn.
    Live { lines: usize },
}

/// What a piece of text says, and so its colour.
#[derive(Clone, Copy)]
enum Tone {
    Good,
    Middling,
    Bad,
    Dim,
}

impl Screen<io::Stdout> {
    /// On the standard output; `silent`: nowhere.
    pub(super) fn of_stdout(silent: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let out = io::stdout();
        let live = out.is_terminal() && set("TERM").is_some_and(|term| term != "dumb");
        let mode = match (silent, live) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Live { lines: 0 },
            (false, false) => Mode::Plain { next: Duration::ZERO },
        };
        Self {
            out,
            mode,
            colour: live && set("NO_COLOR").is_none(),
            columns: || {
                let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
                Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
            },
        }
    }
}

impl<W: Write> Screen<W> {
    /// A line that stays.
    pub(super) fn note(&mut self, text: &str) {
        if self.mode == Mode::Silent {
            return;
        }
        let mut piece = self.above();
        piece.push_str(text);
        piece.push('\n');
        if let Mode::Live { lines } = &mut self.mode {
            *lines = 0;
        }
        self.write(&piece);
    }

    /// The present state, where it is time to show it.
    pub(super) fn show(&mut self, frame: &Frame) {
        let piece = match self.mode {
            Mode::Silent => return,
            Mode::Plain { next } if frame.at < next => return,
            Mode::Plain { .. } => {
                self.mode = Mode::Plain {
                    next: frame.at + PLAIN_EVERY,
                };
                plain(frame) + "\n"
            }
            Mode::Live { .. } => {
                let lines = block(frame, self.colour);
                let mut piece = self.above();
                self.mode = Mode::Live { lines: lines.len() };
                let columns = (self.columns)().unwrap_or(usize::MAX);
                // Too long a line must not wrap, or the way back up would be wrong: not even where the
                // width is unknown.
                piece.push_str("\x1b[?7l");
                lines
                    .iter()
                    .for_each(|line| piece.extend([cut(line, columns).as_str(), "\n"]));
                piece.push_str("\x1b[?7h");
                piece
            }
        };
        self.write(&piece);
    }

    /// Back to the block's first line, with all below it cleared.
    fn above(&self) -> String {
        match self.mode {
            Mode::Live { lines } if lines > 0 => format!("\x1b[{lines}A\x1b[J"),
            Mode::Live { .. } | Mode::Plain { .. } | Mode::Silent => String::new(),
        }
    }

    fn write(&mut self, piece: &str) {
        let _ = self.out.write_all(piece.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// The block on a terminal.
fn block(frame: &Frame, colour: bool) -> Vec<String> {
    let rollout = &frame.rollout;
    let [stable, canary] = &frame.sides;
    let (word, tone) = verdict(frame);
    let totals = &frame.totals;
    let lost = if totals.lost == 0 { Tone::Dim } else { Tone::Bad };
    vec![
        String::new(),
        side("stable", 1.0 - rollout.share, stable, Tone::Good, colour),
        side("canary", rollout.share, canary, Tone::Middling, colour),
        String::new(),
        format!(
            "  {}{} · verdict {}",
            rollout.phase.as_str(),
            step(frame),
            paint(word, tone, colour)
        ),
        format!("  {}", paint(reason(frame), Tone::Dim, colour)),
        format!(
            "  {:.1} s · {} requests · {} bad responses · {}",
            frame.at.as_secs_f64(),
            totals.requests,
            totals.bad_responses,
            paint(&format!("{} lost", totals.lost), lost, colour)
        ),
    ]
}

/// One side of the split: its weight as a bar, and what it did in the last second.
fn side(name: &str, share: f64, figures: &Figures, tone: Tone, colour: bool) -> String {
    // Some weight is some bar, however little.
    let length = (1..=BAR)
        .rev()
        .find(|&columns| share * BAR as f64 >= columns as f64 - 0.5);
    let length = length.unwrap_or(usize::from(share > 0.0));
    let bar = paint(&"█".repeat(length), tone, colour);
    let rest = paint(&"░".repeat(BAR - length), Tone::Dim, colour);
    let errors = percent(figures.error_rate);
    let tone = if figures.error_rate.is_some_and(|rate| rate > 0.0) {
        Tone::Bad
    } else {
        Tone::Dim
    };
    let errors = paint(&format!("{errors:>7} errors"), tone, colour);
    format!(
        "  {name}  {bar}{rest} {:>5.1} %  {:>5} req/s {errors}  p95 {:>8}",
        share * 100.0,
        figures.answers,
        ms(figures.p95)
    )
}

/// The line elsewhere.
fn plain(frame: &Frame) -> String {
    let mut line = format!(
        "{:6.1} s  canary {:5.1} %  {}{} · verdict {}",
        frame.at.as_secs_f64(),
        frame.rollout.share * 100.0,
        frame.rollout.phase.as_str(),
        step(frame),
        verdict(frame).0,
    );
    for (name, figures) in ["stable", "canary"].iter().zip(&frame.sides) {
        let _ = write!(
            line,
            "  | {name} {} req/s, {} errors, p95 {}",
            figures.answers,
            percent(figures.error_rate),
            ms(figures.p95)
        );
    }
    let _ = write!(line, "  | {} lost", frame.totals.lost);
    line
}

/// Which step is in force, if any, with a mark before it.
fn step(frame: &Frame) -> String {
    let rollout = &frame.rollout;
    let Some(step) = rollout.step else {
        return String::new();
    };
    let bake = rollout.bake_seconds;
    let baked = rollout.baked_seconds.min(bake);
    format!(
        " · step {} of {}, baked {baked:.1} of {bake:.1} s",
        step + 1,
        rollout.steps
    )
}

fn verdict(frame: &Frame) -> (&'static str, Tone) {
    match frame.rollout.verdict.as_ref().map(|verdict| verdict.kind) {
        None => ("none yet", Tone::Dim),
        Some(kind @ VerdictKind::Pass) => (kind.as_str(), Tone::Good),
        Some(kind @ (VerdictKind::Hold | VerdictKind::Inconclusive)) => (kind.as_str(), Tone::Middling),
        Some(kind @ VerdictKind::Fail) => (kind.as_str(), Tone::Bad),
    }
}

fn reason(frame: &Frame) -> &str {
    let rollout = &frame.rollout;
    let verdict = rollout.verdict.as_ref().filter(|_| rollout.phase.is_judged());
    verdict.map_or(&rollout.reason, |verdict| &verdict.reason)
}

fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".into(), |rate| format!("{:.1} %", rate * 100.0))
}

fn ms(latency: Option<Duration>) -> String {
    latency.map_or_else(
        || "-".into(),
        |latency| format!("{:.1} ms", latency.as_secs_f64() * 1e3),
    )
}

/// As much of a line as `columns` hold, each character one wide. Colours take no room, and all of them stay.
fn cut(line: &str, columns: usize) -> String {
    let (mut width, mut in_colour) = (0, false);
    line.chars()
        .filter(|&c| {
            if c == '\x1b' || in_colour {
                in_colour = c != 'm';
                return true;
            }
            width += 1;
            width <= columns
        })
        .collect()
}

fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Middling => "33",
        Tone::Bad => "31",
        Tone::Dim => "2",
    };
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Course;
    use crate::name::Name;
    use crate::rollout::Phase;

    fn frame(at_ms: u64, share: f64) -> Frame {
        let name = |text| Name::new(text).unwrap();
        let rollout = RolloutView {
            name: name("shop"),
            route: name("shop"),
            from: name("stable"),
            to: name("canary"),
            observe: false,
            phase: Phase::Progressing,
            step: Some(1),
            steps: 4,
            step_weights: vec![0.1, 0.25, 0.5, 1.0],
            course: Course::default(),
            since_ms: 0,
            baked_seconds: 1.25,
            bake_seconds: 2.0,
            share,
            verdict: None,
            reason: "step 2 of 4".into(),
            history: Vec::new(),
        };
        let stable = Figures {
            answers: 748,
            error_rate: Some(0.0),
            p95: Some(Duration::from_micros(6_230)),
        };
        let canary = Figures {
            answers: 252,
            error_rate: Some(0.0811),
            p95: None,
        };
        let totals = Totals {
            requests: 3000,
            bad_responses: 20,
            ..Totals::default()
        };
        Frame {
            at: Duration::from_millis(at_ms),
            rollout,
            sides: [stable, canary],
            totals,
        }
    }

    fn screen(mode: Mode) -> Screen<Vec<u8>> {
        Screen {
            out: Vec::new(),
            mode,
            colour: false,
            columns: || Some(60),
        }
    }

    #[test]
    fn a_plain_line_says_all_of_it() {
        let expected = "   3.1 s  canary  25.0 %  progressing · step 2 of 4, baked 1.2 of 2.0 s · verdict none yet  \
                        | stable 748 req/s, 0.0 % errors, p95 6.2 ms  | canary 252 req/s, 8.1 % errors, p95 -  | 0 lost";
        assert_eq!(plain(&frame(3_100, 0.25)), expected);
    }

    #[test]
    fn plain_lines_come_once_a_second_and_hold_no_escapes() {
        let mut screen = screen(Mode::Plain { next: Duration::ZERO });
        for at_ms in (0..=2_500).step_by(100) {
            screen.show(&frame(at_ms, 0.25));
        }
        screen.note("over");
        let text = String::from_utf8(screen.out).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn the_block_is_redrawn_in_place_and_notes_stay_above_it() {
        let mut screen = screen(Mode::Live { lines: 0 });
        screen.show(&frame(0, 0.25));
        screen.show(&frame(100, 0.25));
        screen.note("the canary turns bad");
        screen.show(&frame(200, 0.25));
        let text = String::from_utf8(screen.out).unwrap();
        assert_eq!(text.matches("\x1b[7A\x1b[J").count(), 2, "{text:?}");
        assert!(
            text.contains("\x1b[7A\x1b[Jthe canary turns bad\n\x1b[?7l\n"),
            "{text:?}"
        );
    }

    #[test]
    fn a_line_is_cut_to_the_terminal() {
        assert_eq!(cut("7.5 ms · 0 lost", 8), "7.5 ms ·");
        assert_eq!(cut("  \x1b[31m8 %\x1b[0m errors", 4), "  \x1b[31m8 \x1b[0m");
        assert_eq!(cut("short", 60), "short");
        let side = side("stable", 1.0, &frame(0, 0.0).sides[0], Tone::Good, false);
        assert_eq!(side.chars().count(), 80, "{side}");
        let mut screen = screen(Mode::Live { lines: 0 });
        screen.show(&frame(0, 0.25));
        let text = String::from_utf8(screen.out).unwrap();
        let widest = text
            .lines()
            .filter(|line| !line.contains('\x1b'))
            .map(|line| line.chars().count());
        assert_eq!(widest.max(), Some(60), "{text:?}");
    }

    #[test]
    fn some_weight_is_some_bar() {
        let check = |share: f64, columns: usize| {
            let line = side("canary", share, &Figures::default(), Tone::Good, false);
            assert_eq!(line.matches('█').count(), columns, "{share}");
            assert_eq!(line.matches(['█', '░']).count(), BAR, "{share}");
        };
        check(0.0, 0);
        check(0.001, 1);
        check(0.05, 1);
        check(0.25, 5);
        check(0.5, 10);
        check(1.0, 20);
    }

    #[test]
    fn silence_is_silent() {
        let mut screen = screen(Mode::Silent);
        screen.show(&frame(0, 0.5));
        screen.note("hello");
        assert!(screen.out.is_empty());
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        assert!(!block(&frame(0, 0.5), false).concat().contains('\x1b'));
        assert!(block(&frame(0, 0.5), true).concat().contains("\x1b[31m"));
    }
}
