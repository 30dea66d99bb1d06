//! What happened when: the points of the charts, and what each protocol has of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::query::{Answer, Cell, Measure, Total, bits_per_second};

use super::tables::{column, measured, number};

/// Protocols that charts show by name, at most.
const NAMED: usize = 5;

/// The colour of all others.
pub(super) const OTHER: usize = NAMED;

/// Colours that protocols have on every report.
const OWN_COLOURS: [(i64, usize); 4] = [(6, 0), (17, 1), (1, 2), (58, 3)];

/// All points, without gaps, and the layers of which they consist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) layers: Vec<Layer>,
    pub(super) steps: Vec<Step>,
}

/// A protocol, or all that have no layer of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) colour: usize,
    pub(super) total: Total,
}

/// A point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) total: Total,
    /// What each layer has of it.
    pub(super) layers: Vec<Total>,
}

impl Step {
    /// So many a second; of octets, bits.
    pub(super) fn rate(&self, total: &Total, by: Measure) -> f64 {
        rate(total, by, self.end_ms - self.start_ms)
    }
}

/// What was counted in a time, a second; of octets, bits.
pub(super) fn rate(total: &Total, by: Measure, lasts_ms: i64) -> f64 {
    match by {
        Measure::Octets => bits_per_second(total.octets, lasts_ms) as f64,
        Measure::Packets | Measure::Flows => measured(total, by) as f64 * 1000.0 / lasts_ms.max(1) as f64,
    }
}

impl Steps {
    /// Of the answers to both questions for a series.
    pub(super) fn of(series: &Answer, by_protocol: &Answer, step_ms: i64) -> Self {
        let (all, time) = (totals(series), column(series, "milliseconds"));
        let step = |row: &Vec<Cell>| {
            let start_ms = number(row, time);
            Step {
                start_ms: start_ms.max(series.from_ms),
                end_ms: start_ms.saturating_add(step_ms).min(series.to_ms),
                total: all(row),
                layers: Vec::new(),
            }
        };
        let mut steps = Self { layers: Vec::new(), steps: series.rows.iter().map(step).collect() };
        let first_ms = series.rows.first().map_or(0, |row| number(row, time));
        steps.split(by_protocol, first_ms, step_ms);
        steps.join_edges(step_ms);
        steps
    }

    /// Splits each by protocol.
    fn split(&mut self, by_protocol: &Answer, first_ms: i64, step_ms: i64) {
        let (all, time) = (totals(by_protocol), column(by_protocol, "milliseconds"));
        let protocol = column(by_protocol, "protocolIdentifier");
        let name = column(by_protocol, "protocol");
        let mut protocols: BTreeMap<i64, (String, Total)> = BTreeMap::new();
        for row in &by_protocol.rows {
            let (_, total) =
                protocols.entry(number(row, protocol)).or_insert_with(|| match name.map(|name| &row[name]) {
                    Some(Cell::Text(name)) => (name.clone(), Total::default()),
                    _ => (number(row, protocol).to_string(), Total::default()),
                });
            add(total, all(row));
        }
        let (layers, layer_of) = layers(&protocols, &by_protocol.total);
        self.layers = layers;
        self.steps.iter_mut().for_each(|step| step.layers = vec![Total::default(); self.layers.len()]);
        for row in &by_protocol.rows {
            let index = usize::try_from((number(row, time) - first_ms) / step_ms.max(1)).ok();
            let step = index.and_then(|index| self.steps.get_mut(index));
            if let (Some(step), Some(layer)) = (step, layer_of.get(&number(row, protocol))) {
                add(&mut step.layers[*layer], all(row));
            }
        }
    }

    /// A record counts for the moment in which it was made, and tells of up to a minute before: an edge of which only a few seconds were
    /// asked for would show a peak that never was. It is shown together with its neighbour where it is less than half a step.
    fn join_edges(&mut self, step_ms: i64) {
        let is_short = |step: &Step| (step.end_ms - step.start_ms).saturating_mul(2) < step_ms;
        if self.steps.len() > 1 && is_short(&self.steps[0]) {
            let first = self.steps.remove(0);
            let next = &mut self.steps[0];
            next.start_ms = first.start_ms;
            join(next, &first);
        }
        if self.steps.len() > 1
            && let Some(last) = self.steps.pop_if(|last| is_short(last))
            && let Some(before) = self.steps.last_mut()
        {
            before.end_ms = last.end_ms;
            join(before, &last);
        }
    }

    /// Where most happened; the first of equals.
    pub(super) fn peak(&self, by: Measure) -> Option<&Step> {
        let rate = |step: &Step| step.rate(&step.total, by);
        self.steps.iter().rev().max_by(|one, other| rate(one).total_cmp(&rate(other)))
    }
}

fn add(total: &mut Total, more: Total) {
    total.octets = total.octets.saturating_add(more.octets);
    total.packets = total.packets.saturating_add(more.packets);
    total.flows = total.flows.saturating_add(more.flows);
}

fn join(step: &mut Step, other: &Step) {
    add(&mut step.total, other.total);
    step.layers.iter_mut().zip(&other.layers).for_each(|(layer, more)| add(layer, *more));
}

/// How rows of an answer say octets, packets and flows.
fn totals(answer: &Answer) -> impl Fn(&Vec<Cell>) -> Total + use<> {
    let [octets, packets, flows] = ["octets", "packets", "flows"].map(|name| column(answer, name));
    move |row| Total { octets: number(row, octets), packets: number(row, packets), flows: number(row, flows) }
}

/// Layers in the order of their colours, and in which of them each protocol is: those have one of their own that have the largest part of
/// anything, so that a flood of small packets has, too.
fn layers(protocols: &BTreeMap<i64, (String, Total)>, all: &Total) -> (Vec<Layer>, BTreeMap<i64, usize>) {
    let part = |total: &Total, by| i128::from(measured(total, by)) * 1_000_000 / i128::from(measured(all, by).max(1));
    let largest = |total: &Total| {
        [Measure::Octets, Measure::Packets, Measure::Flows].into_iter().map(|by| part(total, by)).max().unwrap_or(0)
    };
    let mut ranked: Vec<_> = protocols.iter().collect();
    ranked.sort_by_key(|(number, (_, total))| (Reverse(largest(total)), Reverse(total.octets), **number));
    let named = &ranked[..ranked.len().min(NAMED)];
    let own = |number: i64| OWN_COLOURS.iter().find(|(of, _)| *of == number).map(|(_, colour)| *colour);
    let taken: Vec<usize> = named.iter().filter_map(|(number, _)| own(**number)).collect();
    let mut free = (0..NAMED).rev().filter(|colour| !taken.contains(colour));
    let mut layers: Vec<(Option<i64>, Layer)> = Vec::new();
    for (number, (name, total)) in named {
        let colour = own(**number).or_else(|| free.next()).unwrap_or(OTHER);
        layers.push((Some(**number), Layer { name: name.clone(), colour, total: *total }));
    }
    layers.sort_by_key(|(_, layer)| layer.colour);
    let mut rest = Layer { name: "other".to_owned(), colour: OTHER, total: Total::default() };
    ranked.iter().skip(NAMED).for_each(|(_, (_, total))| add(&mut rest.total, *total));
    if ranked.len() > NAMED {
        layers.push((None, rest));
    }
    let place = |number: &i64| layers.iter().position(|(of, _)| *of == Some(*number)).unwrap_or(layers.len() - 1);
    let layer_of = protocols.keys().map(|number| (*number, place(number))).collect();
    (layers.into_iter().map(|(_, layer)| layer).collect(), layer_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn total(octets: i64, packets: i64, flows: i64) -> Total {
        Total { packets, octets, flows }
    }

    fn answer(from_ms: i64, to_ms: i64, rows: &[(i64, Option<i64>, i64)]) -> Answer {
        let mut answer: Answer = serde_json::from_value(serde_json::json!({
            "fromMs": from_ms, "toMs": to_ms, "of": rows.len(), "rows": [], "isRough": false, "unreadable": [],
            "total": {"octets": 0, "packets": 0, "flows": 0},
            "columns": [["milliseconds", "time"], ["protocolIdentifier", "name"], ["protocol", "name"],
                        ["octets", "octets"], ["packets", "count"], ["flows", "count"]],
        }))
        .expect("an answer");
        for (time, protocol, octets) in rows {
            let number = protocol.unwrap_or(0);
            let name = Cell::Text(format!("p{number}"));
            let counts = [*octets, octets / 100, 1].map(Cell::Number);
            answer.rows.push([Cell::Number(*time), Cell::Number(number), name].into_iter().chain(counts).collect());
            add(&mut answer.total, total(*octets, octets / 100, 1));
        }
        answer
    }

    #[test]
    fn protocols_that_have_no_colour_are_one_layer_and_nothing_is_lost() {
        let to_ms = 3 * MINUTE_MS;
        let rows: Vec<_> = [6, 17, 1, 58, 50, 47, 89, 99]
            .into_iter()
            .enumerate()
            .map(|(index, protocol)| (MINUTE_MS, Some(protocol), 8000 >> index))
            .collect();
        let by_protocol = answer(0, to_ms, &rows);
        let series = answer(0, to_ms, &[(0, None, 0), (MINUTE_MS, None, 15_000), (2 * MINUTE_MS, None, 0)]);
        let steps = Steps::of(&series, &by_protocol, MINUTE_MS);
        let names: Vec<_> = steps.layers.iter().map(|layer| (layer.name.as_str(), layer.colour)).collect();
        assert_eq!(names, [("p6", 0), ("p17", 1), ("p1", 2), ("p58", 3), ("p50", 4), ("other", OTHER)]);
        let octets: Vec<i64> = steps.steps[1].layers.iter().map(|total| total.octets).collect();
        assert_eq!(octets, [8000, 4000, 2000, 1000, 500, 250 + 125 + 62]);
        assert!(steps.steps[0].layers.iter().all(|total| *total == Total::default()));
        assert_eq!(steps.peak(Measure::Octets).map(|step| step.start_ms), Some(MINUTE_MS));
    }

    #[test]
    fn edges_of_which_little_was_asked_for_are_shown_with_their_neighbours() {
        // From 50 seconds on, up to 3 minutes and 10 seconds.
        let (from_ms, to_ms) = (50_000, 190_000);
        let minutes: Vec<_> = (0..4).map(|minute| (minute * MINUTE_MS, None, 600)).collect();
        let steps = Steps::of(&answer(from_ms, to_ms, &minutes), &answer(from_ms, to_ms, &[]), MINUTE_MS);
        let found: Vec<_> = steps.steps.iter().map(|step| (step.start_ms, step.end_ms, step.total.octets)).collect();
        assert_eq!(found, [(50_000, 120_000, 1200), (120_000, 190_000, 1200)]);
        // Where half of it or more was asked for it stays.
        let steps = Steps::of(&answer(30_000, 90_000, &minutes[..2]), &answer(30_000, 90_000, &[]), MINUTE_MS);
        assert_eq!(steps.steps.len(), 2);
        // The only one stays, however short.
        let steps = Steps::of(&answer(1000, 2000, &minutes[..1]), &answer(1000, 2000, &[]), MINUTE_MS);
        assert_eq!((steps.steps[0].start_ms, steps.steps[0].end_ms), (1000, 2000));
    }

    #[test]
    fn a_flood_of_small_packets_has_a_colour() {
        let large = (1..8).map(|protocol| (protocol, (format!("p{protocol}"), total(1_000_000, 100, 10))));
        let flood = (200, ("flood".to_owned(), total(10, 5_000_000, 1)));
        let protocols: BTreeMap<i64, (String, Total)> = large.chain([flood]).collect();
        let (layers, layer_of) = layers(&protocols, &total(7_000_010, 5_000_700, 71));
        assert_eq!(layers[layer_of[&200]].name, "flood");
        assert_eq!((layers.len(), layers[layer_of[&7]].name.as_str()), (NAMED + 1, "other"));
    }
}
