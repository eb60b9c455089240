//! `cargo xtask package-test`: the packages as the registry would get them, and a fresh project that uses nothing else.

mod contents;
mod guide;
mod project;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::packages::{self, Package};
use crate::report::Report;
use crate::rust::cargo;
use crate::tally::Tally;
use crate::{js, tools, workspace};

/// Packs everything, then builds and runs the quick start of README.md.
pub(crate) fn run(report: &mut Report) {
    const NAME: &str = "the README's quick start";
    let packages = match packages::published() {
        Ok(packages) => packages,
        Err(error) => {
            report.step("packages", || Err(error));
            return;
        }
    };
    if !pack(report, &packages) {
        return report.skip(NAME, "there are no packages");
    }
    let project = match project::write(&folder(), &packages) {
        Ok(project) => project,
        Err(error) => {
            report.step("a project of the packages", || Err(error));
            return;
        }
    };
    let built = report.check("quick start of the packages", project.cargo("build", &[guide::PROJECT]).arg("--quiet"));
    let programs: Vec<_> = packages.iter().filter(|it| it.has_program).map(|it| it.name.as_str()).collect();
    report.check("programs of the packages", project.cargo("check", &programs).arg("--quiet"));
    if !built {
        return report.skip(NAME, "it does not compile");
    }
    match tools::ensure_node() {
        Ok(()) if js::install(report) => {
            report.step(NAME, || project.run(&js::packages()));
        }
        Ok(()) => report.skip(NAME, "its client can't be installed"),
        Err(why) => report.skip(NAME, &why),
    }
}

/// Packs everything and checks the contents. A build of the packages takes minutes, and is in `run`.
pub(crate) fn check(report: &mut Report) {
    match packages::published() {
        Ok(packages) => {
            pack(report, &packages);
        }
        Err(error) => {
            report.step("packages", || Err(error));
        }
    }
}

/// Packs these packages, unpacks them, and checks their contents.
pub(crate) fn pack(report: &mut Report, packages: &[Package]) -> bool {
    // Cargo would build all dependencies anew for each package. The project of the quick start builds the unpacked ones.
    let mut pack = cargo(&["package", "--quiet", "--no-verify", "--allow-dirty", "--locked"]);
    pack.args(packages.iter().flat_map(|package| ["--package", &package.name]));
    report.check("packages", &mut pack) && report.step("contents of the packages", || unpack(packages))
}

/// The folder of the unpacked packages and of the project.
fn folder() -> PathBuf {
    workspace::target().join("package-test")
}

/// Unpacks each package and returns how many are complete.
fn unpack(packages: &[Package]) -> io::Result<Tally> {
    let unpacked = folder().join(project::CRATES);
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    let mut tally = Tally::default();
    for package in packages {
        let archive = workspace::target().join("package").join(format!("{}-{}.crate", package.name, package.version));
        let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("{} can't be unpacked: tar ended with {status}", archive.display())));
        }
        let size = fs::metadata(&archive)?.len();
        let folder = unpacked.join(format!("{}-{}", package.name, package.version));
        let complaints = contents::check(package, &files(&folder)?, size);
        println!("{} {}: {} KB", if complaints.is_empty() { "ok    " } else { "FAILED" }, package.name, size / 1024);
        for complaint in &complaints {
            println!("  {}: {complaint}", package.name);
        }
        tally.add(Tally { passed: complaints.is_empty().into(), failed: (!complaints.is_empty()).into() });
    }
    Ok(tally)
}

/// The paths of all files below a folder, relative to it.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    fn visit(top: &Path, folder: &Path, found: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                visit(top, &path, found)?;
            } else {
                found.push(path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
        Ok(())
    }
    let mut found = vec![];
    visit(folder, folder, &mut found)?;
    found.sort();
    Ok(found)
}
