//! Runs commands as steps, counts their tests and prints the summary.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::tally::{Counter, Tally};

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    time: Duration,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// The step's tests. A check without tests counts as one.
    Ran(Tally),
    /// The step could not run here, for this reason.
    Skipped(String),
}

impl Report {
    /// Runs a command that passes or fails as a whole, like a check or a build.
    pub(crate) fn check(&mut self, name: &str, command: &mut Command) -> bool {
        self.step(name, || Ok(verdict(show(command).status()?.success())))
    }

    /// Runs a command that prints its test counts. `counter` reads them from each line of its output.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command, counter: Counter) -> bool {
        self.step(name, || run_counted(show(command), counter, &mut io::stdout().lock()))
    }

    /// Runs a piece of this program as a step. An error counts as one failure.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> io::Result<Tally>) -> bool {
        println!("\n=== {name}");
        let start = Instant::now();
        let tally = run().unwrap_or_else(|error| {
            eprintln!("{name}: {error}");
            verdict(false)
        });
        self.steps.push(Step { name: name.into(), time: start.elapsed(), outcome: Outcome::Ran(tally) });
        tally.failed == 0
    }

    /// Notes, and says aloud, that a step can't be run here.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        let bar = "!".repeat(100);
        println!("\n{bar}\n!!! SKIPPED: {name}: {why}\n{bar}");
        self.steps.push(Step { name: name.into(), time: Duration::ZERO, outcome: Outcome::Skipped(why.into()) });
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        for step in &self.steps {
            if let Outcome::Ran(tally) = step.outcome {
                total.add(tally);
            }
        }
        total
    }

    /// Returns true if nothing failed and something ran.
    pub(crate) fn is_good(&self) -> bool {
        let Tally { passed, failed } = self.total();
        failed == 0 && passed > 0
    }

    /// Prints one line for each step, and the sum as the last line.
    pub(crate) fn print(&self) {
        println!("\n=== summary");
        for Step { name, time, outcome } in &self.steps {
            let time = time.as_secs_f32();
            match outcome {
                Outcome::Ran(Tally { passed, failed: 0 }) => println!("{name:<32} {time:>7.1} s  ok       {passed} passed"),
                Outcome::Ran(Tally { passed, failed }) => println!("{name:<32} {time:>7.1} s  FAILED   {passed} passed, {failed} failed"),
                Outcome::Skipped(why) => println!("{name:<32} {:>7} s  SKIPPED  {why}", "-"),
            }
        }
        let Tally { passed, failed } = self.total();
        println!("{passed} passed, {failed} failed");
    }
}

/// Returns one check as a tally.
fn verdict(passed: bool) -> Tally {
    Tally { passed: passed.into(), failed: (!passed).into() }
}

/// Prints the command, so that a reader of the output can repeat it.
fn show(command: &mut Command) -> &mut Command {
    print!("$ {}", command.get_program().to_string_lossy());
    for arg in command.get_args().map(|arg| arg.to_string_lossy()) {
        if arg.contains(' ') { print!(" '{arg}'") } else { print!(" {arg}") }
    }
    println!();
    command
}

/// Copies the output to `out` line by line, and counts its tests. A command that fails without a failed test counts as
/// one failure: it did not compile, or crashed.
fn run_counted(command: &mut Command, counter: Counter, out: &mut impl Write) -> io::Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            tally.add(counter(&String::from_utf8_lossy(&line)));
            out.write_all(&line)?;
            out.write_all(b"\n")?;
        }
    }
    let passed = child.wait()?.success();
    // A success without a single test also counts as a failure.
    if tally.failed == 0 && (!passed || tally.passed == 0) {
        tally.failed = 1;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally;

    fn run(script: &str) -> Tally {
        run_counted(Command::new("sh").args(["-c", script]), tally::acceptance, &mut io::sink()).unwrap()
    }

    #[test]
    fn counts_tests_in_command_output() {
        assert_eq!(run("echo '3 passed, 2 failed'; exit 1"), Tally { passed: 3, failed: 2 });
    }

    #[test]
    fn command_that_crashes_is_a_failure() {
        assert_eq!(run("echo '3 passed, 0 failed'; exit 1"), Tally { passed: 3, failed: 1 });
        assert_eq!(run("exit 101"), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn command_without_tests_is_a_failure() {
        assert_eq!(run("exit 0"), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn empty_report_is_a_failure() {
        let mut report = Report::default();
        report.skip("all of it", "no reason");
        assert!(!report.is_good());
    }
}
