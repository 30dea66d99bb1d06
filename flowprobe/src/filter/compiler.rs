//! An expression into a decision graph.
//!
//! Written from the end: an expression is placed when it is known where to go on if it holds and where if not, so `and`,
//! `or` and `not` are nothing but a choice of targets, and evaluation stops at the first test that decides.

use flowprobe_ebpf::Filter;
use flowprobe_ebpf::filter::{ACCEPT, FilterTest, MAX_TESTS, REJECT};

use super::FilterError;
use super::ast::Expression;
use super::lower::{self, Tests};

/// The graph of `expression`.
pub(super) fn compile(expression: &Expression) -> Result<Filter, FilterError> {
    let mut graph = Graph::default();
    graph.place(expression, Target::Accept, Target::Reject);
    graph.filter()
}

/// Where a jump leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Accept,
    Reject,
    /// The test at this place of [`Graph::tests`].
    Test(usize),
}

/// Tests with their targets, the last one first: a jump leads to what was placed before.
#[derive(Default)]
struct Graph {
    tests: Vec<(FilterTest, Target, Target)>,
}

impl Graph {
    /// Places an expression that goes on at `yes` if it holds and at `no` if not; returns where it begins.
    fn place(&mut self, expression: &Expression, yes: Target, no: Target) -> Target {
        match expression {
            Expression::Is(primitive) => match lower::tests(*primitive) {
                Tests::All(tests) => tests.iter().rev().fold(yes, |next, test| self.test(*test, next, no)),
                Tests::Any(tests) => tests.iter().rev().fold(no, |next, test| self.test(*test, yes, next)),
            },
            Expression::Not(inner) => self.place(inner, no, yes),
            Expression::All(list) => list.iter().rev().fold(yes, |next, part| self.place(part, next, no)),
            Expression::Any(list) => list.iter().rev().fold(no, |next, part| self.place(part, yes, next)),
        }
    }

    fn test(&mut self, test: FilterTest, yes: Target, no: Target) -> Target {
        self.tests.push((test, yes, no));
        Target::Test(self.tests.len() - 1)
    }

    /// The tests in the order in which they are met.
    fn filter(&self) -> Result<Filter, FilterError> {
        let needed = self.tests.len();
        let too_long = FilterError::TooLong { needed };
        if needed > MAX_TESTS {
            return Err(too_long);
        }
        let index = |target| match target {
            Target::Accept => ACCEPT,
            Target::Reject => REJECT,
            Target::Test(place) => u8::try_from(needed - 1 - place).unwrap_or(REJECT),
        };
        let mut filter = Filter { length: u32::try_from(needed).map_err(|_| too_long)?, ..Filter::default() };
        for (slot, (test, yes, no)) in filter.tests.iter_mut().zip(self.tests.iter().rev()) {
            *slot = FilterTest { on_match: index(*yes), otherwise: index(*no), ..*test };
        }
        Ok(filter)
    }
}
