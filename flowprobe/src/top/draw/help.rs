//! What keys do, over everything else.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

use super::look::Look;

const KEYS: [&str; 17] = [
    "1 to 6, Tab      tabs",
    "← →              tables of a tab",
    "↑ ↓ PgUp PgDn    rows",
    "Home End         first and last row",
    "Enter            conversations of the row: an address, a",
    "                 protocol or a port",
    "Esc              back; clears the filter",
    "s, r             sort by the next column, in reverse",
    "/                show only rows with this text",
    "w                tables of the last 10 s or 60 s",
    "space            stop the picture, and go on",
    "Ctrl-L           draw everything anew",
    "q, Ctrl-C        quit",
    "",
    "Rates of rows are averages over the time the tables show;",
    "charts go back five minutes.",
    "Any key closes this.",
];

/// Draws it in the middle, as much as fits.
pub(super) fn draw(look: Look, frame: &mut Frame) {
    let area = frame.area();
    let width = 62.min(area.width);
    let height = 19.min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let text: Vec<Line> = KEYS.into_iter().map(Line::from).collect();
    let block = Block::bordered().title(" Keys ").border_style(look.chart(0));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).block(block), place);
}
