//! A line through days that a few odd ones do not bend.

/// Days from which on only those of the same weekday are compared, so that weekends are no decline.
const WEEKS_FROM: f64 = 20.0;

/// 95 % of a normal distribution lie within so many standard deviations.
const DEVIATIONS: f64 = 1.96;

/// The line: Theil's and Sen's, the median of the slopes between all pairs of points (Sen, 1968), with the range in which the slope is by a
/// confidence of 95 %, from the variance of Kendall's statistic; from three weeks on the seasonal form (Hirsch, Slack and Smith, 1982).
#[derive(Debug, PartialEq)]
pub(super) struct Trend {
    /// Lowest, likeliest and highest, per day.
    pub(super) slopes: [f64; 3],
    /// At day 0, such that three of four days lie below the line.
    base: f64,
}

impl Trend {
    /// Of points by day, in order; none of fewer than three.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "pairs of at most 90 days"
    )]
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let is_weekly = last.0 - first.0 >= WEEKS_FROM;
        let mut slopes = Vec::new();
        for (index, (day, value)) in points.iter().enumerate() {
            let later = points[index + 1..]
                .iter()
                .filter(|(other, _)| other > day && (!is_weekly || (other - day) % 7.0 == 0.0));
            slopes.extend(later.map(|(other, another)| (another - value) / (other - day)));
        }
        if slopes.len() < 3 {
            return None;
        }
        slopes.sort_by(f64::total_cmp);
        let variance = |count: usize| {
            let n = count as f64;
            n * (n - 1.0) * (2.0 * n + 5.0) / 18.0
        };
        let whole: f64 = if is_weekly {
            (0..7)
                .map(|weekday| {
                    variance(points.iter().filter(|(day, _)| day.rem_euclid(7.0) == f64::from(weekday)).count())
                })
                .sum()
        } else {
            variance(points.len())
        };
        let margin = ((slopes.len() as f64 - DEVIATIONS * whole.sqrt()) / 2.0).floor().max(0.0) as usize;
        let slopes = [slopes[margin], quantile(&slopes, 0.5), slopes[slopes.len() - 1 - margin]];
        let mut above: Vec<f64> = points.iter().map(|(day, value)| value - slopes[1] * day).collect();
        above.sort_by(f64::total_cmp);
        Some(Self { slopes, base: quantile(&above, 0.75) })
    }

    /// On a day.
    pub(super) fn at(&self, day: f64) -> f64 {
        self.base + self.slopes[1] * day
    }
}

/// The value below which such a part of sorted values lies, between two of them where need be.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into few values"
)]
pub(super) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len().saturating_sub(1)) as f64;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    let low = at(place.floor() as usize);
    (at(place.ceil() as usize) - low).mul_add(place.fract(), low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slopes(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
        let points: Vec<(f64, f64)> = (20_000..).map(f64::from).zip(values).collect();
        Trend::of(&points).expect("a trend").slopes
    }

    #[test]
    fn a_few_odd_days_do_not_bend_the_line() {
        let clean = (0..30).map(|day| 100.0 + 2.0 * f64::from(day));
        assert_eq!(slopes(clean.clone()), [2.0; 3]);
        let odd = clean.enumerate().map(|(day, value)| if day == 5 || day == 29 { 5000.0 } else { value });
        let [low, mid, high] = slopes(odd);
        assert!((mid - 2.0).abs() < 0.1 && low > 1.0 && low <= mid && mid <= high, "{low} {mid} {high}");
    }

    #[test]
    fn weekends_are_no_trend() {
        for (count, begins) in (7..40).flat_map(|count| (0..7).map(move |begins| (count, begins))) {
            let [low, mid, _] = slopes((0..count).map(|day| if (day + begins) % 7 < 2 { 10.0 } else { 100.0 }));
            assert!(low <= 0.0 && mid.abs() < 20.0, "{count} days from weekday {begins}: {low} {mid}");
        }
        let [low, mid, high] = slopes((0..35).map(|day| if day % 7 < 2 { 10.0 } else { 100.0 } + f64::from(day)));
        assert_eq!([low, mid, high], [1.0; 3]);
    }

    #[test]
    fn noise_is_no_trend() {
        let mut random = fastrand::Rng::with_seed(8);
        let found = (0..400).filter(|_| slopes((0..10).map(|_| random.f64()))[0] > 0.0).count();
        assert!(found <= 24, "{found} of 400, of which 2.5 % are to be expected");
    }
}
