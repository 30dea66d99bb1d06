//! The state on a terminal.

mod help;
mod look;
mod table;
mod totals;

#[cfg(test)]
mod tests;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use look::Look;

use super::api::{Accounting, whole};
use super::app::{App, Moment};
use super::panel::Tab;
use super::text::{cut, cut_end, width};
use crate::summary::format::{bits, count, duration};

/// Draws all of it.
pub(super) fn draw(app: &App, now: Moment, frame: &mut Frame) {
    let look = Look { colour: app.setup.colour };
    let Some(places) = app.places().filter(|_| frame.area().as_size() == app.size) else {
        let place = frame.area();
        return frame.render_widget(Line::from(cut_end("too small", place.width)), place);
    };
    header(app, now, look, frame, places.header, places.totals.is_empty());
    if !places.totals.is_empty() {
        totals::draw(app, look, frame, places.totals);
        accounting(&app.picture.accounting, look, frame, places.accounting);
        tabs(app, look, frame, places.tabs);
    }
    for (panel, place) in &places.panels {
        if let Some(view) = app.view(*panel) {
            table::draw(view, *panel == app.focused(), look, frame, *place);
        }
    }
    footer(app, look, frame, places.footer);
    if app.help {
        help::draw(look, frame);
    }
}

/// Who is asked and how that goes; on the right, what is shown. On a small terminal, the rates too.
fn header(app: &App, now: Moment, look: Look, frame: &mut Frame, place: Rect, small: bool) {
    let live = &app.picture.live;
    let state = match app.paused {
        Some(since) => Span::styled(format!(" PAUSED since {} ", since.clock.strftime("%H:%M:%S")), look.notice()),
        None if live.covered_seconds == 0.0 => Span::styled("counting from now on", look.dim()),
        None if small => Span::styled(format!("{} s", whole(live.seconds)), look.dim()),
        None => Span::styled(format!("last {} s", whole(live.seconds)), look.dim()),
    };
    let room = place.width.saturating_sub(width(&state.content) + 1);
    let title = if let Some((trouble, age)) = app.trouble(now) {
        let line = format!("NO ANSWER for {}, trying again: {trouble} · {}", duration(age), app.setup.url);
        Span::styled(cut_end(&line, room), look.alarm())
    } else if small {
        let packets = format!("{} packets/s", count(whole(live.packets_per_second)));
        Span::styled(fitting(&[&bits(whole(live.bits_per_second)), &packets], " · ", room), look.title())
    } else {
        let up = app.daemon(now).map(|(version, up)| format!(" {version} · up {}", duration(up))).unwrap_or_default();
        let line = format!("flowprobe{up} · {} · every {}", app.setup.url, interval(app.setup.interval));
        Span::styled(cut_end(&line, room), look.title())
    };
    frame.render_widget(Line::from(title), place);
    frame.render_widget(Line::from(state).right_aligned(), place);
}

/// Unlike other times it may be a part of a second.
fn interval(time: Duration) -> String {
    if time.subsec_millis() == 0 { duration(time) } else { format!("{} s", time.as_secs_f64()) }
}

/// Whether every packet is accounted for, and what was lost.
fn accounting(accounting: &Accounting, look: Look, frame: &mut Frame, place: Rect) {
    let Accounting { sums, sinks } = accounting;
    let wrong: Vec<String> = sums
        .iter()
        .filter(|sum| !sum.balances)
        .map(|sum| format!("{} {}", sum.interface.as_str(), sum.direction.as_str()))
        .collect();
    let mut spans = vec![if sums.is_empty() {
        Span::raw("no interface is metered")
    } else if wrong.is_empty() {
        Span::styled("accounting adds up", look.good())
    } else {
        Span::styled(format!(" accounting DOES NOT ADD UP: {} ", wrong.join(", ")), look.alarm())
    }];
    let mut part = |amount: u64, what: &str, alarming: bool| {
        let style = if alarming && amount > 0 { look.warning() } else { look.dim() };
        spans.push(Span::styled(format!(" · {} {what}", count(amount)), style));
    };
    part(sinks.iter().map(|sink| sink.lost.records).fold(0, u64::saturating_add), "records lost", true);
    if !sums.is_empty() {
        part(sums.iter().map(|sum| sum.overflow.packets).fold(0, u64::saturating_add), "overflow", true);
        part(sums.iter().map(|sum| sum.unparsed.packets).fold(0, u64::saturating_add), "unparsed", false);
    }
    let losers: Vec<&str> = sinks.iter().filter(|sink| sink.lost.records > 0).map(|sink| sink.name.as_str()).collect();
    if !losers.is_empty() {
        spans.push(Span::styled(format!(" · lost for {}", losers.join(", ")), look.warning()));
    }
    frame.render_widget(Line::from(cut_spans(spans, place.width)), place);
}

/// As much of them as fits.
fn cut_spans(spans: Vec<Span<'_>>, mut room: u16) -> Vec<Span<'_>> {
    let mut fitting = Vec::new();
    for span in spans {
        let content = cut_end(&span.content, room);
        room -= width(&content);
        fitting.push(Span::styled(content, span.style));
    }
    fitting
}

/// The tabs, or what conversations are shown of.
fn tabs(app: &App, look: Look, frame: &mut Frame, place: Rect) {
    if let Some(chosen) = app.chosen() {
        let title = format!(" Conversations of {} ", cut(chosen, place.width.saturating_sub(34)));
        let spans = vec![Span::styled(title, look.chosen()), Span::styled("  Esc goes back", look.dim())];
        return frame.render_widget(Line::from(spans), place);
    }
    let mut spans = Vec::new();
    for tab in Tab::ALL {
        let style = if tab == app.tab { look.chosen() } else { look.dim() };
        // The shortest way to say it on 60 columns.
        let wide = place.width >= 76;
        let title = if wide || tab == app.tab { tab.title() } else { cut_title(tab.title()) };
        spans.push(Span::styled(format!(" {} {title} ", tab.number() + 1), style));
    }
    frame.render_widget(Line::from(spans), place);
}

/// The first letters of a title.
fn cut_title(title: &str) -> &str {
    title.get(..4).unwrap_or(title)
}

/// What keys do, the most needed first.
const HINTS: [&str; 9] = [
    "? help",
    "q quit",
    "1-6 tabs",
    "↑↓ ←→ select",
    "Enter its conversations",
    "/ filter",
    "s sort",
    "space pause",
    "w window",
];

/// The filter, or what keys do; on the right, which row is selected of how many.
fn footer(app: &App, look: Look, frame: &mut Frame, place: Rect) {
    let view = app.view(app.focused());
    let rows = view.map_or(0, |view| view.rows.len());
    // As many as were asked for: there may be more.
    let more = if app.focused().given(&app.picture.live) >= app.rows_asked() { "+" } else { "" };
    let at = view.filter(|view| !view.rows.is_empty()).map_or(0, |view| view.selected + 1);
    let position = format!("{at} of {rows}{more}");
    let room = place.width.saturating_sub(width(&position) + 2);
    let left = if app.typing {
        let shown = cut(&app.filter, room.saturating_sub(9));
        let cursor = place.x + 8 + width(&shown);
        frame.set_cursor_position(Position { x: cursor.min(place.right().saturating_sub(1)), y: place.y });
        Span::styled(format!("filter: {shown}"), look.title())
    } else if app.filter.is_empty() {
        Span::styled(fitting(&HINTS, "  ", room), look.dim())
    } else {
        Span::styled(cut_end(&format!("filter: {} · Esc clears it", app.filter), room), look.notice())
    };
    frame.render_widget(Line::from(left), place);
    frame.render_widget(Line::from(Span::styled(position, look.dim())).right_aligned(), place);
}

/// As many of the first parts as fit.
fn fitting(parts: &[&str], between: &str, room: u16) -> String {
    let mut text = String::new();
    for part in parts {
        let next = if text.is_empty() { (*part).to_owned() } else { format!("{text}{between}{part}") };
        if width(&next) > room {
            break;
        }
        text = next;
    }
    text
}
