//! What is wrong with a file: where, what, and how to mend it.

use std::fmt;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the caller names it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Such as `routes.checkout.split`; empty where the text is no YAML.
    pub path: String,
    /// What is wrong and how to mend it, in one sentence.
    pub message: String,
}

impl Problem {
    /// `FILE:LINE:COLUMN`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{} ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with one file, by line; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// In the order of lines and columns; the first 1,000 that were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many there are, those beyond [`Problems::iter`] too.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len() + self.left_out
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// Gathers problems while a file is read and checked.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    list: Vec<Problem>,
    left_out: usize,
}

impl Report {
    /// Nothing wrong so far.
    pub(super) fn new(file: String) -> Self {
        Self {
            file,
            list: Vec::new(),
            left_out: 0,
        }
    }

    /// One more.
    pub(super) fn add(&mut self, (line, column): (u32, u32), path: String, message: String) {
        if self.list.len() == PROBLEMS_MAX {
            self.left_out += 1;
            return;
        }
        self.list.push(Problem {
            file: self.file.clone(),
            line,
            column,
            path,
            message,
        });
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a search for the nearest name is still worth its time: it looks at every name, and
    /// must not do so for each of ten thousand problems.
    pub(super) fn may_suggest(&self) -> bool {
        self.list.len() < SUGGESTIONS_MAX
    }

    /// In the order of the file. Each part that does not come about is reported; if one day one is
    /// not, the file is refused all the same.
    pub(super) fn into_problems(mut self) -> Problems {
        if self.is_empty() {
            self.add((1, 1), String::new(), "the file is not understood".into());
        }
        self.list.sort_by_key(|problem| (problem.line, problem.column));
        Problems {
            list: self.list,
            left_out: self.left_out,
        }
    }
}

/// More than a person reads at once.
const PROBLEMS_MAX: usize = 1_000;
const SUGGESTIONS_MAX: usize = 100;

/// The one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 4 * most)
        .map(|candidate| {
            let same = candidate.eq_ignore_ascii_case(word);
            let distance = if same { 0 } else { strsim::osa_distance(candidate, word) };
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::{Report, nearest};

    #[test]
    fn the_nearest_word_is_a_likely_slip_or_nothing() {
        let known = ["weight", "backend", "name"];
        assert_eq!(nearest("wieght", known), Some("weight"));
        assert_eq!(nearest("Backend", known), Some("backend"));
        assert_eq!(nearest("nme", known), Some("name"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn problems_stand_in_the_order_of_lines_and_are_bounded() {
        let mut report = Report::new("f.yaml".into());
        for line in (1..=1_200).rev() {
            report.add((line, 3), "a.b".into(), "is wrong".into());
        }
        let problems = report.into_problems();
        assert_eq!(problems.count(), 1_200);
        let text = problems.to_string();
        assert!(text.starts_with("f.yaml:201:3 a.b: is wrong\nf.yaml:202:3 "));
        assert!(text.ends_with("\nand 200 more"));
        assert_eq!(Report::new("f.yaml".into()).into_problems().count(), 1);
    }
}
