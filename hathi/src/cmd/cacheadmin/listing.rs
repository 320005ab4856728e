//! Tables of Hadoop's administration tools (`TableListing`).

/// Columns, with their rows.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Titles, and whether the column is aligned to the right.
    columns: Vec<(&'static str, bool)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn left(&mut self, title: &'static str) -> &mut Table {
        self.columns.push((title, false));
        self
    }

    pub(super) fn right(&mut self, title: &'static str) -> &mut Table {
        self.columns.push((title, true));
        self
    }

    pub(super) fn row(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// Each column is one wider than its widest word, and there is a space between two columns.
    pub(super) fn text(&self) -> String {
        let width = |column: usize| {
            let title = self.columns.get(column).map_or(0, |(title, _)| title.len());
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).fold(title, usize::max) + 1
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let cells = cells.map(|((cell, (_, is_right)), width)| match is_right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:width$}"),
            });
            text.push_str(&cells.collect::<Vec<_>>().join(" "));
            text.push('\n');
        }
        text
    }
}
