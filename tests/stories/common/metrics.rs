//! Reads a metrics page.

use super::Serin;

type Labels = Vec<(String, String)>;

/// One scrape.
#[derive(Debug)]
pub struct Metrics {
    samples: Vec<(String, Labels, f64)>,
}

impl Metrics {
    #[track_caller]
    pub fn of(serin: &Serin) -> Self {
        let page = serin.admin("GET", "/metrics", "");
        assert_eq!(page.status, 200, "{}", page.text());
        Self::parse(&page.text())
    }

    #[track_caller]
    pub fn parse(page: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let value = value.parse().unwrap_or_else(|_| panic!("no value: {line:?}"));
            (name.to_owned(), labels_of(labels.trim_end_matches('}')), value)
        };
        let samples = page
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(sample)
            .collect();
        Self { samples }
    }

    /// The sum of all samples of `name` that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |own: &[(String, String)]| {
            labels
                .iter()
                .all(|(l, v)| own.iter().any(|(ol, ov)| ol == l && ov == v))
        };
        self.samples
            .iter()
            .filter(|(n, own, _)| n == name && fits(own))
            .map(|(_, _, value)| value)
            .sum()
    }

    /// The counts of `name` above 0, by the value of a label.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counters
    pub fn by_label(&self, name: &str, label: &str) -> Vec<(String, u64)> {
        let samples = self.samples.iter().filter(|(n, _, count)| n == name && *count > 0.0);
        samples
            .filter_map(|(_, own, count)| {
                let (_, value) = own.iter().find(|(l, _)| l == label)?;
                Some((value.clone(), *count as u64))
            })
            .collect()
    }

    /// Whether there is any sample of `name`.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(n, _, _)| n == name)
    }

    /// Attempts on a route as (success, failure, noEvidence).
    pub fn attempts(&self, route: &str, variant: &str) -> (u64, u64, u64) {
        self.outcomes("serin_attempts_total", route, variant)
    }

    /// Requests on a route as (success, failure, noEvidence).
    pub fn requests(&self, route: &str, variant: &str) -> (u64, u64, u64) {
        self.outcomes("serin_requests_total", route, variant)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counters
    fn outcomes(&self, name: &str, route: &str, variant: &str) -> (u64, u64, u64) {
        let of = |outcome| self.sum(name, &[("route", route), ("variant", variant), ("outcome", outcome)]) as u64;
        (of("success"), of("failure"), of("noEvidence"))
    }
}

/// `a="b",c="d"`; the values of our stories hold no quotes.
fn labels_of(text: &str) -> Labels {
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once("=\"").unwrap_or_else(|| panic!("no label: {pair:?}")))
        .map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect()
}

#[test]
fn a_page_is_read() {
    let page = "# TYPE x counter\nx{a=\"1\",b=\"2\"} 3\nx{a=\"1\",b=\"3\"} 4.5\ny 1e3\n";
    let metrics = Metrics::parse(page);
    assert_eq!(metrics.sum("x", &[("a", "1")]), 7.5);
    assert_eq!(metrics.sum("x", &[("b", "3"), ("a", "1")]), 4.5);
    assert_eq!(metrics.sum("y", &[]), 1000.0);
    assert!(!metrics.has("z"));
}
