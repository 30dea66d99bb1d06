//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::view::View;
use super::{App, Chosen, Effect, Moment, Window};
use crate::top::api::is_shown;
use crate::top::panel::{Panel, Tab};

/// Characters of a filter at most.
const LONGEST_FILTER: usize = 100;

impl App {
    pub(super) fn on_key(&mut self, key: KeyEvent, now: Moment) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.on_control(key.code);
        }
        if key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META) {
            return Effect::None;
        }
        if self.help {
            // Whatever is pressed, one wants to go on.
            self.help = false;
            return if key.code == KeyCode::Char('q') { Effect::Leave } else { Effect::None };
        }
        if self.typing && self.on_typed(key.code, now) {
            return Effect::None;
        }
        self.on_moved(key.code);
        match key.code {
            KeyCode::Char('q') => return Effect::Leave,
            KeyCode::Char('?') => self.help = true,
            KeyCode::Char('/') => {
                self.typing = true;
                self.asking.hurry(now.at);
            }
            KeyCode::Char(' ') => self.pause(now),
            KeyCode::Char('w') => {
                self.window = if self.window == Window::Short { Window::Long } else { Window::Short };
                self.asking.hurry(now.at);
            }
            KeyCode::Esc => self.back(now),
            KeyCode::Enter => self.choose(now),
            _ => {}
        }
        Effect::None
    }

    fn on_control(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char('c') => return Effect::Leave,
            KeyCode::Char('l') => return Effect::Repaint,
            KeyCode::Char('u') if self.typing => self.filter.clear(),
            _ => {}
        }
        Effect::None
    }

    /// While a filter is typed; whether the key was for it.
    fn on_typed(&mut self, code: KeyCode, now: Moment) -> bool {
        match code {
            KeyCode::Char(typed) if is_shown(typed) => {
                if self.filter.chars().count() < LONGEST_FILTER {
                    self.filter.push(typed);
                }
            }
            KeyCode::Char(_) => {}
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => self.clear_filter(now),
            _ => return false,
        }
        true
    }

    /// Keys that select something.
    fn on_moved(&mut self, code: KeyCode) {
        let panels = self.tab.panels().len();
        let focus = &mut self.focus[self.tab.number()];
        match code {
            KeyCode::Char(digit @ '1'..='6') => {
                let number = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                self.turn_to(Tab::default().further(number.unwrap_or(1) - 1));
            }
            KeyCode::Tab => self.turn_to(self.tab.further(1)),
            KeyCode::BackTab => self.turn_to(self.tab.further(Tab::ALL.len() - 1)),
            KeyCode::Left if self.chosen.is_none() => *focus = (*focus + panels - 1) % panels,
            KeyCode::Right if self.chosen.is_none() => *focus = (*focus + 1) % panels,
            KeyCode::Char('s') => self.in_view(View::sort_next),
            KeyCode::Char('r') => self.in_view(View::reverse),
            KeyCode::Up => self.in_view(|view| view.up(1)),
            KeyCode::Down => self.in_view(|view| view.down(1)),
            KeyCode::PageUp => self.in_view(|view| view.up(view.page())),
            KeyCode::PageDown => self.in_view(|view| view.down(view.page())),
            KeyCode::Home => self.in_view(|view| view.select(0)),
            KeyCode::End => self.in_view(|view| view.select(usize::MAX)),
            _ => {}
        }
    }

    fn in_view(&mut self, change: impl FnOnce(&mut View)) {
        let focused = self.focused();
        if let Some(view) = self.views.get_mut(&focused) {
            change(view);
        }
    }

    fn turn_to(&mut self, tab: Tab) {
        self.forget_choice();
        self.tab = tab;
    }

    fn pause(&mut self, now: Moment) {
        self.paused = if self.paused.is_some() { None } else { Some(now) };
        self.asking.hurry(now.at);
    }

    /// Takes back what was done last: the filter, or the choice.
    fn back(&mut self, now: Moment) {
        if self.filter.is_empty() { self.forget_choice() } else { self.clear_filter(now) }
    }

    fn clear_filter(&mut self, now: Moment) {
        self.filter.clear();
        self.typing = false;
        self.asking.hurry(now.at);
    }

    fn forget_choice(&mut self) {
        if let Some(chosen) = self.chosen.take() {
            self.filter = chosen.filter;
        }
    }

    /// Shows the conversations of the selected row.
    fn choose(&mut self, now: Moment) {
        let selected = self.views.get(&self.focused()).and_then(View::selected);
        let Some((choice, name)) = selected.and_then(|row| Some((row.key.choice()?, row.cells.first()?.text.clone())))
        else {
            return;
        };
        self.chosen = Some(Chosen { choice, name, filter: std::mem::take(&mut self.filter) });
        self.views.remove(&Panel::Chosen);
        self.asking.hurry(now.at);
    }
}
