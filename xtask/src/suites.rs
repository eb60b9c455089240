//! Suites outside of the repository: the acceptance cases beside it and, through them, those of the Socket.IO
//! repository.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use crate::report::Report;
use crate::{clients, js, tally, tools, workspace};

/// The areas that one node answers for.
const AREAS: &str = "engineio-http,engineio-ws,protocol,api-single,recovery,abuse";
/// The area of several nodes, and how they meet.
const CLUSTER: &str = "cluster";
/// Areas that are run once more, with a history that the nodes share.
const WITH_JETSTREAM: &str = "cluster,recovery";
/// The area whose client is in Python.
const PYTHON: &str = "python";
/// Below the ports that connections are given: one of those could be connected to itself.
const BROKER_PORT: u16 = 4333;
const OFFICIAL: &str = "engine.io v4,engine.io v3,socket.io v5,client";

/// Far above what they take when all goes slowly: it only ends what hangs.
const LIMIT_SECS: u32 = 1200;

/// Runs the acceptance cases, the official suites or both, from a copy: the original is not ours to write to.
pub(crate) fn run(report: &mut Report, acceptance: bool, official: bool) {
    let original = workspace::root().join("../shared/acceptance");
    if !original.is_dir() {
        report.skip("acceptance cases, official suites", "there is no ../shared/acceptance");
        return;
    }
    let copy = workspace::target().join("acceptance");
    if let Err(error) = refresh(&original, &copy) {
        report.step("copy of the acceptance cases", || Err(error));
        return;
    }
    if acceptance && js::install_packages(report, "packages of the acceptance cases", &copy) {
        let mut command = suite(&copy, "run.mjs");
        let mut areas = AREAS.to_owned();
        match clients::python_environment(report) {
            Ok(python) => {
                areas = format!("{areas},{PYTHON}");
                command.env("PYTHON", python);
            }
            Err(why) => report.skip("acceptance cases in Python", &why),
        }
        let nats = tools::ensure_nats();
        match &nats {
            Ok(nats) => {
                areas = format!("{areas},{CLUSTER}");
                in_clusters(&mut command, &nats.program, "");
            }
            Err(why) => report.skip("acceptance cases of clusters", why),
        }
        command.args(["--only", &areas, "--jobs", "2"]);
        report.tests("acceptance cases", &mut command, tally::acceptance);
        if let Ok(nats) = &nats {
            let mut command = suite(&copy, "run.mjs");
            in_clusters(&mut command, &nats.program, "--jetstream");
            command.args(["--only", WITH_JETSTREAM, "--jobs", "2"]);
            report.tests("acceptance cases with a history on JetStream", &mut command, tally::acceptance);
        }
    }
    if official {
        const NAME: &str = "official suites";
        match workspace::socketio_repository() {
            Some(repository) => {
                let mut command = suite(&copy, "official/run.mjs");
                let server = format!("\"{}\"", workspace::client_suite_app().display());
                command.args(["--only", OFFICIAL]).env("SOCKETIO_REPO", repository).env("CLIENT_SUITE_CMD", server);
                report.tests(NAME, &mut command, tally::official);
            }
            None => report.skip(NAME, workspace::NO_REPOSITORY),
        }
    }
}

/// Sets the NATS server of cases with several nodes.
fn in_clusters(command: &mut Command, nats: &Path, flags: &str) {
    let broker = format!("\"{}\" -a 127.0.0.1 -p {BROKER_PORT} -js -sd STORE_DIR", nats.display());
    command.env("APP_BROKER_CMD", broker).env("APP_CLUSTER_ARGS", format!("--nats nats://127.0.0.1:{BROKER_PORT} {flags}"));
}

fn suite(folder: &Path, script: &str) -> Command {
    let mut command = tools::limited("node", LIMIT_SECS);
    // The suites split this at spaces, except within quotes.
    let app = format!("\"{}\"", workspace::acceptance_app().display());
    command.arg(script).current_dir(folder).env("APP_CMD", app);
    command
}

/// Makes the copy like the original, but keeps the packages installed there.
fn refresh(original: &Path, copy: &Path) -> io::Result<()> {
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(copy)? {
        let entry = entry?;
        if entry.file_name() == "node_modules" {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    copy_tree(original, copy)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if name == "node_modules" || name == ".venv" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            // Content without permissions: a read-only original must not make the copy so.
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
