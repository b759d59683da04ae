//! What do other proxies let through? Sends the requests of `tests/stories/requests` to each, and looks at what
//! reaches the backend. Prints the tables of `docs/security.md`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;

use crate::load::Protocol;
use crate::machine::Cores;
use crate::peer::{Features, Kind, Site};
use crate::workdir::{Workdir, free_port};

mod ask;
#[allow(unreachable_pub, missing_docs, reason = "shared with the stories")]
#[path = "../../tests/stories/requests/recorder.rs"]
mod recorder;
#[allow(unreachable_pub, missing_docs, reason = "shared with the stories")]
#[path = "../../tests/stories/requests/table.rs"]
mod table;
#[allow(unreachable_pub, missing_docs, reason = "shared with the stories")]
#[path = "../../tests/stories/requests/text.rs"]
mod text;

use ask::{ask, is_plain, settled};
use recorder::Recorder;
use table::{Case, FILES, Outcome, Step, Theme};
use text::escape;

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
    /// Times that each request is sent; what happens in one of them counts, as some of it hangs on timing.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
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
            certificate: None,
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
        let (asked, rounds) = (themes.clone(), options.rounds);
        let deviations = tokio::task::spawn_blocking(move || ask_all(address, &recorder, &asked, rounds)).await??;
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

fn ask_all(address: SocketAddr, recorder: &Recorder, themes: &[Theme], rounds: u32) -> anyhow::Result<Vec<Deviation>> {
    let mut deviations = Vec::new();
    for (theme, cases) in themes.iter().enumerate().map(|(n, theme)| (n, &theme.cases)) {
        for case in cases {
            for _ in 0..rounds {
                let deviation = ask_once(address, recorder, theme, case);
                if let Some(deviation) = deviation.with_context(|| format!("{:?}", case.name))? {
                    deviations.push(deviation);
                    break;
                }
            }
        }
    }
    Ok(deviations)
}

/// `None`: the proxy did as the table says, or nobody but Serin has to.
fn ask_once(address: SocketAddr, recorder: &Recorder, theme: usize, case: &Case) -> anyhow::Result<Option<Deviation>> {
    let Some(class) = Class::of(case) else {
        return Ok(None);
    };
    recorder.forget();
    ask(address, case)?;
    let messages = settled(recorder);
    let whole = messages.iter().filter(|message| message.whole).count();
    let due = case.outcomes.iter().filter(|o| matches!(o, Outcome::Passed { .. }));
    let due = due.count();
    let differs = whole > due || (class == Class::Legal && whole < due);
    Ok(differs.then(|| Deviation {
        theme,
        class,
        unmended: messages.iter().any(|message| !is_plain(&message.raw)),
        case: case.name.clone(),
        sent: sent(case),
        seen: messages.iter().map(|message| escape(&message.raw, SHOWN)).collect(),
    }))
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
