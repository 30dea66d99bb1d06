//! What keys, answers and time do to the state.

use std::net::IpAddr;

use jiff::civil::time;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::*;
use crate::top::example;
use crate::top::panel::Key;

pub(in crate::top) fn at(seconds: u64) -> Moment {
    Moment { at: Duration::from_secs(seconds), clock: time(10, 20, 30, 0) }
}

/// An example on a terminal of this size, after these keys.
pub(in crate::top) fn app(size: (u16, u16), keys: &[KeyCode]) -> App {
    let setup = Setup { url: "http://127.0.0.1:8739".to_owned(), interval: Duration::from_secs(2), colour: true };
    let mut app = App::new(setup, example::picture(), size.into(), at(0));
    press(&mut app, keys);
    app
}

pub(in crate::top) fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(app.on(Event::Key((*key).into()), at(1)), Effect::None, "{key:?}");
    }
}

/// The keys of some text.
pub(in crate::top) fn typed(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

fn control(app: &mut App, key: char) -> Effect {
    app.on(Event::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL)), at(1))
}

/// The first cells of a panel's rows.
fn labels(app: &App, panel: Panel) -> Vec<&str> {
    app.view(panel).expect("on the screen").rows.iter().map(|row| row.cells[0].text.as_str()).collect()
}

fn selected(app: &App) -> Option<&Key> {
    app.view(app.focused())?.selected().map(|row| &row.key)
}

fn address(text: &str) -> Key {
    Key::Address(text.parse::<IpAddr>().expect("an address"))
}

fn answer(picture: Picture) -> Event {
    Event::Answer(Ok(Box::new(picture)))
}

fn no_answer() -> Event {
    Event::Answer(Err(Trouble { text: "Connection refused".to_owned(), nobody: true, retry: None }))
}

#[test]
fn tabs_turn_by_number_and_around_the_end() {
    let mut app = app((80, 24), &[]);
    for (key, tab) in [
        (KeyCode::Char('6'), Tab::Interfaces),
        (KeyCode::Tab, Tab::Overview),
        (KeyCode::BackTab, Tab::Interfaces),
        (KeyCode::Char('2'), Tab::Talkers),
        (KeyCode::Tab, Tab::Protocols),
    ] {
        press(&mut app, &[key]);
        assert_eq!(app.tab, tab, "{key:?}");
    }
    // Each has its own focus.
    press(&mut app, &[KeyCode::Char('2'), KeyCode::Right]);
    assert_eq!(app.focused(), Panel::Destinations);
    press(&mut app, &[KeyCode::Char('1')]);
    assert_eq!(app.focused(), Panel::Sources);
    press(&mut app, &[KeyCode::Left]);
    assert_eq!(app.focused(), Panel::Conversations);
}

#[test]
fn rows_are_sorted_by_the_next_column_and_in_reverse() {
    let mut app = app((80, 24), &[KeyCode::Char('2')]);
    assert_eq!(labels(&app, Panel::Sources), ["10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.10"]);
    press(&mut app, &typed("s"));
    assert_eq!(labels(&app, Panel::Sources), ["10.0.0.2", "10.0.0.1", "2001:db8::1", "10.0.0.10"], "by packets/s");
    press(&mut app, &typed("r"));
    assert_eq!(labels(&app, Panel::Sources), ["10.0.0.10", "2001:db8::1", "10.0.0.1", "10.0.0.2"]);
    press(&mut app, &typed("s"));
    assert_eq!(labels(&app, Panel::Sources), ["10.0.0.1", "10.0.0.2", "10.0.0.10", "2001:db8::1"], "as addresses are");
    press(&mut app, &typed("s"));
    assert_eq!(labels(&app, Panel::Sources)[0], "10.0.0.1", "by the rate again");
    // Another panel has an order of its own.
    assert_eq!(labels(&app, Panel::Destinations), ["10.0.0.2", "10.0.0.1"]);
}

#[test]
fn a_row_stays_selected_wherever_it_goes() {
    let mut app = app((80, 24), &[KeyCode::Char('2')]);
    assert_eq!(selected(&app), Some(&address("10.0.0.1")));
    press(&mut app, &[KeyCode::Down, KeyCode::Down]);
    assert_eq!(selected(&app), Some(&address("2001:db8::1")));
    let mut next = example::picture();
    next.live.sources.reverse();
    next.live.sources[0].sum.octets = 1 << 40;
    next.live.sources[1].sum.octets = 1 << 41;
    app.on(answer(next), at(2));
    assert_eq!(
        (selected(&app), app.view(Panel::Sources).map(|view| view.selected)),
        (Some(&address("2001:db8::1")), Some(0))
    );
    // One that is gone leaves its place to another.
    press(&mut app, &[KeyCode::End]);
    assert_eq!(selected(&app), Some(&address("10.0.0.2")));
    let mut fewer = example::picture();
    fewer.live.sources.truncate(1);
    app.on(answer(fewer), at(3));
    assert_eq!(selected(&app), Some(&address("10.0.0.1")));
    // The first is the first, whoever it is.
    press(&mut app, &[KeyCode::Home]);
    let mut other = example::picture();
    other.live.sources.remove(0);
    app.on(answer(other), at(4));
    assert_eq!(selected(&app), Some(&address("10.0.0.2")));
}

#[test]
fn the_selected_row_is_on_the_screen() {
    let mut app = app((80, 24), &[KeyCode::Char('5')]);
    app.on(answer(example::many(300)), at(2));
    let page = app.places().expect("large enough").rows(Panel::Conversations);
    let seen = |app: &App| {
        let view = app.view(Panel::Conversations).expect("a view");
        assert!((view.first..view.first + page).contains(&view.selected), "{} from {}", view.selected, view.first);
        (view.first, view.selected)
    };
    assert_eq!(seen(&app), (0, 0));
    press(&mut app, &[KeyCode::PageDown]);
    assert_eq!(seen(&app), (0, page - 1));
    press(&mut app, &[KeyCode::Down, KeyCode::Down]);
    assert_eq!(seen(&app), (2, page + 1));
    // Upwards nothing moves until it has to.
    press(&mut app, &[KeyCode::Up, KeyCode::Up, KeyCode::Up]);
    assert_eq!(seen(&app), (2, page - 2));
    press(&mut app, &[KeyCode::End]);
    assert_eq!(seen(&app), (300 - page, 299));
    // A larger terminal is filled.
    app.on(Event::Resize((80, 40).into()), at(2));
    let larger = app.places().expect("large enough").rows(Panel::Conversations);
    assert!(larger > page);
    assert_eq!(app.view(Panel::Conversations).map(|view| (view.first, view.selected)), Some((300 - larger, 299)));
    app.on(Event::Resize((80, 20).into()), at(2));
    press(&mut app, &[KeyCode::PageUp, KeyCode::Home, KeyCode::Up]);
    assert_eq!(app.view(Panel::Conversations).map(|view| (view.first, view.selected)), Some((0, 0)));
}

#[test]
fn a_filter_leaves_the_rows_that_contain_it() {
    let mut app = app((80, 24), &typed("2/2001:DB8"));
    assert!(app.typing);
    assert_eq!(labels(&app, Panel::Sources), ["2001:db8::1"]);
    assert!(labels(&app, Panel::Destinations).is_empty());
    assert_eq!(selected(&app), Some(&address("2001:db8::1")));
    // It has no key: these are for the text.
    press(&mut app, &typed("q1s"));
    assert_eq!((app.filter.as_str(), app.tab), ("2001:DB8q1s", Tab::Talkers));
    press(&mut app, &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Backspace, KeyCode::Enter]);
    assert!(!app.typing && app.filter == "2001:DB8");
    press(&mut app, &[KeyCode::Char('5')]);
    assert_eq!(labels(&app, Panel::Conversations), ["icmpv6"], "it stays from tab to tab");
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.filter, "");
    assert_eq!(labels(&app, Panel::Conversations).len(), 4);
    // What has no columns is not typed.
    press(&mut app, &typed("/a\u{202e}\u{301}b c"));
    assert_eq!(app.filter, "ab c");
    assert_eq!(control(&mut app, 'u'), Effect::None);
    assert_eq!((app.filter.as_str(), app.typing), ("", true));
    press(&mut app, &typed(&"x".repeat(500)));
    assert_eq!(app.filter.len(), 100);
    press(&mut app, &[KeyCode::Esc]);
    assert!(!app.typing && app.filter.is_empty());
}

#[test]
fn enter_shows_the_conversations_of_a_row_and_escape_goes_back() {
    // A talker, in either direction.
    let mut app = app((80, 24), &[KeyCode::Char('/'), KeyCode::Char('.'), KeyCode::Enter, KeyCode::Enter]);
    assert_eq!((app.chosen(), app.focused()), (Some("10.0.0.1"), Panel::Chosen));
    assert_eq!(labels(&app, Panel::Chosen), ["tcp https", "tcp https", "udp domain"]);
    assert_eq!(app.filter, "", "the filter was for other rows");
    // Its own filter goes first, then the choice.
    press(&mut app, &typed("/udp"));
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!(labels(&app, Panel::Chosen), ["udp domain"]);
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.chosen(), Some("10.0.0.1"));
    // There is nothing behind a conversation.
    press(&mut app, &[KeyCode::Enter, KeyCode::Left]);
    assert_eq!(app.chosen(), Some("10.0.0.1"));
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!((app.chosen(), app.tab, app.filter.as_str(), app.focused()), (None, Tab::Overview, ".", Panel::Sources));
    press(&mut app, &[KeyCode::Esc]);

    // A protocol, a port.
    press(&mut app, &[KeyCode::Char('3'), KeyCode::End, KeyCode::Enter]);
    assert_eq!((app.chosen(), labels(&app, Panel::Chosen)), (Some("UDP"), vec!["udp domain"]));
    press(&mut app, &[KeyCode::Char('4')]);
    assert_eq!((app.chosen(), app.tab), (None, Tab::Ports), "a tab is a way back, too");
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!((app.chosen(), labels(&app, Panel::Chosen).len()), (Some("tcp/443 https"), 2));
    // Nothing to choose.
    press(&mut app, &[KeyCode::Char('6'), KeyCode::Enter]);
    assert_eq!(app.chosen(), None);
}

#[test]
fn a_pause_keeps_the_picture() {
    let mut app = app((80, 24), &[]);
    let question = app.question(at(2)).expect("it is time");
    press(&mut app, &[KeyCode::Char(' ')]);
    assert_eq!(app.paused, Some(at(1)));
    app.on(answer(Picture::default()), at(2));
    assert_eq!(labels(&app, Panel::Sources).len(), 4, "an answer that was on its way");
    assert_eq!((app.question(at(1000)), app.next_question()), (None, None));
    // What is looked at can still be changed.
    press(&mut app, &typed("s2"));
    press(&mut app, &[KeyCode::Char(' ')]);
    assert_eq!((app.paused, app.question(at(1000))), (None, Some(Question { about: true, ..question })));
    app.on(answer(Picture::default()), at(1001));
    assert!(labels(&app, Panel::Sources).is_empty());
}

#[test]
fn the_daemon_is_asked_once_an_interval_and_for_what_is_needed() {
    let mut app = app((80, 24), &[]);
    let few = Question { seconds: 10, top: 100, about: false };
    assert_eq!((app.question(at(1)), app.next_question()), (None, Some(Duration::from_secs(2))));
    assert_eq!(app.question(at(2)), Some(few));
    assert_eq!((app.question(at(9)), app.next_question()), (None, None), "one at a time");
    // A slow answer delays what follows, and no more.
    app.on(answer(example::picture()), at(9));
    assert_eq!(app.question(at(9)), Some(few));
    app.on(answer(example::picture()), at(9));
    assert_eq!(app.next_question(), Some(Duration::from_secs(11)));
    // Another window is asked for at once, also while an answer is awaited.
    press(&mut app, &[KeyCode::Char('w')]);
    assert_eq!(app.question(at(9)), Some(Question { seconds: 60, ..few }));
    press(&mut app, &[KeyCode::Char('w')]);
    app.on(answer(example::picture()), at(10));
    assert_eq!(app.question(at(10)), Some(few));
    app.on(answer(example::picture()), at(10));
    // All rows are needed where some are looked for, or chosen.
    press(&mut app, &[KeyCode::Char('/')]);
    assert_eq!(app.question(at(10)), Some(Question { top: 1000, ..few }));
    app.on(answer(example::picture()), at(10));
    press(&mut app, &[KeyCode::Esc, KeyCode::Enter]);
    assert_eq!(app.question(at(10)), Some(Question { top: 1000, ..few }));
    app.on(answer(example::picture()), at(10));
    press(&mut app, &[KeyCode::Esc]);
    // Now and then, which daemon it is.
    assert_eq!(app.question(at(30)), Some(Question { about: true, ..few }));
    app.on(answer(example::picture()), at(30));
    assert_eq!(app.question(at(32)), Some(few));
}

#[test]
fn a_daemon_that_is_away_is_asked_again() {
    let mut app = app((80, 24), &[]);
    assert!(app.question(at(2)).is_some() && app.trouble(at(2)).is_none());
    app.on(no_answer(), at(3));
    assert_eq!(app.trouble(at(8)), Some(("Connection refused", Duration::from_secs(8))));
    assert_eq!(labels(&app, Panel::Sources).len(), 4, "the last picture stays");
    // Not more often, whatever is pressed.
    press(&mut app, &[KeyCode::Char('w')]);
    assert_eq!(app.next_question(), Some(Duration::from_secs(5)));
    // Another may come instead.
    assert_eq!(app.question(at(5)).map(|question| question.about), Some(true));
    let busy = Trouble { text: "busy".to_owned(), nobody: false, retry: Some(Duration::from_secs(7)) };
    app.on(Event::Answer(Err(busy)), at(5));
    assert_eq!(app.next_question(), Some(Duration::from_secs(12)));
    let forever = Trouble { text: "busy".to_owned(), nobody: false, retry: Some(Duration::MAX) };
    app.on(Event::Answer(Err(forever)), at(12));
    assert_eq!(app.next_question(), Some(Duration::from_secs(72)));
    assert!(app.question(at(72)).is_some());
    app.on(answer(example::picture()), at(72));
    assert_eq!(app.trouble(at(72)), None);
    // One that is slow is said to be.
    assert!(app.question(at(74)).is_some());
    assert_eq!(
        (app.trouble(at(76)), app.trouble(at(77))),
        (None, Some(("it takes long to answer", Duration::from_secs(5))))
    );
}

#[test]
fn it_ends_when_it_is_told_to() {
    let mut app = app((80, 24), &[KeyCode::Char('?')]);
    assert!(app.help);
    press(&mut app, &[KeyCode::Down]);
    assert!(!app.help);
    assert_eq!(app.on(Event::Key(KeyCode::Char('q').into()), at(1)), Effect::Leave);
    assert_eq!(app.on(Event::Leave, at(1)), Effect::Leave);
    press(&mut app, &typed("/q"));
    assert_eq!(control(&mut app, 'c'), Effect::Leave, "also while something is typed");
    assert_eq!(control(&mut app, 'l'), Effect::Repaint);
    press(&mut app, &[KeyCode::Esc, KeyCode::Char('?')]);
    assert_eq!(app.on(Event::Key(KeyCode::Char('q').into()), at(1)), Effect::Leave);
}

#[test]
fn a_terminal_that_is_too_small_forgets_nothing() {
    let mut app = app((80, 24), &[KeyCode::Char('2'), KeyCode::Down]);
    app.on(Event::Resize((5, 2).into()), at(1));
    assert_eq!(app.places(), None);
    press(&mut app, &[KeyCode::Down]);
    app.on(Event::Resize((80, 24).into()), at(1));
    assert_eq!(selected(&app), Some(&address("2001:db8::1")));
}
