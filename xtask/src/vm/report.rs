//! What a virtual machine says, line by line: the output of test programs, and between them the lines of `init.sh`.

use crate::tally::Outcome;

/// What was said so far.
#[derive(Default)]
pub(super) struct Report {
    outcome: Outcome,
    skipped: String,
    /// The test program that runs, and the failures that were counted before it.
    running: Option<(String, u64)>,
    done: bool,
}

impl Report {
    pub(super) fn read_line(&mut self, line: &str) {
        let Some(said) = line.strip_prefix("vm: ") else {
            self.outcome.read_line(line);
            return;
        };
        match said.split_once(' ').unwrap_or((said, "")) {
            ("start", test) => self.running = Some((test.to_owned(), self.outcome.failed())),
            ("end", ended) => self.end(ended),
            ("skipped", skipped) => self.skipped.extend([skipped, "\n"]),
            ("done", _) => self.done = true,
            _ => {}
        }
    }

    /// A program that fails without a failed test has died.
    fn end(&mut self, ended: &str) {
        let before = self.running.take().map_or(0, |(_, before)| before);
        if !ended.ends_with(" 0") && self.outcome.failed() == before {
            self.outcome.fail(format!("the test program ended badly: {ended}"));
        }
    }

    /// Whether the machine has said all that it had to say.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// How it went; `why` is for a machine that ended before it was done.
    pub(super) fn finish(mut self, why: &str) -> Outcome {
        self.outcome.skipped_themselves(&self.skipped);
        if !self.done {
            let place = self.running.map_or_else(|| "outside of a test".to_owned(), |(test, _)| format!("in {test}"));
            self.outcome.fail(format!("{why}, {place}"));
        }
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(output: &str) -> Report {
        let mut report = Report::default();
        for line in output.lines() {
            report.read_line(line);
        }
        report
    }

    #[test]
    fn counts_failed_tests_and_programs_that_died() {
        let report = report(
            "vm: kernel 6.1.0\n\
             vm: start attach\n\
             test a ... FAILED\n\
             test result: FAILED. 3 passed; 1 failed; 0 ignored\n\
             vm: end attach 101\n\
             vm: start flows\n\
             vm: end flows 137\n\
             vm: skipped attach::b: not installed: tshark\n\
             vm: done\n",
        );
        assert!(report.is_done());
        let outcome = report.finish("");
        assert_eq!(outcome.failed(), 2);
        assert_eq!(outcome.failures(), ["a", "the test program ended badly: flows 137"]);
    }

    #[test]
    fn a_machine_that_falls_silent_has_failed() {
        let report = report("vm: start attach\ntest a ... ok\n");
        assert!(!report.is_done());
        assert_eq!(report.finish("it hung").failures(), ["it hung, in attach"]);
    }
}
