//! Text in so many columns, and rows of numbers as little bars.

use std::iter;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::api::Series;

/// Columns that `text` takes.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// `text` in at most so many columns: its middle is left out, since addresses differ at both ends.
pub(super) fn cut(text: &str, columns: u16) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let begin = beginning(text.chars(), room - room / 2);
    let end: String = beginning(text.chars().rev(), room / 2).chars().rev().collect();
    format!("{begin}…{end}")
}

/// `text` in at most so many columns: its end is left out.
pub(super) fn cut_end(text: &str, columns: u16) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    format!("{}…", beginning(text.chars(), room))
}

/// What of `chars` fits into so many columns.
fn beginning(chars: impl Iterator<Item = char>, columns: u16) -> String {
    let mut left = usize::from(columns);
    let fits = |c: &char| {
        let columns = c.width().unwrap_or(0);
        let fits = columns <= left;
        left = left.saturating_sub(columns);
        fits
    };
    chars.take_while(fits).collect()
}

/// Amounts as rates: those of the last points, at most `columns`. Where there are more points, each column has the average rate
/// of several, and always of the same ones: columns move, and do not flicker.
pub(super) fn rates(series: &Series, amounts: &[u64], columns: u16) -> Vec<f64> {
    let times = iter::zip(&series.milliseconds, &series.seconds);
    let points: Vec<(u64, f64, u64)> = iter::zip(times, amounts).map(|((ms, s), amount)| (*ms, *s, *amount)).collect();
    let each = 1000 * points.len().div_ceil(usize::from(columns.max(1))).max(1) as u64;
    let rates = points.chunk_by(|(one, ..), (other, ..)| one / each == other / each).map(|column| {
        let seconds: f64 = column.iter().map(|(_, seconds, _)| seconds).sum();
        #[expect(clippy::cast_precision_loss, reason = "a bar has eight heights")]
        let amount: f64 = column.iter().map(|(.., amount)| *amount as f64).sum();
        if seconds > 0.0 { amount / seconds } else { 0.0 }
    });
    let mut rates: Vec<f64> = rates.collect();
    rates.drain(..rates.len().saturating_sub(usize::from(columns)));
    rates
}

/// Rates as bars of one row, as high as the largest of them.
pub(super) fn bars(rates: &[f64]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = rates.iter().copied().fold(0.0, f64::max);
    let bar = |rate: &f64| {
        let eighths = if most > 0.0 { (rate / most * 8.0).ceil() } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 8")]
        let eighths = eighths.clamp(0.0, 8.0) as usize;
        BARS[eighths]
    };
    rates.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_the_columns_it_takes() {
        for (text, columns, expected) in [
            ("10.0.0.1", 8, "10.0.0.1"),
            ("2001:db8::1:443", 9, "2001…:443"),
            ("東京都庁", 8, "東京都庁"),
            ("東京都庁", 7, "東…庁"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ] {
            let cut = cut(text, columns);
            assert_eq!(cut, expected, "{text:?} in {columns}");
            assert!(width(&cut) <= columns);
        }
        assert_eq!(cut_end("no answer for 12 s", 10), "no answer…");
        assert_eq!(cut_end("東京", 3), "東…");
    }

    #[test]
    fn rates_are_those_of_the_seconds_that_points_have() {
        let series = |milliseconds: &[u64], seconds: &[f64]| Series {
            milliseconds: milliseconds.to_vec(),
            seconds: seconds.to_vec(),
            ..Series::default()
        };
        let uneven = series(&[10_000, 11_000, 13_000], &[1.0, 2.0, 1.0]);
        assert_eq!(rates(&uneven, &[10, 20, 30], 10), [10.0, 10.0, 30.0]);
        // Two points a column, which stay together when others come.
        let five = series(&[10_000, 11_000, 12_000, 13_000, 14_000], &[1.0; 5]);
        assert_eq!(rates(&five, &[10, 20, 30, 50, 7], 3), [15.0, 40.0, 7.0]);
        let next = series(&[11_000, 12_000, 13_000, 14_000, 15_000], &[1.0; 5]);
        assert_eq!(rates(&next, &[20, 30, 50, 7, 9], 3), [20.0, 40.0, 8.0]);
        assert_eq!(rates(&series(&[1], &[0.0]), &[5], 3), [0.0]);
        assert!(rates(&Series::default(), &[5], 0).is_empty());
    }

    #[test]
    fn bars_are_as_high_as_the_largest() {
        assert_eq!(bars(&[0.0, 1.0, 50.0, 100.0]), " ▁▄█");
        assert_eq!(bars(&[0.0, 0.0]), "  ");
        assert_eq!(bars(&[f64::NAN]), " ");
    }
}
