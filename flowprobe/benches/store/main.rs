//! What keeping history costs: a day of flows is written as the daemon writes it, made into hours, and asked, and a month of them; the
//! same questions go to DuckDB over the same files where Python has it. Every answer is compared.

#[path = "../common/memory.rs"]
mod memory;
mod month;
mod pages;
mod traffic;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use flowprobe::clock::monotonic_ns;
use flowprobe::losses::Losses;
use flowprobe::query::{Answer, Filter, Measure, Question, Request, Source, ask};
use flowprobe::sink::RecordBatch;
use flowprobe::store::layout::{DAY_MS, HOUR_MS, Layout, octets_below};
use flowprobe::store::rollup::MINUTE_MS;
use flowprobe::store::{Retention, Store, Writer, maintain};

use memory::memory;
use traffic::{START_MS, Traffic};

/// Measures the store.
#[derive(Parser)]
struct Args {
    /// Flows of the day; 0 for no day.
    #[arg(long, default_value_t = 10_000_000)]
    flows: u64,
    /// Flows of each hour of the month; 0 for no month.
    #[arg(long, default_value_t = 25_000)]
    month: u64,
    /// Rounds of each question; the median counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.flows > 0 {
        let folder = tempfile::tempdir()?;
        let store = Store::open(&folder.path().join("store"))?;
        println!("{} flows of {} hosts over 24 hours", args.flows, traffic::HOSTS);
        append(&store, args.flows, 1)?;
        compact(&store, args.flows, 1)?;
        questions(store.shelf().layout(), args.rounds)?;
        pages::measure(store.shelf().layout(), args.rounds)?;
    }
    if args.month > 0 {
        month::measure(args.month, args.rounds)?;
    }
    Ok(())
}

/// Hands the writer records as metering does, as fast as it takes them: the wall clock is that of the flows, the monotonic one runs with
/// the work. What making the records costs is not measured.
fn append(store: &Store, flows: u64, days: u64) -> Result<()> {
    let losses = Losses::default();
    let mut writer = Writer::new(Arc::clone(store.shelf()), losses.clone(), None);
    let (mut traffic, started_ns) = (Traffic::new(flows, days), monotonic_ns());
    let (mut writing, mut now_ms) = (Duration::ZERO, START_MS);
    while let Some(records) = traffic.next_batch() {
        let batch = RecordBatch::metered(&Arc::default(), &records, false);
        let then = Instant::now();
        let end_ms = traffic.now_ms();
        if end_ms >= now_ms + 1000 {
            now_ms = end_ms;
            writer.tick(started_ns + u64::try_from(writing.as_nanos())?, now_ms);
        }
        writer.take(&batch);
        writing += then.elapsed();
    }
    let then = Instant::now();
    writer.write_out();
    writing += then.elapsed();
    let condition = store.shelf().condition();
    ensure!(condition.stored_records == flows && losses.total().records == 0, "not all were stored: {condition:?}");
    let rate = flows as f64 / writing.as_secs_f64();
    println!(
        "appended at {rate:.0} rows/s, {} files, at most {} MiB in memory",
        condition.files,
        memory("VmHWM:")? >> 10
    );
    Ok(())
}

fn compact(store: &Store, flows: u64, days: i64) -> Result<()> {
    let retention = Retention { age: Duration::from_secs(400 * 86_400), octets: u64::MAX };
    let then = Instant::now();
    let now_ms = START_MS + days * DAY_MS + HOUR_MS;
    let faults = maintain(store.shelf(), retention, now_ms, &AtomicBool::new(false));
    ensure!(faults.is_empty(), "{faults:?}");
    let took = then.elapsed();
    let layout = store.shelf().layout();
    let (rows, all) = (octets_below(&layout.flows()), layout.octets());
    println!(
        "compacted in {:.1} s, {:.0} ns a row: {:.2} octets a row, {:.2} with rollups, at most {} MiB in memory",
        took.as_secs_f64(),
        took.as_nanos() as f64 / flows as f64,
        rows as f64 / flows as f64,
        all as f64 / flows as f64,
        memory("VmHWM:")? >> 10
    );
    Ok(())
}

/// A question in both languages, and the columns of the answers that are compared.
struct Asked {
    name: &'static str,
    request: Request,
    sql: String,
    columns: &'static [&'static str],
}

/// The first rows of a question without a filter, by octets.
fn request(question: Question, from_ms: i64, to_ms: i64, top: usize) -> Request {
    Request { question, from_ms, to_ms, filter: Filter::default(), by: Measure::Octets, top }
}

/// The top talkers of a time, from the records in these files.
fn talkers_by_records(files: &str, from_ms: i64, to_ms: i64) -> String {
    let when = format!(
        "flowEndMilliseconds >= make_timestamptz({from_ms}000) AND flowEndMilliseconds < make_timestamptz({to_ms}000)"
    );
    format!(
        "SELECT address, sum(o)::BIGINT AS octets FROM (SELECT sourceIPAddress AS address, octetDeltaCount AS o FROM {files} \
         WHERE {when} UNION ALL SELECT destinationIPAddress, octetDeltaCount FROM {files} WHERE {when}) GROUP BY 1 \
         ORDER BY 2 DESC, 1 LIMIT 10"
    )
}

fn questions(layout: &Layout, rounds: usize) -> Result<()> {
    let files = format!("'{}/*/*.parquet'", layout.flows().display());
    let host = traffic::quiet_host();
    let noon = START_MS + 12 * HOUR_MS;
    let all = [
        Asked {
            name: "top talkers of an hour",
            request: request(Question::Talkers, noon, noon + HOUR_MS, 10),
            sql: talkers_by_records(&files, noon, noon + HOUR_MS),
            columns: &["octets"],
        },
        Asked {
            name: "top talkers of an hour that is not whole",
            request: request(Question::Talkers, noon + 1_234_567, noon + HOUR_MS + 1_234_567, 10),
            sql: talkers_by_records(&files, noon + 1_234_567, noon + HOUR_MS + 1_234_567),
            columns: &["octets"],
        },
        Asked {
            name: "a day by protocol and minute",
            request: request(
                Question::Series { step_ms: MINUTE_MS, by_protocol: true },
                START_MS,
                START_MS + DAY_MS,
                usize::MAX,
            ),
            sql: format!(
                "SELECT epoch_ms(flowEndMilliseconds) // 60000 * 60000 AS t, protocolIdentifier AS p, sum(octetDeltaCount)::BIGINT AS octets \
                 FROM {files} GROUP BY 1, 2 ORDER BY 1, 2"
            ),
            columns: &["octets"],
        },
        Asked {
            name: "one address over the day",
            request: request(Question::Host { address: host }, START_MS, START_MS + DAY_MS, 1000),
            sql: format!(
                "SELECT sum(octetDeltaCount)::BIGINT AS octets FROM {files} \
                 WHERE sourceIPAddress = '{host}' OR destinationIPAddress = '{host}'"
            ),
            columns: &[],
        },
        Asked {
            name: "top services of the day",
            request: request(Question::Ports, START_MS, START_MS + DAY_MS, 10),
            sql: format!(
                "SELECT protocolIdentifier AS p, least(sourceTransportPort, destinationTransportPort) AS port, \
                 sum(octetDeltaCount)::BIGINT AS octets FROM {files} WHERE protocolIdentifier IN (6, 17) GROUP BY 1, 2 \
                 ORDER BY 3 DESC, 1, 2 LIMIT 10"
            ),
            columns: &["octets"],
        },
    ];
    println!("\n{:44} {:>10} {:>10}", "milliseconds, median", "flowprobe", "DuckDB");
    for asked in &all {
        measure(layout, asked, rounds)?;
    }
    Ok(())
}

/// Asks both, compares the answers, and prints how long they took.
fn measure(layout: &Layout, asked: &Asked, rounds: usize) -> Result<()> {
    let mut times = Vec::new();
    let mut answer = None;
    for _ in 0..rounds.max(1) {
        let then = Instant::now();
        answer = Some(ask(Source::Files(layout), &asked.request)?);
        times.push(then.elapsed());
    }
    times.sort_unstable();
    let answer = answer.context("no round")?;
    let ours = times[times.len() / 2].as_secs_f64() * 1000.0;
    let theirs = match duckdb(&asked.sql, rounds)? {
        Some((took, values)) => {
            compare(asked, &answer, &values)?;
            format!("{took:.1}")
        }
        None => "-".to_owned(),
    };
    println!("{:44} {ours:>10.1} {theirs:>10}", asked.name);
    Ok(())
}

/// Octets row by row, or in all.
fn compare(asked: &Asked, answer: &Answer, theirs: &[i64]) -> Result<()> {
    let json = answer.to_json();
    let of = |row: &serde_json::Value| {
        row["octets"].as_i64().or_else(|| Some(row["octetsSent"].as_i64()? + row["octetsReceived"].as_i64()?))
    };
    let ours: Vec<i64> = if asked.columns.is_empty() {
        vec![answer.total.octets]
    } else {
        json["rows"].as_array().context("rows")?.iter().filter_map(of).collect()
    };
    ensure!(ours == theirs, "{}: {} and {} rows differ", asked.name, ours.len(), theirs.len());
    Ok(())
}

/// The median of DuckDB's times, milliseconds, and its last column; nothing where Python has no DuckDB.
fn duckdb(sql: &str, rounds: usize) -> Result<Option<(f64, Vec<i64>)>> {
    let program = "import sys, time\n\
                   try:\n import duckdb\n\
                   except ImportError:\n sys.exit(3)\n\
                   sql, rounds, times = sys.argv[1], int(sys.argv[2]), []\n\
                   connection = duckdb.connect()\n\
                   connection.execute(\"SET TimeZone = 'UTC'\")\n\
                   connection.execute(\"SET enable_progress_bar = false\")\n\
                   for _ in range(rounds):\n \
                   then = time.perf_counter(); rows = connection.execute(sql).fetchall(); times.append(time.perf_counter() - then)\n\
                   print(sorted(times)[len(times) // 2] * 1000)\n\
                   print(' '.join(str(row[-1]) for row in rows))";
    let output = Command::new("python3").args(["-c", program, sql, &rounds.to_string()]).output();
    let Ok(output) = output.map_err(drop) else { return Ok(None) };
    if output.status.code() == Some(3) {
        return Ok(None);
    }
    ensure!(output.status.success(), "DuckDB: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (took, values) = text.split_once('\n').context("two lines")?;
    let values = values.split_whitespace().map(str::parse).collect::<Result<Vec<i64>, _>>()?;
    Ok(Some((took.parse()?, values)))
}
