//! What is looked at of a panel: the order of its rows, the row that is selected, and which rows are on the screen.

use crate::top::panel::{Key, Panel};
use crate::top::table::{Column, Row, Sorting};

/// A panel's rows, filtered and sorted, and what is selected of them.
pub(in crate::top) struct View {
    pub(in crate::top) columns: &'static [Column],
    pub(in crate::top) sorting: Sorting,
    pub(in crate::top) rows: Vec<Row>,
    /// Where the selected row is.
    pub(in crate::top) selected: usize,
    /// The selected row, which stays selected wherever it goes; none while the first is.
    key: Option<Key>,
    /// The first row on the screen.
    pub(in crate::top) first: usize,
    /// Rows on the screen.
    page: usize,
}

impl View {
    pub(super) fn new(panel: Panel) -> Self {
        let sorting = panel.sorting();
        Self { columns: panel.columns(), sorting, rows: Vec::new(), selected: 0, key: None, first: 0, page: 0 }
    }

    /// Takes these rows, as far as they contain `wanted`, on a screen that has room for a `page` of them.
    pub(super) fn settle(&mut self, mut rows: Vec<Row>, wanted: &str, page: usize) {
        if !wanted.is_empty() {
            rows.retain(|row| row.contains(wanted));
        }
        self.sorting.sort(self.columns, &mut rows);
        self.rows = rows;
        self.page = page.max(1);
        let found = self.key.as_ref().map(|key| self.rows.iter().position(|row| row.key == *key));
        // One that is gone leaves its place to another, which is not stuck to: the next rows may have it again.
        self.selected = found.unwrap_or(Some(0)).unwrap_or(self.selected).min(self.rows.len().saturating_sub(1));
        self.scroll();
    }

    /// Keeps the selected row on the screen, and the screen full.
    fn scroll(&mut self) {
        let last_page = self.rows.len().saturating_sub(self.page);
        let lowest = (self.selected + 1).saturating_sub(self.page);
        self.first = self.first.clamp(lowest, self.selected).min(last_page);
    }

    pub(super) fn select(&mut self, row: usize) {
        let row = row.min(self.rows.len().saturating_sub(1));
        self.selected = row;
        self.key = if row == 0 { None } else { self.rows.get(row).map(|row| row.key.clone()) };
        self.scroll();
    }

    /// Selects the row that is so many below.
    pub(super) fn down(&mut self, rows: usize) {
        self.select(self.selected.saturating_add(rows));
    }

    /// Selects the row that is so many above.
    pub(super) fn up(&mut self, rows: usize) {
        self.select(self.selected.saturating_sub(rows));
    }

    /// Rows that Page Up and Page Down go over.
    pub(super) fn page(&self) -> usize {
        self.page.saturating_sub(1).max(1)
    }

    pub(super) fn selected(&self) -> Option<&Row> {
        self.rows.get(self.selected)
    }

    pub(super) fn sort_next(&mut self) {
        self.sorting = self.sorting.next(self.columns);
    }

    pub(super) const fn reverse(&mut self) {
        self.sorting.reversed = !self.sorting.reversed;
    }
}
