//! `cargo xtask release`: checks what a release needs, then publishes the packages in their order.

mod changelog;
mod rules;

use std::process::Command;
use std::{fs, io};

use crate::packages::{self, Package};
use crate::report::Report;
use crate::rust::cargo;
use crate::tally::Tally;
use crate::{package, workspace};

/// Checks everything, and publishes unless this is a dry run. A dry run reports a missing address, a missing date and
/// open changes, and does not fail for them.
pub(crate) fn run(report: &mut Report, dry_run: bool) {
    let packages = match packages::published() {
        Ok(packages) => packages,
        Err(error) => {
            report.step("packages", || Err(error));
            return;
        }
    };
    let mut ready = report.step("rules of a release", || check(&packages, dry_run));
    ready &= package::pack(report, &packages);
    let order: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
    println!("\norder: {}", order.join(", "));
    if dry_run {
        return;
    }
    if !ready {
        return report.skip("publication", "a check above failed");
    }
    // Cargo waits for each package to be listed before it sends one that depends on it.
    let mut publish = cargo(&["publish", "--locked"]);
    report.check("publication", publish.args(order.iter().flat_map(|name| ["--package", name])));
}

/// Prints each rule with its outcome.
fn check(packages: &[Package], dry_run: bool) -> io::Result<Tally> {
    let changelog = fs::read_to_string(workspace::root().join("CHANGELOG.md"))?;
    let changes = Command::new("git").args(["status", "--porcelain"]).current_dir(workspace::root()).output()?;
    if !changes.status.success() {
        return Err(io::Error::other("git status failed: a release is made in a clone"));
    }
    let mut tally = Tally::default();
    for finding in rules::check(packages, &changelog, &String::from_utf8_lossy(&changes.stdout)) {
        let excused = dry_run && finding.when_released;
        match &finding.complaint {
            None => println!("ok      {}", finding.rule),
            Some(complaint) => println!("{} {}: {complaint}", if excused { "missing" } else { "FAILED " }, finding.rule),
        }
        let good = finding.complaint.is_none() || excused;
        tally.add(Tally { passed: good.into(), failed: (!good).into() });
    }
    Ok(tally)
}
