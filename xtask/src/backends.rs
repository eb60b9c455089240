//! Backends in other languages: `tests/backends`, and the starter `examples/starter-python`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::Report;
use crate::{clients, js, tally, tools, workspace};

/// The packages of Debian that the backends need, by their programs.
const PROGRAMS: [(&str, &str); 5] = [("php", "php-cli"), ("curl", "curl"), ("jq", "jq"), ("socat", "socat"), ("openssl", "openssl")];

/// Runs the tests of the starter, then all backends with real nodes and clients.
pub(crate) fn test(report: &mut Report) {
    const NAME: &str = "backends in other languages";
    let starter = workspace::root().join("examples/starter-python");
    let python = match python(report, &starter) {
        Ok(python) => python,
        Err(why) => return report.skip(NAME, &why),
    };
    check_starter(report, &python, &starter);
    let needed = ensure_programs()
        .and_then(|()| tools::ensure_chromium())
        .and_then(|chromium| Ok((chromium, tools::ensure_current_nats().or_else(|_| tools::ensure_nats())?)));
    match needed {
        Ok((chromium, nats)) => js::backends(report, NAME, &python, &chromium, &nats),
        Err(why) => report.skip(NAME, &why),
    }
}

/// Returns the interpreter with the packages of the starter and of the clients.
fn python(report: &mut Report, starter: &Path) -> Result<PathBuf, String> {
    ensure_client()?;
    clients::python_environment(report)?;
    clients::environment(report, "starter's", &starter.join("requirements.txt"))?;
    clients::environment(report, "starter's development", &starter.join("requirements-dev.txt"))?;
    clients::environment(report, "backend", &workspace::root().join("tests/backends/requirements.txt"))
}

/// Makes sure of the official client in the page of the starter, by the command of its README.
pub(crate) fn ensure_client() -> Result<(), String> {
    let starter = workspace::root().join("examples/starter-python");
    if starter.join("page/socket.io.min.js").is_file() {
        return Ok(());
    }
    tools::ensure_node()?;
    match Command::new(starter.join("get-client.sh")).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("get-client.sh of the Python starter failed: {status}")),
        Err(error) => Err(format!("get-client.sh of the Python starter did not start: {error}")),
    }
}

/// Runs the starter's own tests and checks, as its README has them.
fn check_starter(report: &mut Report, python: &Path, starter: &Path) {
    let module = |name: &str, args: &[&str]| {
        let mut command = Command::new(python);
        command.args(["-B", "-m", name]).args(args).current_dir(starter);
        command
    };
    report.tests("tests of the Python starter", &mut module("pytest", &["-p", "no:cacheprovider"]), tally::pytest);
    let cache = workspace::target().join("mypy");
    report.check("types of the Python starter", module("mypy", &[]).arg("--cache-dir").arg(cache));
    report.check("lints of the Python starter", &mut module("ruff", &["check", "--no-cache"]));
    report.check("format of the Python starter", &mut module("ruff", &["format", "--check", "--no-cache"]));
}

fn ensure_programs() -> Result<(), String> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| tools::find(program).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { tools::install(&missing) }
}
