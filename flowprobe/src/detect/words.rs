//! Numbers in sentences.

/// A count with its noun, which takes an `s` where there are several.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix("ss"), noun.strip_suffix('y')) {
        (1, ..) => format!("1 {noun}"),
        (_, Some(_), _) => format!("{} {noun}es", grouped(count)),
        (_, _, Some(stem)) => format!("{} {stem}ies", grouped(count)),
        _ => format!("{} {noun}s", grouped(count)),
    }
}

/// A count to the last digit.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in the largest unit of which there are two or more, seconds from one on, to three digits.
#[expect(clippy::cast_precision_loss, reason = "three digits")]
pub(crate) fn span(ms: i64) -> String {
    if ms <= 0 {
        return "a moment".to_owned();
    }
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    match units.into_iter().find(|(unit, _)| ms >= if *unit == 1000 { *unit } else { 2 * unit }) {
        Some((unit, name)) => {
            let number = ms as f64 / unit as f64;
            if number < 10.0 && ms % unit != 0 { format!("{number:.1} {name}") } else { format!("{number:.0} {name}") }
        }
        None => format!("{ms} ms"),
    }
}

/// Octets, in decimal units.
#[expect(clippy::cast_precision_loss, reason = "three digits")]
pub(crate) fn octets(octets: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    match units.into_iter().find(|(unit, _)| octets >= *unit) {
        Some((unit, name)) => {
            let number = octets as f64 / unit as f64;
            if number < 10.0 {
                format!("{number:.2} {name}")
            } else if number < 100.0 {
                format!("{number:.1} {name}")
            } else {
                format!("{number:.0} {name}")
            }
        }
        None => format!("{octets} B"),
    }
}

/// Some of a list, and how many more there are.
pub(crate) fn listed<T: ToString>(items: &[T], total: u64) -> String {
    let shown: Vec<String> = items.iter().take(5).map(ToString::to_string).collect();
    let more = total.saturating_sub(shown.len() as u64);
    if more == 0 { shown.join(", ") } else { format!("{} and {} more", shown.join(", "), grouped(more)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 1999, 2000, 14_200, 119_000, 120_000, 7_200_000, 172_800_000].map(span),
            ["a moment", "2.0 s", "2 s", "14 s", "119 s", "2 min", "2 h", "2 d"]
        );
        assert_eq!([999, 1000, 12_345, 9_999_999_999].map(octets), ["999 B", "1.00 kB", "12.3 kB", "10.00 GB"]);
        assert_eq!(
            [counted(1, "address"), counted(2, "address"), counted(1200, "query"), counted(3, "port")],
            ["1 address", "2 addresses", "1,200 queries", "3 ports"]
        );
        assert_eq!(listed(&[22, 80], 2), "22, 80");
        assert_eq!(listed(&[1, 2, 3, 4, 5, 6], 512), "1, 2, 3, 4, 5 and 507 more");
    }
}
