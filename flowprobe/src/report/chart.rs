//! Charts as inline SVG: rates over time, one layer for each protocol on top of the other.
//!
//! A chart is as wide as its box: the axes are placed by percentages, and only the areas are stretched.

use jiff::tz::TimeZone;

use super::html::Html;
use super::steps::{OTHER, Step, Steps};
use super::ticks::{Scale, moments};
use crate::query::Measure;
use crate::query::render::time;
use crate::summary::format::{bits, count};

/// Units of the areas' own coordinates: far smaller than a dot of any screen.
const WIDE: i64 = 10_000;
const HIGH: i64 = 1000;

/// What a chart shows.
pub(super) struct Chart<'a> {
    /// Its name in the document.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) by: Measure,
    pub(super) steps: &'a Steps,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) zone: &'a TimeZone,
    /// What there is to say of it, for who does not see it.
    pub(super) description: String,
}

/// The class of a layer's colour.
pub(super) const fn colour(index: usize) -> &'static str {
    const CLASSES: [&str; OTHER + 1] = ["c0", "c1", "c2", "c3", "c4", "c5"];
    CLASSES[if index < OTHER { index } else { OTHER }]
}

/// A rate for people.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and rates are not negative"
)]
pub(super) fn rate_text(rate: f64, by: Measure) -> String {
    match by {
        Measure::Octets => bits(rate as u64),
        Measure::Packets | Measure::Flows if rate > 0.0 && rate < 0.01 => "< 0.01/s".to_owned(),
        Measure::Packets | Measure::Flows if rate > 0.0 && rate < 10.0 => format!("{rate:.2}/s"),
        Measure::Packets | Measure::Flows => format!("{}/s", count(rate as u64)),
    }
}

impl Chart<'_> {
    /// Appends the chart.
    pub(super) fn write(&self, html: &mut Html) {
        let scale = Scale::of(self.highest());
        html.raw("<svg class=\"chart\" role=\"img\" aria-labelledby=\"").text(self.id).raw("-title ").text(self.id);
        html.raw("-text\"><title id=\"").text(self.id).raw("-title\">").text(self.title);
        html.raw("</title><desc id=\"").text(self.id).raw("-text\">").text(&self.description).raw("</desc>\n");
        self.axes(html, scale);
        html.raw("<svg viewBox=\"0 0 ").text(WIDE).raw(" ").text(HIGH).raw("\" preserveAspectRatio=\"none\">\n");
        self.areas(html, scale);
        self.hints(html);
        html.raw("</svg>\n<line class=\"base\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/></svg>\n");
    }

    /// The highest of all layers together.
    fn highest(&self) -> f64 {
        let sum = |step: &Step| -> f64 { step.layers.iter().map(|layer| step.rate(layer, self.by)).sum() };
        self.steps.steps.iter().map(sum).fold(0.0, f64::max)
    }

    fn axes(&self, html: &mut Html, scale: Scale) {
        html.raw("<g class=\"y\">");
        for (height, label) in scale.marks() {
            let y = format!("{:.2}%", (1.0 - height) * 100.0);
            html.raw("<line x2=\"100%\" y1=\"").text(&y).raw("\" y2=\"").text(&y).raw("\"/>");
            html.raw("<text x=\"-8\" y=\"").text(&y).raw("\" dy=\".32em\">").text(label).raw("</text>");
        }
        html.raw("</g>\n<g class=\"x\">");
        for (index, moment) in moments(self.from_ms, self.to_ms, self.zone).into_iter().enumerate() {
            let place = i128::from(moment.ms - self.from_ms) * 10_000 / i128::from((self.to_ms - self.from_ms).max(1));
            let x = format!("{}.{:02}%", place / 100, place % 100);
            html.raw("<line x1=\"").text(&x).raw("\" x2=\"").text(&x).raw("\" y2=\"100%\"/>");
            // On a narrow screen there is room for every other one.
            html.raw(if index % 2 == 0 { "<text x=\"" } else { "<text class=\"odd\" x=\"" }).text(&x);
            html.raw("\" y=\"100%\" dy=\"1.6em\">").text(moment.label).raw("</text>");
        }
        html.raw("</g>\n");
    }

    /// Each layer from 0 up, the highest first: the lower ones are painted over it.
    fn areas(&self, html: &mut Html, scale: Scale) {
        for index in (0..self.steps.layers.len()).rev() {
            let height = |step: &Step| -> f64 {
                step.layers[..=index].iter().map(|layer| step.rate(layer, self.by)).sum::<f64>() / scale.top()
            };
            html.raw("<path class=\"").text(colour(self.steps.layers[index].colour)).raw("\" d=\"");
            html.text(self.outline(height)).raw("\"/>\n");
        }
    }

    /// A line of steps, and down to 0 at its ends.
    fn outline(&self, height: impl Fn(&Step) -> f64) -> String {
        let (mut path, mut end, mut last) = (String::new(), 0, HIGH);
        for step in &self.steps.steps {
            #[expect(clippy::cast_possible_truncation, reason = "it is within 0 and 1000")]
            let y = HIGH - (height(step).clamp(0.0, 1.0) * HIGH as f64).round() as i64;
            if path.is_empty() {
                path = format!("M{} {HIGH}", self.x(step.start_ms));
            }
            if y != last {
                if end > 0 {
                    path.push_str(&format!("H{}", self.x(step.start_ms)));
                }
                path.push_str(&format!("V{y}"));
            }
            (end, last) = (self.x(step.end_ms), y);
        }
        if !path.is_empty() {
            path.push_str(&format!("H{end}V{HIGH}Z"));
        }
        path
    }

    fn x(&self, ms: i64) -> i64 {
        let lasts = i128::from((self.to_ms - self.from_ms).max(1));
        i64::try_from(i128::from(ms - self.from_ms) * i128::from(WIDE) / lasts).unwrap_or(0).clamp(0, WIDE)
    }

    /// What is shown of a step while it is pointed at. Browsers do that by themselves.
    fn hints(&self, html: &mut Html) {
        html.raw("<g class=\"hints\">");
        for step in &self.steps.steps {
            let (start, end) = (self.x(step.start_ms), self.x(step.end_ms));
            html.raw("<rect x=\"").text(start).raw("\" width=\"").text(end - start);
            html.raw("\" height=\"").text(HIGH).raw("\"><title>").text(self.hint(step)).raw("</title></rect>\n");
        }
        html.raw("</g>");
    }

    fn hint(&self, step: &Step) -> String {
        let mut hint = time(step.start_ms, self.zone);
        hint.push_str(": ");
        hint.push_str(&rate_text(step.rate(&step.total, self.by), self.by));
        for (layer, total) in self.steps.layers.iter().zip(&step.layers) {
            let rate = step.rate(total, self.by);
            if rate > 0.0 {
                hint.push_str(&format!("\n{} {}", layer.name, rate_text(rate, self.by)));
            }
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Total;
    use crate::report::steps::Layer;

    fn steps() -> Steps {
        let total = |octets| Total { octets, packets: octets / 100, flows: 1 };
        let layer = |name: &str, colour| Layer { name: name.to_owned(), colour, total: total(1) };
        let step = |index: i64, tcp: i64, udp: i64| Step {
            start_ms: index * 1000,
            end_ms: index * 1000 + 1000,
            total: total(tcp + udp),
            layers: vec![total(tcp), total(udp)],
        };
        let steps = vec![step(0, 1000, 500), step(1, 0, 0), step(2, 2000, 0), step(3, 2000, 500)];
        Steps { layers: vec![layer("TCP", 0), layer("<b>", 1)], steps }
    }

    fn chart(steps: &Steps, by: Measure) -> String {
        let mut html = Html::default();
        let chart = Chart {
            id: "volume",
            title: "Volume",
            by,
            steps,
            from_ms: 0,
            to_ms: 4000,
            zone: &TimeZone::UTC,
            description: "one & all".to_owned(),
        };
        chart.write(&mut html);
        html.finish()
    }

    #[test]
    fn layers_are_steps_on_top_of_each_other_and_gaps_are_zero() {
        let svg = chart(&steps(), Measure::Octets);
        // 8, 0, 16 and 16 kbit/s below, 4 kbit/s in the first and last step above, of 20.
        let below = "<path class=\"c0\" d=\"M0 1000V600H2500V1000H5000V200H10000V1000Z\"/>";
        let above = "<path class=\"c1\" d=\"M0 1000V400H2500V1000H5000V200H7500V0H10000V1000Z\"/>";
        assert!(svg.find(above).expect("both") < svg.find(below).expect("one"), "{svg}");
        assert!(svg.contains("y=\"25.00%\" dy=\".32em\">15k</text>"), "{svg}");
        assert!(svg.contains("<text class=\"odd\" x=\"25.00%\" y=\"100%\" dy=\"1.6em\">00:00:01</text>"), "{svg}");
    }

    #[test]
    fn names_are_text_and_the_chart_can_be_heard() {
        let svg = chart(&steps(), Measure::Packets);
        assert!(!svg.contains("<b>") && svg.contains("\n&lt;b&gt; 5.00/s</title>"), "{svg}");
        assert!(svg.contains("<desc id=\"volume-text\">one &amp; all</desc>"), "{svg}");
        assert!(svg.contains("aria-labelledby=\"volume-title volume-text\""), "{svg}");
        assert!(svg.contains("<title>1970-01-01 00:00:01: 0/s</title>"), "{svg}");
    }

    #[test]
    fn rates_are_short() {
        let texts = [0.0, 0.0034, 0.034, 9.5, 12.9, 1_234_567.0].map(|rate| rate_text(rate, Measure::Flows));
        assert_eq!(texts, ["0/s", "< 0.01/s", "0.03/s", "9.50/s", "12/s", "1.23M/s"]);
        assert_eq!(rate_text(1_500_000.0, Measure::Octets), "1.50 Mbit/s");
    }
}
