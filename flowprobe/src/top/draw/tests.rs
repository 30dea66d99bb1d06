//! The pictures, on terminals of several sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::status::Amount;
use crate::top::api::Text;
use crate::top::app::tests::{app, at, press, typed};
use crate::top::app::{Event, Trouble};
use crate::top::example;

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

fn buffer(app: &App, now: Moment) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(app.size.width, app.size.height)).expect("a terminal");
    terminal.draw(|frame| draw(app, now, frame)).expect("memory takes all");
    terminal.backend().buffer().clone()
}

/// The lines of the screen, without spaces at their ends.
fn screen_at(app: &App, now: Moment) -> Vec<String> {
    let buffer = buffer(app, now);
    let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..buffer.area.height).map(line).collect()
}

fn screen(app: &App) -> Vec<String> {
    screen_at(app, at(5))
}

/// Where on the screen some text begins.
fn place_of(lines: &[String], text: &str) -> (u16, u16) {
    let (y, line) = lines.iter().enumerate().find(|(_, line)| line.contains(text)).expect("it is on the screen");
    let x = line.find(text).map(|at| line[..at].chars().count()).expect("it is in the line");
    (u16::try_from(x).expect("small"), u16::try_from(y).expect("small"))
}

/// Parts of lines, in the order in which they are on the screen.
fn must_show(app: &App, expected: &[&str]) {
    let lines = screen(app);
    let mut at = 0;
    for part in expected {
        let found = lines[at..].iter().position(|line| line.contains(part));
        assert!(found.is_some(), "no {part:?}, or not there:\n{}", lines.join("\n"));
        at += found.unwrap_or_default();
    }
}

const TOTALS: [&str; 6] = [
    "flowprobe 0.1.0 · up 1 h 01 min · http://127.0.0.1:8739 · every 2 s    last 10 s",
    "bits/s     12.3 Mbit/s                                   ▄█▄    peak 16.0 Mbit/s",
    "packets/s        2,345                                   ▄█▄          peak 2,000",
    "flows/s              5                                   ▄█▄    1,234 open flows",
    "accounting adds up · 0 records lost · 0 overflow · 5 unparsed",
    " 1 Overview  2 Talkers  3 Protocols  4 Ports  5 Conversations  6 Interfaces",
];

#[test]
fn a_usual_terminal_shows_all_of_it() {
    let overview = [
        &TOTALS[..],
        &[
            "source                 rate▼  protocol         rate▼  port                 rate▼",
            "10.0.0.1         5.60 Mbit/s  TCP        7.20 Mbit/s  tcp/443 https  7.20 Mbit/s",
            "10.0.0.2         1.60 Mbit/s  ICMPv6      720 kbit/s  udp/53 domain  80.0 kbit/s",
            "2001:db8::1       720 kbit/s  UDP        80.0 kbit/s  tcp/9999           8 bit/s",
            "10.0.0.10        80.0 kbit/s",
            "",
            "",
            "",
            "",
            "service     source                 destination                  rate▼  packets/s",
            "tcp https   10.0.0.1:50001         10.0.0.2:443           5.60 Mbit/s        700",
            "tcp https   10.0.0.2:443           10.0.0.1:50001         1.60 Mbit/s        900",
            "icmpv6      2001:db8::1            2001:db8::2             720 kbit/s        300",
            "udp domain  10.0.0.10:50002        10.0.0.1:53            80.0 kbit/s        100",
            "",
            "",
            "",
            "? help  q quit  1-6 tabs  ↑↓ ←→ select  Enter its conversations           1 of 4",
        ],
    ]
    .concat();
    assert_eq!(screen(&app(SMALL, &[])), overview);

    for (key, expected) in [
        (
            '2',
            &[
                "source                                          rate▼  packets/s  share    bytes",
                "2001:db8::1                                720 kbit/s        300   9.0%   900 kB",
                "destination                                     rate▼  packets/s  share    bytes",
                "10.0.0.2                                  6.40 Mbit/s      1,100  80.0%  8.00 MB",
            ][..],
        ),
        (
            '3',
            &[
                "protocol         rate▼  packets/s  share last minutes                      bytes",
                "TCP        7.20 Mbit/s      1,600  90.0% ▄██                             9.00 MB",
            ],
        ),
        (
            '4',
            &[
                "port                                   rate▼  packets/s  share    bytes  packets",
                "tcp/443 https                    7.20 Mbit/s      1,600  90.0%  9.00 MB   16,000",
            ],
        ),
        ('5', &["service     source                 destination                  rate▼  packets/s"]),
        (
            '6',
            &[
                "interface               dir        rate▼  packets/s    use hook            bytes",
                "eth0                    in   12.3 Mbit/s      2,345   1.2% native XDP    40.0 MB",
                "wlan0                   in       0 bit/s          0        not there         0 B",
                "accounting▲        dir  adds up      seen  exported     held  overflow  unparsed",
                "eth0               in   yes        50,000    40,000    9,995         0         5",
            ],
        ),
    ] {
        must_show(&app(SMALL, &[KeyCode::Char(key)]), &[&TOTALS[..], expected].concat());
    }
}

#[test]
fn a_large_terminal_shows_more_beside_each_other() {
    let overview = screen(&app(LARGE, &[]));
    assert!(
        overview[1].contains("bits/s    12.3 Mbit/s                           peak 16.0 Mbit/s  packets/s 2,345"),
        "{}",
        overview[1]
    );
    assert!(overview[1].ends_with("1,234 open flows"));
    // Charts are four lines high, the latest on the right.
    let charts: Vec<usize> = overview[2..6].iter().map(|line| line.chars().filter(|c| *c == '█').count()).collect();
    assert_eq!(charts, [3, 3, 9, 9]);
    let tables = &overview[8];
    let titles: Vec<&str> = tables.split_whitespace().collect();
    assert_eq!(titles[..8], ["source", "rate▼", "protocol", "rate▼", "port", "rate▼", "service", "source"], "{tables}");

    for (key, expected) in [
        (
            '2',
            "10.0.0.1                                        5.60 Mbit/s        700  70.0%  7.00 MB    7,000      10.0.0.2  ",
        ),
        ('3', "TCP                  7.20 Mbit/s      1,600  90.0% ▄██                             9.00 MB   16,000"),
        ('4', "udp/53 domain                            80.0 kbit/s        100   1.0%   100 kB    1,000"),
        (
            '5',
            "icmpv6      2001:db8::1                                     2001:db8::2                                      720 kbit/s",
        ),
        ('6', "in   12.3 Mbit/s      2,345   1.2% native XDP    40.0 MB   50,000 1.00 Gbit/s"),
    ] {
        must_show(&app(LARGE, &[KeyCode::Char(key)]), &[expected]);
    }
}

#[test]
fn a_small_terminal_shows_the_rows_that_matter() {
    assert_eq!(
        screen(&app((40, 10), &[KeyCode::Char('5')])),
        [
            "12.3 Mbit/s · 2,345 packets/s       10 s",
            "source        destination          rate▼",
            "10.0.0…:50001 10.0.0.2:443   5.60 Mbit/s",
            "10.0.0.2:443  10.0.0.1:50001 1.60 Mbit/s",
            "2001:db8::1   2001:db8::2     720 kbit/s",
            "10.0.0…:50002 10.0.0.1:53    80.0 kbit/s",
            "",
            "",
            "",
            "? help  q quit  1-6 tabs          1 of 4",
        ]
        .map(str::to_owned)
    );
    assert_eq!(screen(&app((12, 2), &[])), ["too small", ""]);
    assert_eq!(screen(&app((5, 1), &[])), ["too …"]);
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    for width in (1..130).step_by(7) {
        for height in (1..45).step_by(3) {
            for keys in ["1", "2", "6", "5/tcp", "1?"] {
                buffer(&app((width, height), &typed(keys)), at(5));
            }
        }
    }
}

#[test]
fn a_resize_is_drawn_once_it_is_told() {
    let mut app = app(SMALL, &[]);
    let mut terminal = Terminal::new(TestBackend::new(60, 20)).expect("a terminal");
    terminal.draw(|frame| draw(&app, at(5), frame)).expect("drawn");
    assert_eq!(terminal.backend().buffer()[(0, 0)].symbol(), "t", "too small, for a moment");
    app.on(Event::Resize((60, 20).into()), at(5));
    terminal.draw(|frame| draw(&app, at(5), frame)).expect("drawn");
    assert_eq!(terminal.backend().buffer()[(0, 0)].symbol(), "f");
}

#[test]
fn what_is_selected_and_sorted_by_is_seen() {
    let app = app(SMALL, &[KeyCode::Char('2'), KeyCode::Down, KeyCode::Char('s')]);
    let (lines, buffer) = (screen(&app), buffer(&app, at(5)));
    // By packets, the second has most; it stays selected.
    must_show(&app, &["rate packets/s▼", "10.0.0.2  ", "10.0.0.1  ", "destination", "rate▼  packets/s"]);
    let reversed = |text| buffer[place_of(&lines, text)].modifier.contains(Modifier::REVERSED);
    assert!(reversed("10.0.0.2  ") && !reversed("10.0.0.1  ") && reversed("2 Talkers") && !reversed("1 Overview"));
    assert!(lines[23].ends_with("1 of 4"));
}

#[test]
fn filters_choices_and_pauses_are_said() {
    must_show(&app(SMALL, &typed("5/udp")), &["udp domain", "filter: udp", "1 of 1"]);
    let mut filtered = app(SMALL, &typed("5/udp"));
    press(&mut filtered, &[KeyCode::Enter]);
    must_show(&filtered, &["filter: udp · Esc clears it"]);
    press(&mut filtered, &[KeyCode::Char('/')]);
    press(&mut filtered, &typed("x"));
    must_show(&filtered, &["filter: udpx", "0 of 0"]);

    must_show(
        &app(SMALL, &[KeyCode::Enter]),
        &["Conversations of 10.0.0.1   Esc goes back", "service", "udp domain", "1 of 3"],
    );
    let mut paused = app(SMALL, &[KeyCode::Char(' ')]);
    must_show(&paused, &["PAUSED since 10:20:30"]);
    press(&mut paused, &[KeyCode::Char('w')]);
    must_show(&paused, &["PAUSED since 10:20:30"]);
    must_show(
        &app(SMALL, &[KeyCode::Char('?')]),
        &["┌ Keys ─", "q, Ctrl-C        quit", "Any key closes this.", "└──"],
    );
}

#[test]
fn flows_that_were_not_counted_yet_are_not_said_to_be_none() {
    let mut picture = example::picture();
    picture.live.covered_seconds = 0.0;
    let mut app = app(SMALL, &[]);
    app.on(Event::Answer(Ok(Box::new(picture))), at(2));
    assert!(screen(&app)[0].ends_with(" counting from now on"));
    // Rates of no time are none.
    must_show(&app, &["10.0.0.1             0 bit/s", "10.0.0.2             0 bit/s"]);
}

#[test]
fn rows_that_may_not_be_all_are_counted_so() {
    let mut app = app(SMALL, &[KeyCode::Char('5')]);
    app.on(Event::Answer(Ok(Box::new(example::many(100)))), at(2));
    must_show(&app, &["1 of 100+"]);
    app.on(Event::Answer(Ok(Box::new(example::many(99)))), at(4));
    assert!(screen(&app)[23].ends_with("1 of 99"));
}

#[test]
fn a_daemon_that_is_away_is_said_with_the_age_of_the_picture() {
    let mut app = app(SMALL, &[]);
    let trouble = Trouble { text: "Connection refused (os error 111)".to_owned(), nobody: true, retry: None };
    app.on(Event::Answer(Err(trouble)), at(4));
    let lines = screen_at(&app, at(75));
    assert_eq!(lines[0], "NO ANSWER for 1 min 15 s, trying again: Connection refused (os error … last 10 s");
    assert!(lines[7].starts_with("10.0.0.1 "), "the last picture");
}

#[test]
fn what_does_not_add_up_or_is_lost_is_said_loudly() {
    let mut picture = example::picture();
    picture.accounting.sums[0].balances = false;
    picture.accounting.sums[0].overflow = Amount { packets: 7, octets: 700 };
    picture.accounting.sinks[0].lost.records = 12;
    let mut app = app((100, 24), &[KeyCode::Char('6')]);
    app.on(Event::Answer(Ok(Box::new(picture))), at(2));
    let (lines, buffer) = (screen(&app), buffer(&app, at(5)));
    assert_eq!(
        lines[4],
        " accounting DOES NOT ADD UP: eth0 ingress  · 12 records lost · 7 overflow · 5 unparsed · lost for u…"
    );
    assert_eq!(buffer[place_of(&lines, "DOES NOT")].fg, Color::Red);
    must_show(&app, &["eth0                in   NO  "]);
    assert_eq!(buffer[place_of(&lines, "NO  ")].fg, Color::Yellow);

    let mut listening = example::picture();
    listening.accounting.sums.clear();
    app.on(Event::Answer(Ok(Box::new(listening))), at(4));
    assert_eq!(screen(&app)[4], "no interface is metered · 0 records lost");
}

#[test]
fn without_colours_there_are_none() {
    let mut app = app(SMALL, &[KeyCode::Char('?')]);
    let colours = |app: &App| {
        buffer(app, at(5)).content.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert!(colours(&app) > 0);
    app.setup.colour = false;
    assert_eq!(colours(&app), 0);
}

#[test]
fn names_do_what_they_like_nowhere_but_in_their_cells() {
    let mut picture = example::picture();
    for (service, name) in picture.live.services.iter_mut().zip([
        "\u{1b}]0;title\u{7}\u{1b}[2J",
        "東京都庁東京都庁東京都庁東京都庁",
        "\u{202e}x\u{301}",
    ]) {
        service.service_name = Some(Text::new(name));
    }
    let mut app = app(SMALL, &[]);
    app.on(Event::Answer(Ok(Box::new(picture))), at(2));
    let lines = screen(&app);
    assert!(lines.iter().flat_map(|line| line.chars()).all(|c| !c.is_control()));
    for line in &lines[7..10] {
        assert!(line.ends_with("bit/s"), "{line}");
    }
    assert!(lines[8].contains("udp/53 …庁") || lines[8].contains("udp/53 …"), "{}", lines[8]);
}
