//! Colours, of the sixteen that every terminal has in its user's own shades; where there may be none, other ways to stand out.

use ratatui::style::{Color, Modifier, Style};

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colour: bool,
}

impl Look {
    fn coloured(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colour { style.fg(colour) } else { style }
    }

    pub(super) const fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Not the ninth colour: some have chosen it as the one behind everything.
    pub(super) const fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green, Modifier::empty())
    }

    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow, Modifier::BOLD)
    }

    pub(super) fn alarm(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD | Modifier::REVERSED)
    }

    /// What the user has brought about and might forget.
    pub(super) fn notice(self) -> Style {
        self.coloured(Color::Yellow, Modifier::REVERSED)
    }

    pub(super) fn chosen(self) -> Style {
        self.coloured(Color::Cyan, Modifier::BOLD | Modifier::REVERSED)
    }

    /// The heading of a table; of the one that the keys are for.
    pub(super) fn heading(self, focused: bool) -> Style {
        if focused {
            self.coloured(Color::Cyan, Modifier::BOLD | Modifier::UNDERLINED)
        } else {
            self.coloured(Color::Cyan, Modifier::UNDERLINED)
        }
    }

    pub(super) const fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A chart, one of three.
    pub(super) fn chart(self, number: usize) -> Style {
        let colours = [Color::Cyan, Color::Green, Color::Magenta];
        self.coloured(colours[number % colours.len()], Modifier::empty())
    }
}
