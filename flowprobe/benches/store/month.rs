//! A month, of which the sums of days, and of hours at its ends, are asked.

use anyhow::{Result, ensure};
use flowprobe::query::Question;
use flowprobe::store::Store;
use flowprobe::store::file::Reader;
use flowprobe::store::layout::{DAY_MS, HOUR_MS, Hour, Layout};
use flowprobe::store::rollup::{Rollup, TalkerRows};

use crate::traffic::{HOSTS, START_MS};
use crate::{Asked, append, compact, measure as ask_both, request, talkers_by_records};

/// One more than is asked for, so that the month need not begin at midnight.
const DAYS: u64 = 31;
const MONTH_MS: i64 = 30 * DAY_MS;

/// Writes a month with so many flows in each hour, and asks for its top talkers.
pub(crate) fn measure(flows_of_hour: u64, rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("store"))?;
    let flows = flows_of_hour * 24 * DAYS;
    println!("\n{flows} flows of {HOSTS} hosts over {DAYS} days");
    append(&store, flows, DAYS)?;
    compact(&store, flows, 31)?;
    let layout = store.shelf().layout();
    let hours = talkers(layout, &layout.rollup_hours(TalkerRows::NAME)?)?;
    let days = talkers(layout, &layout.rollup_days(TalkerRows::NAME)?)?;
    ensure!((hours.0, days.0) == (24 * 31, 31), "there are sums of {} hours and {} days", hours.0, days.0);
    println!("{:.0} talkers in an hour and {:.0} in a day, on average", hours.1, days.1);

    let rollups =
        format!("read_parquet('{}/day=*/*.parquet', filename = true)", layout.rollup(TalkerRows::NAME).display());
    let records = format!("'{}/*/*.parquet'", layout.flows().display());
    let whole = [START_MS, START_MS + MONTH_MS];
    // As `--last 30d` is: the first and the last hour are not whole, and their days neither.
    let uneven = whole.map(|moment| moment + 9 * HOUR_MS + 1_234_567);
    println!("\n{:44} {:>10} {:>10}", "milliseconds, median", "flowprobe", "DuckDB");
    let asked = |name, [from_ms, to_ms]: [i64; 2], sql| Asked {
        name,
        request: request(Question::Talkers, from_ms, to_ms, 10),
        sql,
        columns: &["octets"],
    };
    let of_sums = format!(
        "SELECT address, sum(octetsSent + octetsReceived)::BIGINT AS octets FROM {rollups} \
         WHERE filename < '{}' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
        layout.rollup(TalkerRows::NAME).join(Hour::of(whole[1]).day().to_string()).display()
    );
    let of_records = |[from_ms, to_ms]: [i64; 2]| talkers_by_records(&records, from_ms, to_ms);
    ask_both(layout, &asked("top talkers of 30 days; DuckDB: same sums", whole, of_sums), rounds)?;
    ask_both(layout, &asked("the same; DuckDB: records", whole, of_records(whole)), rounds)?;
    ask_both(layout, &asked("the last 30 days, at 09:20; DuckDB: records", uneven, of_records(uneven)), rounds)
}

/// How many sums by address there are of these periods, and how many addresses each has on average.
fn talkers(layout: &Layout, periods: &[impl std::fmt::Display]) -> Result<(usize, f64)> {
    let mut addresses = 0;
    for period in periods {
        for id in layout.rollup_ids(TalkerRows::NAME, period)? {
            addresses += Reader::<TalkerRows>::open(&layout.rollup_file(TalkerRows::NAME, period, &id))?.rows();
        }
    }
    Ok((periods.len(), addresses as f64 / periods.len().max(1) as f64))
}
