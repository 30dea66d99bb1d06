//! Text out of the network or out of files, as it may be shown.

/// Octets of a name or description.
const LONGEST: usize = 255;

/// Text without the space around it, without control characters, and not too long; `None` where nothing is left.
#[must_use]
pub fn shown(text: &str) -> Option<String> {
    let mut clean: String =
        text.trim().chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    // Replacements take three octets each.
    clean.truncate(clean.floor_char_boundary(LONGEST));
    (!clean.is_empty()).then_some(clean)
}
