//! Who leans on whom: no circles, no more questions than an answer is worth, and no answers that say nothing of
//! who asks.

use super::whole::{Known, Whole};
use crate::config::read::Reader;
use crate::config::tree::NodeId;

/// Reports prerequisites that cannot be: on flags that draw anew, in circles, of routes on what no request has, and
/// too many of them for one question.
pub(super) fn check(whole: &Whole<'_>, reader: &mut Reader<'_>) {
    for lean in &whole.leans {
        if whole.flags[lean.to].draws_anew {
            reader.refuse_text(
                lean.at,
                "draws anew for each request, so that its answer says nothing of a user; give it a key",
            );
        }
    }
    let graph = Graph::of(whole);
    if let Some(order) = graph.order(whole, reader) {
        graph.check_costs(&order, whole, reader);
        graph.check_reach(&order, whole, reader);
    }
}

/// For each flag those that it leans on, and where they are named.
struct Graph {
    leans: Vec<Vec<(usize, NodeId)>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Not,
    /// On the way that is walked just now.
    Walking,
    Done,
}

impl Graph {
    fn of(whole: &Whole<'_>) -> Self {
        let mut leans = vec![Vec::new(); whole.flags.len()];
        for lean in &whole.leans {
            leans[lean.from].push((lean.to, lean.at));
        }
        Self { leans }
    }

    /// The flags, each after those that it leans on; `None` when there is a circle, which is then reported. Walks
    /// without recursion: a file may have a long chain of flags.
    fn order(&self, whole: &Whole<'_>, reader: &mut Reader<'_>) -> Option<Vec<usize>> {
        let mut seen = vec![Seen::Not; self.leans.len()];
        let mut order = Vec::new();
        let mut good = true;
        for start in 0..self.leans.len() {
            if seen[start] != Seen::Not {
                continue;
            }
            seen[start] = Seen::Walking;
            let mut way = vec![(start, 0)];
            while let Some((flag, next)) = way.last_mut() {
                let Some(&(to, at)) = self.leans[*flag].get(*next) else {
                    seen[*flag] = Seen::Done;
                    order.push(*flag);
                    way.pop();
                    continue;
                };
                *next += 1;
                match seen[to] {
                    Seen::Done => {}
                    Seen::Not => {
                        seen[to] = Seen::Walking;
                        way.push((to, 0));
                    }
                    Seen::Walking => {
                        good = false;
                        let begin = way.iter().position(|(flag, _)| *flag == to).unwrap_or(0);
                        let circle = way[begin..].iter().map(|(flag, _)| *flag);
                        reader.refuse(at, circle_in_words(circle.chain([to]), whole, reader));
                    }
                }
            }
        }
        good.then_some(order)
    }

    /// Reports flags whose answer takes too many answers of others; not those that merely lean on such a flag.
    fn check_costs(&self, order: &[usize], whole: &Whole<'_>, reader: &mut Reader<'_>) {
        let mut costs = vec![0_usize; self.leans.len()];
        for &flag in order {
            let others = self.leans[flag].iter().map(|(to, _)| costs[*to].saturating_add(1));
            costs[flag] = others.fold(0, usize::saturating_add);
            let is_first = self.leans[flag].iter().all(|(to, _)| costs[*to] <= ANSWERS_MAX);
            if costs[flag] > ANSWERS_MAX && is_first {
                let message = format!(
                    "needs {} answers of other flags, those that they need included; {ANSWERS_MAX} are the most, so \
                     take prerequisites out",
                    costs[flag]
                );
                reader.refuse(whole.flags[flag].name.unwrap_or(self.leans[flag][0].1), message);
            }
        }
    }

    /// Reports routes that lean on a flag without a route which goes by what no request has.
    fn check_reach(&self, order: &[usize], whole: &Whole<'_>, reader: &mut Reader<'_>) {
        // For each flag without a route one that it comes to, and that no request can answer to; perhaps itself.
        let mut beyond: Vec<Option<usize>> = vec![None; self.leans.len()];
        for &flag in order {
            if !whole.is_route(flag) {
                let own = whole.flags[flag].beyond_requests.map(|_| flag);
                beyond[flag] = own.or_else(|| self.leans[flag].iter().find_map(|(to, _)| beyond[*to]));
                continue;
            }
            for &(to, at) in &self.leans[flag] {
                let Some(other) = beyond[to] else { continue };
                let why = whole.flags[other].beyond_requests.unwrap_or_default();
                let through = match other == to {
                    true => String::new(),
                    false => format!("leans on {}, which ", name(&whole.flags[other], reader)),
                };
                reader.refuse_text(at, &format!("{through}{why}; lean on the flag of a route"));
            }
        }
    }
}

fn circle_in_words(flags: impl Iterator<Item = usize>, whole: &Whole<'_>, reader: &Reader<'_>) -> String {
    let names: Vec<_> = flags.map(|flag| name(&whole.flags[flag], reader)).collect();
    let shown = match names.len() {
        // The ends of a long one say enough.
        long @ 10.. => [&names[..4], &["…".to_owned()], &names[long - 4..]].concat(),
        _ => names,
    };
    format!(
        "goes round in a circle: {}; take one of these prerequisites out",
        shown.join(" → ")
    )
}

/// How the flag is called, as the file has it.
fn name(flag: &Known<'_>, reader: &Reader<'_>) -> String {
    flag.name.map_or_else(|| "a flag".into(), |at| reader.tree.quote(at))
}

/// Each question that is put to a flag may ask so many other questions.
const ANSWERS_MAX: usize = 32;
