//! What do other proxies let through? Sends the requests of `tests/stories/requests` to each, and looks at what
//! reaches the backend. Prints the tables of `docs/security.md`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::BytesMut;
use serin::h1::{BodyDecoder, HeadLimits, RequestDecoder};
use serin::path::PathPolicy;

use crate::load::Protocol;
use crate::machine::Cores;
use crate::peer::{Features, Kind, Site};
use crate::workdir::{Workdir, free_port};

#[allow(unreachable_pub, missing_docs, reason = "shared with the stories")]
#[path = "../../tests/stories/requests/recorder.rs"]
mod recorder;
#[allow(unreachable_pub, missing_docs, reason = "shared with the stories")]
#[path = "../../tests/stories/requests/table.rs"]
mod table;

use recorder::{Message, Recorder};
use table::{Case, FILES, Outcome, Step, Theme, Then, escape};

/// A proxy that says nothing for so long waits for more of the request.
const QUIET: Duration = Duration::from_millis(250);

/// The whole of a case, if pieces keep coming.
const CASE_MAX: Duration = Duration::from_secs(3);

/// Bytes of a request and of what became of it, in the list of single cases.
const SHOWN: usize = 400;

/// Which requests that are no HTTP, or are read in two ways, do proxies pass on?
///
/// Each request of the table in tests/stories/requests goes to each proxy in its usual configuration, on a connection
/// of its own. It is passed on when the backend, a lenient one, has read a whole request more than it should have.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Proxies to ask; one that is not installed is left out.
    #[arg(long, value_delimiter = ',', default_value = "serin,nginx,haproxy")]
    proxies: Vec<Kind>,
    /// Also print each request that a proxy passed on, and what the backend saw.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    cores: Cores,
}

/// What the table says of a case, as far as another proxy can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The RFCs want it refused.
    Required,
    /// The RFCs let a recipient repair it or go on.
    Choice,
    /// It is legal, and Serin passes it on.
    Legal,
}

impl Class {
    const ALL: [Self; 3] = [Self::Required, Self::Choice, Self::Legal];

    /// By the last outcome.
    fn of(case: &Case) -> Option<Self> {
        match case.outcomes.last()? {
            Outcome::Passed { .. } => Some(Self::Legal),
            Outcome::Refused { by_choice, .. } | Outcome::Broken { by_choice, .. } => {
                Some(if *by_choice { Self::Choice } else { Self::Required })
            }
        }
    }
}

/// Where a proxy did not do as the table says: something bad went on, or something good did not.
#[derive(Debug)]
struct Deviation {
    /// Index of the theme.
    theme: usize,
    class: Class,
    /// What reached the backend is still none of what Serin takes: the proxy has not mended it.
    unmended: bool,
    case: String,
    sent: String,
    seen: Vec<String>,
}

/// Runs the scenario; `false` when Serin itself is not as the table says.
///
/// # Errors
/// When the table cannot be read, or a proxy does not start.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    options.cores.pin_load()?;
    let themes = FILES.iter().map(|(_, text)| Theme::parse(text));
    let themes: Vec<Theme> = themes.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let mut columns = Vec::new();
    for &kind in &options.proxies {
        let peer = match kind.find() {
            Ok(peer) => peer,
            Err(error) => {
                eprintln!("{} is left out: {error:#}", kind.name());
                continue;
            }
        };
        let workdir = Workdir::create()?;
        let recorder = Recorder::start().context("no backend")?;
        let port = free_port()?;
        let site = Site {
            protocol: Protocol::H1,
            port,
            admin_port: free_port()?,
            backends: [recorder.address().port(); 2],
            weights: [99, 1],
            connections_max: 100,
            timeout_s: 5,
            features: Features::Plain,
        };
        let _process = peer.start(&site, options.cores, &workdir).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // The thread ends with the last case, a few minutes at worst, also when nobody waits for it any more.
        let asked = themes.clone();
        let deviations = tokio::task::spawn_blocking(move || ask_all(address, &recorder, &asked)).await??;
        columns.push((peer, deviations));
    }
    let versions: Vec<_> = columns.iter().map(|(peer, _)| peer.version.as_str()).collect();
    println!("{}\n", versions.join(" · "));
    let columns: Vec<_> = columns
        .iter()
        .map(|(peer, found)| (peer.kind, found.as_slice()))
        .collect();
    print!("{}", summary(&themes, &columns));
    if options.list {
        for (kind, deviations) in &columns {
            print!("{}", list(*kind, &themes, deviations));
        }
    }
    Ok(columns
        .iter()
        .all(|(kind, found)| *kind != Kind::Serin || found.is_empty()))
}

fn ask_all(address: SocketAddr, recorder: &Recorder, themes: &[Theme]) -> anyhow::Result<Vec<Deviation>> {
    let mut deviations = Vec::new();
    for (theme, cases) in themes.iter().enumerate().map(|(n, theme)| (n, &theme.cases)) {
        for case in cases {
            let Some(class) = Class::of(case) else { continue };
            recorder.forget();
            ask(address, case).with_context(|| format!("{:?}", case.name))?;
            let messages = settled(recorder);
            let whole = messages.iter().filter(|message| message.whole).count();
            let due = case
                .outcomes
                .iter()
                .filter(|o| matches!(o, Outcome::Passed { .. }))
                .count();
            if whole > due || (class == Class::Legal && whole < due) {
                deviations.push(Deviation {
                    theme,
                    class,
                    unmended: messages.iter().any(|message| !is_plain(&message.raw)),
                    case: case.name.clone(),
                    sent: sent(case),
                    seen: messages.iter().map(|message| escape(&message.raw, SHOWN)).collect(),
                });
            }
        }
    }
    Ok(deviations)
}

/// Sends a case in whole steps, and waits for all its answers, the end, or a silence.
fn ask(address: SocketAddr, case: &Case) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(QUIET))?;
    stream.set_write_timeout(Some(CASE_MAX))?;
    let mut answers = Vec::new();
    for step in &case.steps {
        let done = match step {
            Step::Send(bytes) => stream.write_all(bytes).is_ok(),
            Step::AwaitContinue => read_some(&mut stream, &mut answers),
            Step::End => stream.shutdown(Shutdown::Write).is_ok(),
        };
        if !done {
            break; // It has refused, or it waits; the answers tell.
        }
    }
    let goes_on = matches!(
        case.outcomes.last(),
        Some(Outcome::Passed {
            then: Then::Open | Then::Kept,
            ..
        })
    );
    let deadline = Instant::now() + CASE_MAX;
    loop {
        // One answer more than is due may follow, unless all was legal.
        let done = goes_on && final_answers(&answers) >= case.outcomes.len();
        if done || Instant::now() > deadline || !read_some(&mut stream, &mut answers) {
            return Ok(());
        }
    }
}

/// Reads once; `false` at the end or after a silence.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut piece = [0; 16 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(read) => {
                into.extend(&piece[..read]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Status lines but those of interim answers. No body in this scenario holds one.
fn final_answers(bytes: &[u8]) -> usize {
    let status_lines = bytes
        .windows(11)
        .filter(|window| window.starts_with(b"HTTP/1.") && window[8] == b' ');
    status_lines.filter(|window| window[9] != b'1').count()
}

/// What the backend has got, once none of it is still coming.
fn settled(recorder: &Recorder) -> Vec<Message> {
    let deadline = Instant::now() + CASE_MAX;
    loop {
        let messages = recorder.messages();
        if messages.iter().all(|message| message.whole || message.cut) || Instant::now() > deadline {
            return messages;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether Serin would take this request, and nothing is left behind it.
fn is_plain(bytes: &[u8]) -> bool {
    let limits = HeadLimits {
        bytes: 1 << 20,
        fields: 10_000,
        target_bytes: 1 << 20,
    };
    let mut buffer = BytesMut::from(bytes);
    let Ok(Some(request)) = RequestDecoder::new(limits, PathPolicy::Strict).decode(&mut buffer) else {
        return false;
    };
    let mut body = BodyDecoder::new(request.framing);
    while let Ok(Some(_)) = body.decode(&mut buffer) {}
    body.is_done() && buffer.is_empty()
}

fn sent(case: &Case) -> String {
    let steps = case.steps.iter().map(|step| match step {
        Step::Send(bytes) => escape(bytes, SHOWN),
        Step::AwaitContinue => " (waits) ".to_owned(),
        Step::End => " (ends)".to_owned(),
    });
    steps.collect()
}

/// A Markdown table: for each theme and class the number of cases, how many of them each proxy took otherwise, and of
/// how many of these the backend got to see the fault.
fn summary(themes: &[Theme], columns: &[(Kind, &[Deviation])]) -> String {
    let mut text = String::from("| theme |");
    let mut rule = String::from("| --- |");
    for class in ["to be refused", "refused by choice", "legal"] {
        text += &format!(" {class} |");
        rule += " ---: |";
        for (kind, _) in columns {
            text += &format!(" {} |", kind.name());
            rule += " ---: |";
        }
    }
    text += &format!("\n{rule}\n");
    let mut totals: BTreeMap<(Class, usize), (usize, usize)> = BTreeMap::new();
    for (number, theme) in themes.iter().enumerate() {
        text += &format!("| {} |", theme.name);
        for class in Class::ALL {
            let cases = theme.cases.iter().filter(|case| Class::of(case) == Some(class)).count();
            let mut cells = vec![(cases, 0)];
            for (_, deviations) in columns {
                let here = || {
                    let here = deviations.iter();
                    here.filter(|found| (found.theme, found.class) == (number, class))
                };
                cells.push((here().count(), here().filter(|found| found.unmended).count()));
            }
            for (column, (count, unmended)) in cells.into_iter().enumerate() {
                text += &format!(" {} |", cell(class, column, count, unmended));
                let total = totals.entry((class, column)).or_default();
                *total = (total.0 + count, total.1 + unmended);
            }
        }
        text.push('\n');
    }
    // In order of class, then column, as above.
    let totals = totals
        .iter()
        .map(|(&(class, column), &(count, unmended))| cell(class, column, count, unmended));
    text + &totals.fold("| **all** |".to_owned(), |row, cell| row + &format!(" **{cell}** |")) + "\n"
}

/// A count of cases stands alone, that of deviations with the unmended ones behind it.
fn cell(class: Class, column: usize, count: usize, unmended: usize) -> String {
    if column == 0 || class == Class::Legal || count == 0 {
        count.to_string()
    } else {
        format!("{count} ({unmended})")
    }
}

fn list(kind: Kind, themes: &[Theme], deviations: &[Deviation]) -> String {
    let mut text = format!("\n## {}\n", kind.name());
    for Deviation {
        theme,
        class,
        unmended,
        case,
        sent,
        seen,
    } in deviations
    {
        let theme = &themes[*theme].name;
        text += &format!(
            "\n{theme}: {case} ({class:?}{})\n  sent {sent}\n",
            if *unmended { ", unmended" } else { "" }
        );
        for seen in seen {
            text += &format!("  seen {seen}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_not_counted() {
        let count = |text: &str| final_answers(text.as_bytes());
        assert_eq!(count(""), 0);
        assert_eq!(count("HTTP/1.1 100 Continue\r\n\r\n"), 0);
        assert_eq!(
            count("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nokHTTP/1.0 400 Bad\r\n\r\n"),
            2
        );
    }

    #[test]
    fn each_class_is_counted_apart() {
        let text =
            "theme: t\ncase: a\n> x\nrefused 400\ncase: b\n> x\nrefused 400 by choice\ncase: c\n> x\n< x\npassed\n";
        let theme = Theme::parse(text).expect("it is of the format");
        let found = Deviation {
            theme: 0,
            class: Class::Choice,
            unmended: true,
            case: "b".to_owned(),
            sent: String::new(),
            seen: Vec::new(),
        };
        let text = summary(&[theme], &[(Kind::Nginx, &[found])]);
        assert!(text.contains("| t | 1 | 0 | 1 | 1 (1) | 1 | 0 |\n"), "{text}");
        assert!(
            text.ends_with("| **all** | **1** | **0** | **1** | **1 (1)** | **1** | **0** |\n"),
            "{text}"
        );
    }
}
