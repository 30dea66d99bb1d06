//! What goes where, by the size of the terminal.

use ratatui::layout::{Rect, Size};

use super::panel::{Panel, Tab};

/// Where things are. What has no room has no height.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) header: Rect,
    pub(super) totals: Rect,
    pub(super) accounting: Rect,
    pub(super) tabs: Rect,
    pub(super) panels: Vec<(Panel, Rect)>,
    pub(super) footer: Rect,
}

/// A terminal on which nothing can be seen is smaller than this.
const LEAST: Size = Size { width: 24, height: 4 };

/// From this on there are totals, tabs and several panels; on smaller ones a line of each and one panel.
const WHOLE: Size = Size { width: 60, height: 14 };

/// From this on the charts of the totals are side by side, and higher than a line.
const SPACIOUS: Size = Size { width: 120, height: 36 };

/// Rows of a panel with its heading: fewer are not worth a panel.
const PANEL: u16 = 4;

/// Columns between panels.
const GAP: u16 = 2;

impl Places {
    /// The places of a terminal's `size`, none where it is too small. `focus` is the panel of the tab that stays where there is
    /// room for one only; `alone` has all of it.
    pub(super) fn of(size: Size, tab: Tab, focus: Panel, alone: Option<Panel>) -> Option<Self> {
        let fits = |least: Size| size.width >= least.width && size.height >= least.height;
        let mut left = Rect::new(0, 0, size.width, size.height);
        let footer = fits(LEAST).then(|| take_bottom(&mut left, 1))?;
        let header = take_top(&mut left, 1);
        if !fits(WHOLE) {
            let panels = vec![(alone.unwrap_or(focus), left)];
            return Some(Self { header, panels, footer, ..Self::default() });
        }
        let totals = take_top(&mut left, if fits(SPACIOUS) { 5 } else { 3 });
        let accounting = take_top(&mut left, 1);
        let tabs = take_top(&mut left, 1);
        let panels = match (alone, tab) {
            (Some(panel), _) => vec![(panel, left)],
            (None, Tab::Overview) => overview(left, focus),
            (None, Tab::Talkers) if left.width >= 110 => beside(left, &[(Panel::Sources, 1), (Panel::Destinations, 1)]),
            (None, Tab::Talkers) => below(left, Panel::Sources, Panel::Destinations, focus),
            (None, Tab::Interfaces) => below(left, Panel::Interfaces, Panel::Accounting, focus),
            (None, Tab::Protocols | Tab::Ports | Tab::Conversations) => vec![(focus, left)],
        };
        Some(Self { header, totals, accounting, tabs, panels, footer })
    }

    /// Rows of a panel, below its heading.
    pub(super) fn rows(&self, panel: Panel) -> usize {
        let found = self.panels.iter().find(|(one, _)| *one == panel);
        found.map_or(0, |(_, place)| usize::from(place.height.saturating_sub(1)))
    }
}

/// All four beside each other, or three above the conversations.
fn overview(place: Rect, focus: Panel) -> Vec<(Panel, Rect)> {
    if place.width >= 190 {
        let four = [(Panel::Sources, 26), (Panel::Protocols, 11), (Panel::Ports, 15), (Panel::Conversations, 45)];
        return beside(place, &four);
    }
    let three = [(Panel::Sources, 10), (Panel::Protocols, 8), (Panel::Ports, 9)];
    let mut left = place;
    let above = take_top(&mut left, place.height / 2);
    take_top(&mut left, gap(place));
    if above.height < PANEL || place.width < 76 {
        return vec![(focus, place)];
    }
    let mut panels = beside(above, &three);
    panels.push((Panel::Conversations, left));
    panels
}

/// Beside each other, as wide as their shares say.
fn beside(place: Rect, panels: &[(Panel, u32)]) -> Vec<(Panel, Rect)> {
    let mut shares: u32 = panels.iter().map(|(_, share)| share).sum();
    let mut left = place;
    let mut places = Vec::new();
    for (panel, share) in panels {
        let gaps = GAP * u16::try_from(panels.len() - places.len() - 1).unwrap_or_default();
        let width = u32::from(left.width.saturating_sub(gaps)) * share / shares;
        let width = u16::try_from(width).unwrap_or(left.width);
        shares -= share;
        places.push((*panel, Rect { width, ..left }));
        let taken = (width + GAP).min(left.width);
        left = Rect { x: left.x + taken, width: left.width - taken, ..left };
    }
    places
}

/// One below the other, where there is room for both.
fn below(place: Rect, one: Panel, other: Panel, focus: Panel) -> Vec<(Panel, Rect)> {
    let mut left = place;
    let above = take_top(&mut left, place.height.div_ceil(2));
    if above.height < PANEL {
        return vec![(focus, place)];
    }
    take_top(&mut left, gap(place));
    vec![(one, above), (other, left)]
}

/// Lines between panels that are one below the other.
const fn gap(place: Rect) -> u16 {
    if place.height >= 2 * PANEL + 4 { 1 } else { 0 }
}

fn take_top(left: &mut Rect, height: u16) -> Rect {
    let height = height.min(left.height);
    let taken = Rect { height, ..*left };
    *left = Rect { y: left.y + height, height: left.height - height, ..*left };
    taken
}

fn take_bottom(left: &mut Rect, height: u16) -> Rect {
    let height = height.min(left.height);
    left.height -= height;
    Rect { y: left.y + left.height, height, ..*left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_or_leaves_the_terminal() {
        for (width, height) in
            [(24, 4), (40, 10), (59, 30), (60, 14), (80, 24), (110, 20), (120, 36), (200, 50), (500, 6)]
        {
            for tab in Tab::ALL {
                for (focus, alone) in
                    tab.panels().iter().map(|panel| (*panel, None)).chain([(tab.panels()[0], Some(Panel::Chosen))])
                {
                    let size = Size { width, height };
                    let places = Places::of(size, tab, focus, alone).expect("large enough");
                    let Places { header, totals, accounting, tabs, panels, footer } = &places;
                    let all = [*header, *totals, *accounting, *tabs, *footer];
                    let all: Vec<Rect> = all
                        .into_iter()
                        .chain(panels.iter().map(|(_, place)| *place))
                        .filter(|place| place.height > 0)
                        .collect();
                    for (at, place) in all.iter().enumerate() {
                        assert!(place.right() <= width && place.bottom() <= height, "{size}: {place}");
                        assert!(all[at + 1..].iter().all(|other| !place.intersects(*other)), "{size} {tab:?}: {all:?}");
                    }
                    assert!(
                        places.rows(alone.unwrap_or(focus)) > 0,
                        "{size} {tab:?}: the panel that has the focus is not there"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_too_small_has_no_places() {
        for (width, height) in [(23, 50), (200, 3), (0, 0)] {
            assert_eq!(Places::of(Size { width, height }, Tab::Overview, Panel::Sources, None), None);
        }
    }
}
