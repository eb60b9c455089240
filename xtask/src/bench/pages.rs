//! The tables of `bench/RESULTS.md` and the chart in `docs/`: written from the records, and checked against them.

use std::fs;
use std::io;
use std::path::Path;

use super::record::Record;
use super::scenario::Set;
use super::{chart, path, tables};
use crate::report::Report;
use crate::tally::Tally;
use crate::workspace;

const RESULTS: &str = "bench/RESULTS.md";
const CHART: &str = "docs/speed.svg";
const END: &str = "<!-- end of the runs -->";

/// Writes the tables and the chart of the recorded runs.
pub(crate) fn write(report: &mut Report) {
    report.step("tables and chart", || {
        for (page, text) in pages()? {
            println!("{page}");
            fs::write(workspace::root().join(page), text)?;
        }
        Ok(Tally { passed: 2, failed: 0 })
    });
}

/// Returns what is wrong with a page: anything but the tables or the chart of the records. The check hangs at the records, not at the pages.
pub(crate) fn check(file: &Path) -> Option<String> {
    if file != Path::new(RESULTS) {
        return None;
    }
    let pages = match pages() {
        Ok(pages) => pages,
        Err(error) => return Some(error.to_string()),
    };
    let differs = |(page, text): &(&str, String)| !fs::read_to_string(workspace::root().join(page)).is_ok_and(|it| it == *text);
    let differing: Vec<_> = pages.iter().filter(|page| differs(page)).map(|(page, _)| *page).collect();
    (!differing.is_empty()).then(|| format!("{} differ from bench/runs: `cargo xtask chart` writes them", differing.join(" and ")))
}

/// Returns both files as the records have them.
fn pages() -> io::Result<[(&'static str, String); 2]> {
    let mut results = fs::read_to_string(workspace::root().join(RESULTS))?;
    for set in Set::ALL {
        let tables = match recorded(set)? {
            Some(record) => tables::of(set, &record),
            None => format!("No run is recorded yet. `cargo xtask bench {} --record` records one.\n", set.name()),
        };
        results = replaced(&results, set, &tables)?;
    }
    let record = recorded(Set::Servers)?.ok_or_else(|| io::Error::other("there are no runs of servers to draw a chart of"))?;
    Ok([(RESULTS, results), (CHART, chart::draw(&record))])
}

fn recorded(set: Set) -> io::Result<Option<Record>> {
    let path = path(set, true);
    let broken = |error: String| io::Error::other(format!("{}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) => Record::read(&text).map(Some).map_err(broken),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(error.to_string())),
    }
}

/// Returns the page with these tables between the marks of their set.
fn replaced(page: &str, set: Set, tables: &str) -> io::Result<String> {
    let begin = format!("<!-- the runs of {} -->\n", set.name());
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| io::Error::other(format!("{RESULTS} has no marks for the runs of {}", set.name())))?;
    Ok(format!("{before}{begin}\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_written_between_their_marks() {
        let page = format!("# A\n<!-- the runs of servers -->\nold\n{END}\n\nB\n<!-- the runs of clusters -->\n{END}\n");
        let once = replaced(&page, Set::Servers, "new\n").unwrap();
        assert_eq!(once, format!("# A\n<!-- the runs of servers -->\n\nnew\n\n{END}\n\nB\n<!-- the runs of clusters -->\n{END}\n"));
        assert_eq!(replaced(&once, Set::Servers, "new\n").unwrap(), once);
        assert!(replaced(&page, Set::Balancers, "new\n").is_err());
    }
}
