//! Text out of the network or out of files, as it may be shown.

/// Octets of a name or description.
const LONGEST: usize = 255;

/// Text without the space around it, without control characters, and not too long; `None` where nothing is left.
#[must_use]
pub fn shown(text: &str) -> Option<String> {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut clean: String = text.trim().chars().take(LONGEST).map(shown).collect();
    // Many take more than one octet, replacements three.
    clean.truncate(clean.floor_char_boundary(LONGEST));
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_has_no_control_characters() {
        assert_eq!(shown(" eth0\u{7}\n").as_deref(), Some("eth0\u{fffd}"));
        for nothing in ["", " \t\n"] {
            assert_eq!(shown(nothing), None);
        }
        for (one, fit) in [("x", 255), ("ä", 127), ("\u{1}", 85)] {
            let long = shown(&one.repeat(100_000)).unwrap_or_default();
            assert_eq!(long.chars().count(), fit, "{one:?}");
        }
    }
}
