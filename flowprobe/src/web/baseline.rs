//! What is usual at a time of day: the band behind the curve of the volume.

use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::query::{Grouping, Question, Request, Source, bits_per_second, chart};
use crate::store::Shelf;
use crate::store::file::FileFault;
use crate::store::layout::DAY_MS;
use crate::store::rollup::MINUTE_MS;

/// Days that are looked back.
const DAYS: i64 = 28;

/// Days that have to be there: of fewer nobody can say what is usual.
const FEWEST: usize = 3;

/// The same weekdays that have to be there, so that only those count.
const FEWEST_WEEKS: usize = 3;

/// What is usual in each step, in bits a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Baseline {
    /// Of how many earlier days.
    pub(super) days: usize,
    /// A tenth of the days were below this.
    pub(super) low: Vec<i64>,
    /// Half of them were.
    pub(super) middle: Vec<i64>,
    /// Nine tenths were.
    pub(super) high: Vec<i64>,
}

/// What is usual in the steps of a time that is no longer than a week, by the same time on the days of the last four weeks: on the same
/// weekdays where there are three of them. Nothing where history does not go back far enough, or the filter takes more than sums.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn baseline(
    shelf: &Shelf,
    request: &Request,
    step_ms: i64,
    stop: &AtomicBool,
) -> Result<Option<Baseline>, FileFault> {
    let (from_ms, to_ms) = whole_steps(request, step_ms);
    let lasts_ms = to_ms - from_ms;
    if lasts_ms > 7 * DAY_MS || step_ms % MINUTE_MS != 0 || !request.filter.is_of_minutes() {
        return Ok(None);
    }
    let source = Source::Wanted(shelf, stop);
    let first_ms = crate::query::first_hour(source)?.map_or(i64::MAX, |hour| hour.start_ms());
    let every = if lasts_ms > DAY_MS { 7 } else { 1 };
    let mut days: Vec<(i64, Vec<i64>)> = Vec::new();
    for back in (every..=DAYS).step_by(usize::try_from(every).unwrap_or(1)) {
        let earlier = Request {
            question: Question::Totals,
            from_ms: from_ms - back * DAY_MS,
            to_ms: to_ms - back * DAY_MS,
            ..request.clone()
        };
        if earlier.from_ms < first_ms {
            break;
        }
        let chart = chart(source, &earlier, step_ms, Grouping::None)?;
        // Days on which nothing was metered at all say nothing of what is usual.
        if chart.total.flows > 0 {
            let rates = chart.groups.iter().flat_map(|(_, counts)| counts);
            days.push((back, rates.map(|counts| bits_per_second(counts.octets, step_ms)).collect()));
        }
    }
    let is_of_weekday = |(back, _): &&(i64, Vec<i64>)| back % 7 == 0;
    if days.iter().filter(is_of_weekday).count() >= FEWEST_WEEKS {
        days.retain(|day| is_of_weekday(&day));
    }
    Ok((days.len() >= FEWEST).then(|| band(&days)))
}

/// The time with all of its first and last step.
fn whole_steps(request: &Request, step_ms: i64) -> (i64, i64) {
    let from_ms = request.from_ms.div_euclid(step_ms) * step_ms;
    (from_ms, ((request.to_ms - 1).div_euclid(step_ms) + 1) * step_ms)
}

fn band(days: &[(i64, Vec<i64>)]) -> Baseline {
    let steps = days.iter().map(|(_, rates)| rates.len()).min().unwrap_or(0);
    let mut baseline = Baseline { days: days.len(), low: Vec::new(), middle: Vec::new(), high: Vec::new() };
    for step in 0..steps {
        let mut rates: Vec<i64> = days.iter().map(|(_, rates)| rates[step]).collect();
        rates.sort_unstable();
        let at = |tenths: usize| rates[(rates.len() - 1) * tenths / 10];
        baseline.low.push(at(1));
        baseline.middle.push(at(5));
        baseline.high.push(rates[((rates.len() - 1) * 9).div_ceil(10)]);
    }
    baseline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_day_does_not_move_the_band() {
        let day = |rate: i64| (1, vec![rate, 2 * rate]);
        let mut days: Vec<_> = (0..10).map(|number| day(100 + number)).collect();
        let usual = band(&days);
        assert_eq!((usual.low[0], usual.middle[0], usual.high[1]), (100, 104, 218));
        days[3] = day(1_000_000);
        let with_odd = band(&days);
        assert_eq!((with_odd.low[0], with_odd.middle[0]), (100, 105));
        assert_eq!(with_odd.high[0], 1_000_000);
        days.push(day(104));
        assert_eq!(band(&days).high[0], 109);
    }
}
