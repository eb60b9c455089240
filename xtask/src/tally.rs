//! Counts tests by what their runners print.

/// The numbers of passed and failed tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// A parser of a runner's counts: from one line of its output to the tests of this line.
pub(crate) type Counter = fn(&str) -> Tally;

/// `test result: ok. 3 passed; 1 failed; 0 ignored; …`, once a test binary.
pub(crate) fn cargo(line: &str) -> Tally {
    let Some(result) = line.strip_prefix("test result: ") else { return Tally::default() };
    let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
    Tally { passed: number_before(counts, " passed"), failed: number_before(counts, " failed") }
}

/// `ℹ pass 3`, `ℹ fail 1` and `ℹ cancelled 0`, once a run.
pub(crate) fn node(line: &str) -> Tally {
    let Some(summary) = line.strip_prefix("ℹ ") else { return Tally::default() };
    let count = |name| summary.strip_prefix(name).and_then(|rest| rest.trim().parse().ok()).unwrap_or(0);
    // A test that was cancelled showed nothing, so it did not pass.
    Tally { passed: count("pass "), failed: count("fail ") + count("cancelled ") }
}

/// `test_name (module.Class.test_name) ... ok`, once a test. A subtest has a line of its own only if it failed.
pub(crate) fn python(line: &str) -> Tally {
    match line.rsplit_once(" ... ").map(|(_, outcome)| outcome) {
        Some("ok") => Tally { passed: 1, failed: 0 },
        Some("FAIL" | "ERROR") => Tally { passed: 0, failed: 1 },
        _ => Tally::default(),
    }
}

/// `1 failed, 33 passed in 6.29s`, the last line of pytest. An error is a test that could not run.
pub(crate) fn pytest(line: &str) -> Tally {
    let Some((counts, seconds)) = line.trim_matches(['=', ' ']).rsplit_once(" in ") else { return Tally::default() };
    let is_count = |count: &str| count.split_once(' ').is_some_and(|(number, _)| number.parse::<u64>().is_ok());
    if !seconds.starts_with(|first: char| first.is_ascii_digit()) || !counts.split(", ").all(is_count) {
        return Tally::default();
    }
    Tally { passed: number_before(counts, " passed"), failed: number_before(counts, " failed") + number_before(counts, " error") }
}

/// `76 passed, 2 failed`, the last line of the acceptance cases.
pub(crate) fn acceptance(line: &str) -> Tally {
    let (Some((passed, rest)), Some(_)) = (line.split_once(" passed, "), line.strip_suffix(" failed")) else { return Tally::default() };
    match (passed.parse(), rest.trim_end_matches(" failed").parse()) {
        (Ok(passed), Ok(failed)) => Tally { passed, failed },
        _ => Tally::default(),
    }
}

/// `engine.io v4   24/25`, once an official suite.
pub(crate) fn official(line: &str) -> Tally {
    let last = line.rsplit(' ').next().unwrap_or_default();
    let Some((passed, all)) = last.split_once('/') else { return Tally::default() };
    match (passed.parse::<u64>(), all.parse::<u64>()) {
        (Ok(passed), Ok(all)) if passed <= all => Tally { passed, failed: all - passed },
        _ => Tally::default(),
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    text.find(word).and_then(|end| text[..end].rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Tally = Tally { passed: 0, failed: 0 };

    #[test]
    fn counts_cargo() {
        assert_eq!(
            cargo("test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s"),
            Tally { passed: 12, failed: 3 }
        );
        assert_eq!(cargo("test tests::counts_cargo ... ok"), NOTHING);
    }

    #[test]
    fn counts_node() {
        assert_eq!(node("ℹ pass 65"), Tally { passed: 65, failed: 0 });
        assert_eq!(node("ℹ fail 4"), Tally { passed: 0, failed: 4 });
        assert_eq!(node("ℹ cancelled 2"), Tally { passed: 0, failed: 2 });
        assert_eq!(node("ℹ tests 69"), NOTHING);
        assert_eq!(node("✔ a client may pass 3 rooms"), NOTHING);
    }

    #[test]
    fn counts_python() {
        assert_eq!(python("test_an_echo (test_client.Json.test_an_echo) ... ok"), Tally { passed: 1, failed: 0 });
        assert_eq!(python("setUpClass (test_client.Json) ... ERROR"), Tally { passed: 0, failed: 1 });
        assert_eq!(python("  test_an_echo (test_client.Json.test_an_echo) (name='a') ... FAIL"), Tally { passed: 0, failed: 1 });
        assert_eq!(python("Ran 23 tests in 12.903s"), NOTHING);
        assert_eq!(python("OK"), NOTHING);
    }

    #[test]
    fn counts_pytest() {
        assert_eq!(pytest("34 passed in 6.22s"), Tally { passed: 34, failed: 0 });
        assert_eq!(pytest("=== 2 failed, 32 passed, 1 error in 61.20s (0:01:01) ==="), Tally { passed: 32, failed: 3 });
        assert_eq!(pytest("tests/test_pages.py ......                     [ 17%]"), NOTHING);
        assert_eq!(pytest("waited 3 s in vain, 4 passed in a row"), NOTHING);
    }

    #[test]
    fn counts_acceptance() {
        assert_eq!(acceptance("76 passed, 2 failed"), Tally { passed: 76, failed: 2 });
        assert_eq!(acceptance("protocol       11/11"), NOTHING);
    }

    #[test]
    fn counts_official() {
        assert_eq!(official("engine.io v4   24/25"), Tally { passed: 24, failed: 1 });
        assert_eq!(official("  FAILED engine.io v4: answers in text/plain"), NOTHING);
        assert_eq!(official("    expected 3/2"), NOTHING);
    }
}
