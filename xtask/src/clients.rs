//! The tests of clients that are not written in JavaScript: `tests/python`, `tests/rust_socketio`, `tests/openapi`.

use std::io;
use std::path::{Path, PathBuf};

use crate::report::Report;
use crate::rust::cargo;
use crate::tally::Tally;
use crate::{python, tally, tools, workspace};

/// Far above what a suite takes when all goes slowly: it only ends what hangs.
const SUITE_LIMIT_SECS: u32 = 900;

/// The client of `python-socketio`.
pub(crate) fn python(report: &mut Report) {
    const NAME: &str = "interop with python-socketio";
    let python = match python_environment(report) {
        Ok(python) => python,
        Err(why) => return report.skip(NAME, &why),
    };
    let folder = workspace::root().join("tests/python");
    let mut tests = tools::limited(&python.to_string_lossy(), SUITE_LIMIT_SECS);
    tests
        .args(["-B", "run.py"])
        .current_dir(folder)
        .env("ACCEPTANCE", workspace::acceptance_app())
        .env("NODE_BIN", workspace::node_binary());
    report.tests(NAME, &mut tests, tally::python);
}

/// The API beside its document, by schemathesis.
pub(crate) fn openapi(report: &mut Report) {
    const NAME: &str = "API by its document";
    let folder = workspace::root().join("tests/openapi");
    let python = match environment(report, "API", &folder.join("requirements.txt")) {
        Ok(python) => python,
        Err(why) => return report.skip(NAME, &why),
    };
    let nats = match tools::ensure_nats() {
        Ok(nats) => nats,
        Err(why) => return report.skip(NAME, &why),
    };
    let mut tests = tools::limited(&python.to_string_lossy(), SUITE_LIMIT_SECS);
    tests.args(["-B", "run.py"]).current_dir(folder);
    tests.env("SOCIABLE_NODE", workspace::node_binary()).env("NATS_SERVER", nats.program);
    report.tests(NAME, &mut tests, tally::python);
}

/// The interpreter with the packages of the Python tests.
pub(crate) fn python_environment(report: &mut Report) -> Result<PathBuf, String> {
    environment(report, "Python", &workspace::root().join("tests/python/requirements.txt"))
}

/// The interpreter with the packages of a file of requirements.
pub(crate) fn environment(report: &mut Report, tests: &str, requirements: &Path) -> Result<PathBuf, String> {
    let install = || python::install(requirements).map(|()| Tally { passed: 1, failed: 0 }).map_err(io::Error::other);
    if !python::is_installed(requirements) && !report.step(&format!("packages of the {tests} tests"), install) {
        return Err("its packages can't be installed".into());
    }
    Ok(python::program("python"))
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
