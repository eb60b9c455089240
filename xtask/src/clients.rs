//! The tests of clients that are not written in JavaScript: `tests/python`, `tests/rust_socketio`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::report::Report;
use crate::rust::cargo;
use crate::{tally, tools, workspace};

/// Far above what a suite takes when all goes slowly: it only ends what hangs.
const SUITE_LIMIT_SECS: u32 = 900;

/// `python-socketio`, in an environment of its own.
pub(crate) fn python(report: &mut Report) {
    const NAME: &str = "interop with python-socketio";
    let python = match python_environment(report) {
        Ok(python) => python,
        Err(why) => return report.skip(NAME, &why),
    };
    let folder = workspace::root().join("tests/python");
    let mut tests = tools::limited(&python.to_string_lossy(), SUITE_LIMIT_SECS);
    tests.args(["-B", "run.py"]).current_dir(folder).env("ACCEPTANCE", workspace::acceptance_app());
    report.tests(NAME, &mut tests, tally::python);
}

/// The interpreter of an environment with the packages of the Python tests.
pub(crate) fn python_environment(report: &mut Report) -> Result<PathBuf, String> {
    environment(report, "Python", &workspace::root().join("tests/python/requirements.txt"), &workspace::target().join("python"))
}

/// Returns the Python of an environment in this folder with the packages of a requirements file. A change of the file
/// rebuilds the environment.
pub(crate) fn environment(report: &mut Report, tests: &str, requirements: &Path, folder: &Path) -> Result<PathBuf, String> {
    tools::ensure_python()?;
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed.txt"));
    if let (Ok(wanted), Ok(installed)) = (fs::read(requirements), fs::read(&stamp))
        && wanted == installed
    {
        return Ok(python);
    }
    let mut make = std::process::Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(folder);
    let mut install = std::process::Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    let packages = format!("packages of the {tests} tests");
    if !report.check(&format!("Python for the {tests} tests"), &mut make) || !report.check(&packages, &mut install) {
        return Err("its packages can't be installed".into());
    }
    if let Err(error) = fs::copy(requirements, &stamp) {
        eprintln!("{}: {error}; the packages will be installed again next time", stamp.display());
    }
    Ok(python)
}

/// Tests the crate `rust_socketio`. The tests are a workspace of their own, with an output folder of their own.
pub(crate) fn rust_socketio(report: &mut Report) {
    const NAME: &str = "interop with rust_socketio";
    if let Err(why) = tools::ensure_openssl() {
        report.skip(NAME, &why);
        return;
    }
    let mut tests = cargo(&["test", "--locked", "--manifest-path", "tests/rust_socketio/Cargo.toml"]);
    tests.env("CARGO_TARGET_DIR", workspace::target().join("rust_socketio")).env("ACCEPTANCE", workspace::acceptance_app());
    report.tests(NAME, &mut tests, tally::cargo);
}
