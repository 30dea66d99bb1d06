//! A panel: its heading and its rows, cut to the columns that there are.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use super::look::Look;
use crate::top::app::View;
use crate::top::table::{Column, Shape, Sorting};
use crate::top::text::{cut, cut_end};

/// Columns between columns.
const SPACING: u16 = 1;

/// Draws the rows of `view` that are on the screen.
pub(super) fn draw(view: &View, focused: bool, look: Look, frame: &mut Frame, place: Rect) {
    let columns = fitting(view.columns, view.sorting, place.width);
    let heading = columns.iter().map(|(at, width)| heading_cell(view, *at, *width));
    let page = usize::from(place.height.saturating_sub(1));
    let rows = view.rows.iter().enumerate().skip(view.first).take(page).map(|(at, row)| {
        let cells = columns.iter().map(|(column, width)| {
            let text = row.cells.get(*column).map_or("", |cell| cell.text.as_str());
            aligned(cut(text, *width), view.columns[*column].shape)
        });
        let style = if row.alarming { look.warning() } else { Style::new() };
        let selected = if focused && at == view.selected { look.selected() } else { Style::new() };
        Row::new(cells).style(style.patch(selected))
    });
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(rows, widths).header(Row::new(heading).style(look.heading(focused))).column_spacing(SPACING);
    frame.render_widget(table, place);
}

/// A title, with an arrow where rows are sorted by it.
fn heading_cell(view: &View, at: usize, width: u16) -> Cell<'static> {
    let column = &view.columns[at];
    let text = if view.sorting.column == at {
        let arrow = if column.descends(view.sorting) { '▼' } else { '▲' };
        format!("{}{arrow}", cut_end(column.title, width.saturating_sub(1)))
    } else {
        cut_end(column.title, width)
    };
    aligned(text, column.shape)
}

fn aligned(text: String, shape: Shape) -> Cell<'static> {
    let line = Line::from(text);
    Cell::from(if shape == Shape::Number { line.right_aligned() } else { line })
}

/// Which columns fit into so many of the terminal's, and how wide each is. Those that grow and the one that rows are sorted by
/// are always there. Then come what those like to have, the others in their order, and what is left is shared.
fn fitting(columns: &[Column], sorting: Sorting, room: u16) -> Vec<(usize, u16)> {
    let stays = |at: usize| columns[at].shape == Shape::Growing || at == sorting.column;
    let needs = |at: usize| columns[at].width + SPACING;
    let mut chosen: Vec<usize> = (0..columns.len()).filter(|at| stays(*at)).collect();
    let needed: u16 = chosen.iter().map(|at| needs(*at)).sum();
    let mut left = (room + SPACING).saturating_sub(needed);
    let liked: u16 = chosen.iter().map(|at| columns[*at].likes - columns[*at].width).sum();
    let kept = liked.min(left);
    left -= kept;
    for at in (0..columns.len()).filter(|at| !stays(*at)) {
        // Not a later one instead: which are there follows from the width alone.
        let Some(rest) = left.checked_sub(needs(at)) else { break };
        left = rest;
        chosen.push(at);
    }
    chosen.sort_unstable();
    let mut widths: Vec<(usize, u16)> = chosen.into_iter().map(|at| (at, columns[at].width)).collect();
    let growing: Vec<&mut (usize, u16)> =
        widths.iter_mut().filter(|(at, _)| columns[*at].shape == Shape::Growing).collect();
    left += kept;
    // Numbers are never cut: the rest of one would look like another.
    let mut missing = needed.saturating_sub(room + SPACING);
    for (unsettled, (at, width)) in (1..=growing.len()).rev().zip(growing) {
        let unsettled = u16::try_from(unsettled).unwrap_or(u16::MAX);
        let more = (left / unsettled).min(columns[*at].most - *width);
        let fewer = missing.div_ceil(unsettled).min(*width);
        *width = *width + more - fewer;
        left -= more;
        missing -= fewer;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::panel::{Panel, Tab};

    #[test]
    fn columns_fill_what_there_is_and_leave_from_the_end() {
        let panel = Panel::Sources;
        let of = |room| fitting(panel.columns(), panel.sorting(), room);
        assert_eq!(of(80), [(0, 41), (1, 11), (2, 10), (3, 6), (4, 8)]);
        assert_eq!(of(60), [(0, 47), (1, 11)]);
        assert_eq!(of(40), [(0, 28), (1, 11)]);
        assert_eq!(of(27), [(0, 15), (1, 11)]);
        // What rows are sorted by is seen.
        let by_packets = Sorting { column: 2, reversed: false };
        assert_eq!(fitting(panel.columns(), by_packets, 27), [(0, 16), (2, 10)]);
    }

    #[test]
    fn what_is_cut_is_text() {
        let panel = Panel::Conversations;
        assert_eq!(fitting(panel.columns(), panel.sorting(), 24), [(1, 5), (2, 6), (3, 11)]);
    }

    #[test]
    fn titles_have_room_for_an_arrow() {
        let panels = Tab::ALL.iter().flat_map(|tab| tab.panels()).chain([&Panel::Chosen]);
        for column in panels.flat_map(|panel| panel.columns()).filter(|column| column.sorts) {
            assert!(column.title.len() < usize::from(column.width), "{}", column.title);
        }
    }
}
