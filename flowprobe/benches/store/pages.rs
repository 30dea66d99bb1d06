//! What each page of the dashboard asks, and how long the slowest of its questions takes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::Result;
use flowprobe::query::{Filter, Grouping, Measure, Question, Request, Source, ask, chart, host};
use flowprobe::store::layout::{DAY_MS, HOUR_MS, Layout};
use flowprobe::store::rollup::MINUTE_MS;

use crate::traffic::{self, START_MS};

/// The host that is in most flows.
const BUSIEST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// What a page asks.
enum Asked {
    Table(Question),
    Series(i64, Grouping),
    Host(IpAddr),
}

/// Asks all, of the whole day and of an hour that is not whole, and prints the medians.
pub(crate) fn measure(layout: &Layout, rounds: usize) -> Result<()> {
    use Asked::{Host, Series, Table};
    let (minutes, hour) = (15 * MINUTE_MS, HOUR_MS);
    let pages = [
        ("overview: volume", Series(minutes, Grouping::None)),
        ("overview: protocols over time", Series(minutes, Grouping::Protocol)),
        ("overview: top sources", Table(Question::Sources)),
        ("overview: top services", Table(Question::Ports)),
        ("hosts", Table(Question::Talkers)),
        ("hosts: networks", Table(Question::Networks { prefix: 24, prefix6: 64 })),
        ("a host that is in few flows", Host(traffic::quiet_host())),
        ("the host that is in most", Host(BUSIEST)),
        ("ports: services over time", Series(hour, Grouping::Service)),
        ("ports: messages of ICMP", Table(Question::Icmp)),
        ("conversations", Table(Question::Conversations)),
        ("records", Table(Question::Records)),
        ("countries", Table(Question::Countries)),
        ("interfaces: over time", Series(minutes, Grouping::Interface)),
        ("exporters", Table(Question::Exporters)),
    ];
    println!("\n{:44} {:>10} {:>10}", "pages: milliseconds, median", "of a day", "of an hour");
    let noon = START_MS + 12 * HOUR_MS + 1_234_567;
    for (name, asked) in &pages {
        let day = median(layout, asked, (START_MS, START_MS + DAY_MS), rounds)?;
        // Steps of an hour are of no use there.
        let of_hour = match asked {
            Series(_, grouping) => &Series(MINUTE_MS, *grouping),
            asked => asked,
        };
        let hour = median(layout, of_hour, (noon, noon + HOUR_MS), rounds)?;
        println!("{name:44} {day:>10.1} {hour:>10.1}");
    }
    Ok(())
}

fn median(layout: &Layout, asked: &Asked, (from_ms, to_ms): (i64, i64), rounds: usize) -> Result<f64> {
    let source = Source::Files(layout);
    let request = |question: Question, top| Request {
        question,
        from_ms,
        to_ms,
        filter: Filter::default(),
        by: Measure::Octets,
        top,
    };
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        let then = Instant::now();
        match asked {
            Asked::Table(question) => drop(ask(source, &request(question.clone(), 50))?),
            Asked::Series(step_ms, grouping) => {
                drop(chart(source, &request(Question::Totals, 8), *step_ms, *grouping)?);
            }
            Asked::Host(address) => drop(host(source, &request(Question::Totals, 50), *address, 15 * MINUTE_MS)?),
        }
        times.push(then.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
