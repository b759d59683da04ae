//! Lines up columns.

/// Rows of texts under their heads.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    numeric: Vec<bool>,
}

impl Table {
    /// `heads`: those with a `>` in front stand over numbers, which are set to the right.
    pub(super) fn new(heads: &[&str]) -> Self {
        Self {
            numeric: heads.iter().map(|head| head.starts_with('>')).collect(),
            rows: vec![
                heads
                    .iter()
                    .map(|head| head.trim_start_matches('>').to_owned())
                    .collect(),
            ],
        }
    }

    /// One more row, with as many cells as there are heads.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.numeric.len());
        self.rows.push(cells);
    }

    /// The lines, without an end of line behind the last one. Without rows there are only heads.
    pub(super) fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.numeric.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.numeric);
            let cells = cells.map(|((cell, &width), &numeric)| match numeric {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", ">WEIGHT", "NOTE"]);
        table.row(vec!["é".into(), "5".into(), String::new()]);
        table.row(vec!["canary".into(), "1000000".into(), "on trial".into()]);
        assert_eq!(
            table.render(),
            "NAME     WEIGHT  NOTE\né             5\ncanary  1000000  on trial"
        );
    }
}
