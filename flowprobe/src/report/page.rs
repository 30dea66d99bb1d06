//! The page: a head with what it is of, totals, charts, tables.

use crate::query::render::{heading, passed_over, text, time, unsigned};
use crate::query::{Answer, Cell, Filter, Measure, Unit, bits_per_second, prefixed};
use crate::summary::format::{bits, bytes, count, grouped};
use crate::summary::protocol_name;

use super::chart::{Chart, colour, rate_text};
use super::data::{Report, zone_text};
use super::html::Html;
use super::steps::rate;
use super::tables::{Counted, TABLES, Table, Width, column, measured};
use super::ticks::lasts;

/// Nothing may be fetched and nothing run, whatever should be on the page.
const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <meta name=\"color-scheme\" content=\"light dark\">\n<title>";

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut html = Html::default();
    html.raw(HEAD)
        .text(report.title())
        .raw("</title>\n<style>\n")
        .raw(STYLE)
        .raw("</style>\n</head>\n<body>\n<main>\n");
    head(&mut html, report);
    notes(&mut html, report);
    if report.total().flows == 0 {
        let why = if report.plan.filter == Filter::default() { "" } else { " that fits the filter" };
        html.raw("<p class=\"empty\">Nothing was recorded in this time").text(why).raw(".</p>\n");
    } else {
        totals(&mut html, report);
        charts(&mut html, report);
        tables(&mut html, report);
    }
    foot(&mut html, report);
    html.raw("</main>\n</body>\n</html>\n");
    html.finish()
}

fn head(html: &mut Html, report: &Report) {
    let (plan, zone) = (&report.plan, &report.about.zone);
    html.raw("<header>\n<h1>").text(report.title()).raw("</h1>\n<p>");
    html.text(time(plan.from_ms, zone)).raw(" to ").text(time(plan.to_ms, zone));
    html.raw(" <span>").text(zone_text(zone, plan.from_ms, plan.to_ms)).raw("</span> <span>");
    html.text(lasts(report.lasts_ms())).raw(" in steps of ").text(lasts(plan.step_ms)).raw("</span></p>\n");
    let filters = filters(&plan.filter);
    if !filters.is_empty() {
        html.raw("<p>Only flows");
        for (index, (what, values)) in filters.iter().enumerate() {
            html.raw(if index > 0 { ", and " } else { " " }).text(what);
            html.raw(" <b>").text(values.join(" or ")).raw("</b>");
        }
        html.raw("</p>\n");
    }
    html.raw("</header>\n");
}

/// What a filter says, in words.
fn filters(filter: &Filter) -> Vec<(&'static str, Vec<String>)> {
    fn list(values: &[impl ToString]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }
    let networks = |networks: &[ipnet::IpNet]| {
        let short = |network: &ipnet::IpNet| match network.prefix_len() == network.max_prefix_len() {
            true => network.addr().to_string(),
            false => network.to_string(),
        };
        networks.iter().map(short).collect()
    };
    let direction = filter.direction.map(|direction| if direction == 0 { "ingress" } else { "egress" });
    let all = [
        ("from or to", networks(&filter.addresses)),
        ("from", networks(&filter.sources)),
        ("to", networks(&filter.destinations)),
        ("from or to port", list(&filter.ports)),
        ("of protocol", filter.protocols.iter().map(|protocol| protocol_name(*protocol)).collect()),
        ("from or to autonomous system", list(&filter.systems)),
        ("from or to country", filter.countries.clone()),
        ("from or to network", filter.labels.clone()),
        ("through interface", filter.interfaces.clone()),
        ("from exporter", list(&filter.exporters)),
        ("metered at", direction.into_iter().map(str::to_owned).collect()),
    ];
    all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
}

/// What makes the numbers less than they might be.
fn notes(html: &mut Html, report: &Report) {
    let mut notes: Vec<String> = Vec::new();
    let title = |wanted: &str| {
        let table = TABLES.iter().find(|table| table.name == wanted);
        table.map_or_else(|| "charts".to_owned(), |table| table.title.to_owned())
    };
    let mut rough: Vec<String> =
        report.answers().filter(|(_, answer)| answer.is_rough).map(|(name, _)| title(name)).collect();
    rough.dedup();
    if !rough.is_empty() {
        notes.push(format!(
            "Rough: there were too many to count them all. Small ones may be missing or too small in {}.",
            rough.join(", ")
        ));
    }
    notes.extend(passed_over(report.unreadable().into_iter()));
    if notes.is_empty() {
        return;
    }
    html.raw("<ul class=\"notes\">\n");
    notes.iter().for_each(|note| {
        html.raw("<li>").text(note).raw("</li>\n");
    });
    html.raw("</ul>\n");
}

fn totals(html: &mut Html, report: &Report) {
    let total = report.total();
    let mean = bits_per_second(total.octets, report.lasts_ms());
    let each = |what: &str, sum: i64, of: i64| format!("{} {what}", grouped(unsigned(sum / of.max(1))));
    let peak = report.steps.peak(Measure::Octets).map(|step| {
        let rate = bits_per_second(step.total.octets, step.end_ms - step.start_ms);
        (rate, format!("from {} on", time(step.start_ms, &report.about.zone)))
    });
    let (peak, when) = peak.unwrap_or_default();
    let items = [
        ("Octets", bytes(unsigned(total.octets)), total.octets, each("a packet", total.octets, total.packets)),
        ("Packets", count(unsigned(total.packets)), total.packets, each("a flow", total.packets, total.flows)),
        ("Flows", count(unsigned(total.flows)), total.flows, per_second(report, Measure::Flows)),
        ("Mean", bits(unsigned(mean)), mean, per_second(report, Measure::Packets)),
        ("Peak", bits(unsigned(peak)), peak, when),
    ];
    html.raw("<dl class=\"totals\">\n");
    for (name, value, exact, more) in items {
        html.raw("<div><dt>").raw(name).raw("</dt><dd title=\"").text(grouped(unsigned(exact))).raw("\">").text(value);
        html.raw("</dd><dd class=\"more\">").text(more).raw("</dd></div>\n");
    }
    html.raw("</dl>\n");
}

/// The mean of a measure over all the time.
fn per_second(report: &Report, by: Measure) -> String {
    rate_text(rate(report.total(), by, report.lasts_ms()), by).replace("/s", &format!(" {}/s", super::tables::name(by)))
}

fn charts(html: &mut Html, report: &Report) {
    html.raw("<section class=\"charts\">\n<h2>Over time</h2>\n<ul class=\"legend\">");
    for layer in &report.steps.layers {
        html.raw("<li><i class=\"").raw(colour(layer.colour)).raw("\"></i>").text(&layer.name).raw(" <span>");
        html.text(share(layer.total.octets, report.total().octets)).raw("</span></li>");
    }
    html.raw("<li><span>of all octets</span></li></ul>\n");
    for (id, title, unit, by, figure) in [
        ("volume", "Volume", "bits per second", Measure::Octets, "<figure class=\"whole\"><figcaption>"),
        ("packets", "Packets", "per second", Measure::Packets, "<figure class=\"half\"><figcaption>"),
        ("flows", "Flows", "per second", Measure::Flows, "<figure class=\"half\"><figcaption>"),
    ] {
        let summary = summary(report, by);
        html.raw(figure).raw("<b>").raw(title).raw("</b> ").raw(unit).raw(" <span>").text(&summary);
        html.raw("</span></figcaption>\n");
        let chart = Chart {
            id,
            title,
            by,
            steps: &report.steps,
            from_ms: report.plan.from_ms,
            to_ms: report.plan.to_ms,
            zone: &report.about.zone,
            description: description(report, by, [title, unit], &summary),
        };
        chart.write(html);
        html.raw("</figure>\n");
    }
    html.raw("</section>\n");
}

fn summary(report: &Report, by: Measure) -> String {
    let mean = rate_text(rate(report.total(), by, report.lasts_ms()), by);
    let peak = report.steps.peak(by).map(|step| {
        let rate = rate_text(step.rate(&step.total, by), by);
        format!(", peak {rate} at {}", time(step.start_ms, &report.about.zone))
    });
    format!("mean {mean}{}", peak.unwrap_or_default())
}

/// A chart in words.
fn description(report: &Report, by: Measure, [title, unit]: [&str; 2], summary: &str) -> String {
    let all = measured(report.total(), by);
    let layers = report.steps.layers.iter();
    let shares: Vec<String> =
        layers.map(|layer| format!("{} {}", layer.name, share(measured(&layer.total, by), all))).collect();
    let zone = &report.about.zone;
    format!(
        "{title}, {unit}, by protocol, from {} to {}, in steps of {}: {summary}. {}.",
        time(report.plan.from_ms, zone),
        time(report.plan.to_ms, zone),
        lasts(report.plan.step_ms),
        shares.join(", ")
    )
}

fn tables(html: &mut Html, report: &Report) {
    html.raw("<section class=\"tables\">\n<h2>Who and what</h2>\n");
    for (table, answer) in TABLES.iter().zip(&report.tables) {
        // Where nothing is known of places there is nothing to show of them.
        if table.takes_knowledge && answer.as_ref().is_ok_and(|answer| answer.rows.is_empty()) {
            continue;
        }
        html.raw(match table.width {
            Width::Third => "<article class=\"third\">\n",
            Width::Half => "<article class=\"half\">\n",
            Width::Whole => "<article class=\"whole\">\n",
        });
        match answer {
            Ok(answer) => write_table(html, report, table, answer),
            Err(reason) => {
                html.raw("<h3>").raw(table.title).raw("</h3>\n<p class=\"empty\">No answer in time: ").text(reason);
                html.raw("</p>\n");
            }
        }
        html.raw("</article>\n");
    }
    html.raw("</section>\n");
}

fn write_table(html: &mut Html, report: &Report, table: &Table, answer: &Answer) {
    let shown: Vec<usize> = table.columns.iter().filter_map(|name| column(answer, name)).collect();
    html.raw("<h3>").raw(table.title).raw(" <span>").text(grouped(answer.rows.len() as u64)).raw(" of ");
    html.text(grouped(answer.of)).raw("</span></h3>\n");
    let (whole, part) = (measured(report.total(), table.by), measured(&answer.total, table.by));
    if part < whole {
        let number = |number| text(unit_of(table.by), &Cell::Number(number), &report.about.zone);
        html.raw("<p class=\"part\">Of ").raw(table.of).raw(": ").text(number(part)).raw(" of ").text(number(whole));
        html.raw(".</p>\n");
    }
    if answer.is_rough {
        html.raw("<p class=\"part\">Rough: small ones may be missing or too small.</p>\n");
    }
    if answer.rows.is_empty() {
        html.raw("<p class=\"empty\">None.</p>\n");
        return;
    }
    html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"").raw(table.title);
    html.raw("\">\n<table>\n<caption>").raw(table.title).raw("</caption>\n<thead><tr>");
    for index in &shown {
        write_heading(html, table, answer, *index);
    }
    html.raw("<th scope=\"col\" class=\"share\">share</th></tr></thead>\n<tbody>\n");
    let counted = Counted::of(answer, table.by);
    let largest = answer.rows.iter().map(|row| counted.sum(row)).max().unwrap_or(0);
    for row in &answer.rows {
        html.raw("<tr>");
        for (place, index) in shown.iter().enumerate() {
            let names = names_of(answer, row, &answer.columns[*index].0);
            write_cell(html, report, answer.columns[*index].1, &row[*index], place == 0, &names);
        }
        html.raw("<td class=\"share\"><div><b aria-hidden=\"true\">");
        for (part, class) in counted.parts(row).into_iter().zip(["<i class=\"sent\"", "<i class=\"received\""]) {
            if part > 0 {
                html.raw(class).raw(" style=\"width:").text(percent(part, largest)).raw("%\"></i>");
            }
        }
        html.raw("</b><span>").text(share(counted.sum(row).min(whole), whole)).raw("</span></div></td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n</div>\n");
}

/// The heading of a column. What was sent and what was received have the colours of their bars; what they are of is in the title, where
/// there is nothing else.
fn write_heading(html: &mut Html, table: &Table, answer: &Answer, index: usize) {
    let (name, unit) = &answer.columns[index];
    let name = heading(name);
    let short = name.strip_prefix(super::tables::name(table.by)).map(str::trim_start);
    let part = Counted::of(answer, table.by).part(index);
    html.raw(if is_name(*unit) { "<th scope=\"col\">" } else { "<th scope=\"col\" class=\"n\">" });
    html.raw(match part {
        Some(0) => "<i class=\"sent\"></i>",
        Some(_) => "<i class=\"received\"></i>",
        None => "",
    });
    let is_clear = table.width == Width::Third && part.is_some();
    html.text(short.filter(|_| is_clear).unwrap_or(&name)).raw("</th>");
}

/// What an address in this column is called, and whose it is.
fn names_of(answer: &Answer, row: &[Cell], name: &str) -> String {
    let prefix = match name {
        "address" => "",
        "client" | "server" => name,
        _ => return String::new(),
    };
    let mut names: Vec<&str> = Vec::new();
    for wanted in ["hostName", "label", "asOrganization", "countryCode"] {
        if let Some(Cell::Text(text)) = column(answer, &prefixed(prefix, wanted)).and_then(|index| row.get(index)) {
            names.push(text);
        }
    }
    names.join(" · ")
}

/// A cell; the first of a row is what the row is about. Below an address stands what it is called.
fn write_cell(html: &mut Html, report: &Report, unit: Unit, cell: &Cell, is_first: bool, names: &str) {
    let value = text(unit, cell, &report.about.zone);
    html.raw(if is_first { "<th scope=\"row\"" } else { "<td" });
    match (unit, cell) {
        (Unit::Octets | Unit::Count | Unit::BitsPerSecond, Cell::Number(number)) => {
            html.raw(" class=\"n\" title=\"").text(grouped(unsigned(*number))).raw("\"");
        }
        (Unit::Time, _) => {
            html.raw(" class=\"t\"");
        }
        (_, Cell::Text(name)) if name.parse::<std::net::IpAddr>().is_ok() => {
            html.raw(" class=\"a\"");
        }
        // An organisation, say, which would stand in a pillar beside columns of numbers.
        (Unit::Name, Cell::Text(name)) if name.chars().count() > 20 => {
            html.raw(" class=\"w\"");
        }
        _ => {}
    }
    html.raw(">").text(value);
    if !names.is_empty() {
        html.raw("<small title=\"").text(names).raw("\">").text(names).raw("</small>");
    }
    html.raw(if is_first { "</th>" } else { "</td>" });
}

fn foot(html: &mut Html, report: &Report) {
    html.raw("<footer>\n<p>Octets are counted from the IP header on. Counts are estimates of the whole where packets were sampled. ");
    html.raw("A flow counts for the moment in which its record was made; flows that are still open are not in it. The share of an ");
    html.raw("address is that of all traffic of which it is an end. Bars compare the rows of a table with its largest.</p>\n<p>");
    html.raw("flowprobe ").raw(env!("CARGO_PKG_VERSION")).raw(", ").text(time(report.plan.now_ms, &report.about.zone));
    html.raw(", from ").text(&report.about.source).raw("</p>\n</footer>\n");
}

const fn is_name(unit: Unit) -> bool {
    matches!(unit, Unit::Name | Unit::Time)
}

const fn unit_of(by: Measure) -> Unit {
    match by {
        Measure::Octets => Unit::Octets,
        Measure::Packets | Measure::Flows => Unit::Count,
    }
}

/// A part of a whole, per cent with one place, rounded down: it never looks larger than it is.
fn percent(part: i64, whole: i64) -> String {
    let tenths = i128::from(part.max(0)) * 1000 / i128::from(whole.max(1));
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The same for people.
fn share(part: i64, whole: i64) -> String {
    match percent(part, whole) {
        none if none == "0.0" && part > 0 => "< 0.1 %".to_owned(),
        percent => format!("{percent} %"),
    }
}
