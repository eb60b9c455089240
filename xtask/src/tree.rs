//! The packages that the library `sociable` brings into an application.

use std::collections::BTreeSet;
use std::io;

use crate::report::Report;
use crate::rust::cargo;
use crate::tally::Tally;

/// The most packages beyond those of actix-web, without default features.
const MOST: usize = 40;

/// Packages of programs, which no library pulls.
const PROGRAMS_ONLY: [&str; 4] = ["clap", "toml", "tracing-subscriber", "tracing-appender"];

/// Checks the dependencies of the library.
pub(crate) fn check(report: &mut Report) {
    report.step("packages of the library", || {
        let (all, least) = (tree(&["--all-features"])?, tree(&["--no-default-features"])?);
        let faults = faults(&all, &least);
        faults.iter().for_each(|fault| eprintln!("{fault}"));
        Ok(Tally { passed: u64::from(faults.is_empty()), failed: faults.len() as u64 })
    });
}

/// Returns the faults of the trees with all features and without default features.
fn faults(all: &str, least: &str) -> Vec<String> {
    let names: BTreeSet<_> = packages(all).into_iter().filter_map(|package| package.split(' ').next()).collect();
    let pulled = PROGRAMS_ONLY.iter().filter(|name| names.contains(*name));
    let mut faults: Vec<_> = pulled.map(|name| format!("the library pulls {name}: move the code into a program")).collect();
    let web = below(least, "actix-web");
    let more = packages(least).difference(&packages(&web)).count();
    println!("with all features {} packages, without default features {}", packages(all).len(), packages(least).len());
    println!("of these {more} besides actix-web with the same features");
    if web.is_empty() {
        faults.push("actix-web is no dependency of the library: mend this check".into());
    } else if more > MOST {
        faults.push(format!("the library pulls {more} packages besides actix-web, and at most {MOST} are allowed"));
    }
    faults
}

/// Returns the library's tree with these features. The line of a package is its depth, name and version.
fn tree(features: &[&str]) -> io::Result<String> {
    let fixed = ["tree", "--package", "sociable", "--edges", "normal,build", "--prefix", "depth", "--no-dedupe", "--format", " {p}"];
    let output = cargo(&fixed).args(features).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the packages of a tree, each as name and version.
fn packages(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(entry).map(|(_, package)| package).collect()
}

/// Returns the part of a tree that is a package and its dependencies.
fn below(tree: &str, name: &str) -> String {
    let mut part = String::new();
    let mut top = None;
    for line in tree.lines() {
        let Some((depth, package)) = entry(line) else { continue };
        match top {
            Some(top) if depth <= top => break,
            Some(_) => {}
            None if package.split(' ').next() == Some(name) => top = Some(depth),
            None => continue,
        }
        part += &format!("{line}\n");
    }
    part
}

/// Returns the depth of a line, and its package: `2 quote v1.0.47 (proc-macro)` is depth 2, `quote v1.0.47`.
fn entry(line: &str) -> Option<(usize, &str)> {
    let (depth, package) = line.split_once(' ')?;
    Some((depth.parse().ok()?, package.split(" (").next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str =
        "0 sociable v0.1.0 (/here)\n1 bytes v1.0.0\n1 actix-web v4.0.0\n2 bytes v1.0.0\n2 quote v1.0.0 (proc-macro)\n1 slab v0.4.0\n";

    #[test]
    fn packages_of_actix_web_are_not_counted() {
        assert_eq!(packages(TREE).len(), 5);
        assert_eq!(packages(&below(TREE, "actix-web")), BTreeSet::from(["actix-web v4.0.0", "bytes v1.0.0", "quote v1.0.0"]));
        assert_eq!(faults(TREE, TREE), Vec::<String>::new());
    }

    #[test]
    fn packages_of_programs_and_too_many_are_refused() {
        let with_clap = format!("{TREE}1 clap v4.0.0\n");
        assert!(faults(&with_clap, TREE)[0].contains("clap"));
        let many: String = (0..=MOST).map(|at| format!("1 a{at} v1.0.0\n")).collect();
        assert!(faults(TREE, &format!("{TREE}{many}"))[0].contains("at most 40"));
        assert!(faults(TREE, "0 sociable v0.1.0\n")[0].contains("mend this check"));
    }
}
