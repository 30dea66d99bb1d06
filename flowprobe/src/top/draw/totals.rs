//! The rates of all that goes by, now and in the last minutes.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Sparkline;

use super::look::Look;
use crate::summary::format::{bits, count};
use crate::top::api::{Live, whole};
use crate::top::app::App;
use crate::top::text::rates;

/// A rate with its last minutes.
struct Total {
    name: &'static str,
    now: String,
    /// Of the last minutes, at most so many as there are columns; in thousandths, so that few flows are still uneven.
    rates: Vec<u64>,
    /// The largest of them, or what else there is to be said.
    besides: String,
}

/// Columns of a total's name and number, and of what there is besides, where each has a line.
const LABEL: u16 = 24;
const PEAK: u16 = 18;

/// In three lines, or side by side where there are more.
pub(super) fn draw(app: &App, look: Look, frame: &mut Frame, place: Rect) {
    let live = &app.picture.live;
    if place.height < 4 {
        let room = place.width.saturating_sub(LABEL + PEAK + 2);
        for (at, total) in (0..).zip(totals(live, room)) {
            let line = Rect { y: place.y + at, height: 1, ..place };
            words(&total, 12, look, frame, line);
            chart(&total, at, look, frame, Rect { x: line.x + LABEL, width: room, ..line });
        }
        return;
    }
    let third = place.width / 3;
    let width = third.saturating_sub(2);
    for (at, total) in (0..).zip(totals(live, width)) {
        let place = Rect { x: place.x + at * third, width, ..place };
        words(&total, 0, look, frame, Rect { height: 1, ..place });
        chart(&total, at, look, frame, Rect { y: place.y + 1, height: place.height - 1, ..place });
    }
}

/// The name of a total and its number, in `columns` at least; on the right, what there is besides.
fn words(total: &Total, columns: usize, look: Look, frame: &mut Frame, line: Rect) {
    let name = Span::styled(format!("{:10}", total.name), look.dim());
    let now = Span::styled(format!("{:>columns$}", total.now), look.title());
    frame.render_widget(Line::from(vec![name, now]), line);
    frame.render_widget(Line::from(Span::styled(&total.besides, look.dim())).right_aligned(), line);
}

/// The latest on the right.
fn chart(total: &Total, number: u16, look: Look, frame: &mut Frame, place: Rect) {
    let points = u16::try_from(total.rates.len()).unwrap_or(u16::MAX).min(place.width);
    let place = Rect { x: place.right() - points, width: points, ..place };
    frame.render_widget(Sparkline::default().data(&total.rates).style(look.chart(usize::from(number))), place);
}

fn totals(live: &Live, columns: u16) -> [Total; 3] {
    let series = &live.series;
    let total = |name, now: f64, amounts: &[u64], factor: f64, words: fn(u64) -> String| {
        let rates = rates(series, amounts, columns);
        let peak = words(whole(rates.iter().copied().fold(0.0, f64::max) * factor));
        let rates = rates.into_iter().map(|rate| whole(rate * 1000.0)).collect();
        Total { name, now: words(whole(now)), rates, besides: format!("peak {peak}") }
    };
    [
        total("bits/s", live.bits_per_second, &series.octets, 8.0, bits),
        total("packets/s", live.packets_per_second, &series.packets, 1.0, count),
        Total {
            besides: format!("{} open flows", count(live.open_flows)),
            ..total("flows/s", live.flows_per_second, &series.flows, 1.0, count)
        },
    ]
}
