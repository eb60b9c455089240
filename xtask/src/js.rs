//! The tests in `tests/js`: the real client and the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::Report;
use crate::{clients, tally, tools, workspace};

/// Far above what a suite takes when all goes slowly: it only ends what hangs.
const SUITE_LIMIT_SECS: u32 = 900;

fn folder() -> PathBuf {
    workspace::root().join("tests/js")
}

/// The packages of the tests.
pub(crate) fn packages() -> PathBuf {
    folder().join("node_modules")
}

/// Installs the packages of the tests.
pub(crate) fn install(report: &mut Report) -> bool {
    install_packages(report, "packages of the JavaScript tests", &folder())
}

/// `npm ci`, unless what lies there is already what the lock file asks for.
pub(crate) fn install_packages(report: &mut Report, name: &str, folder: &Path) -> bool {
    // The stamp is a copy of the lock inside `node_modules`, which `npm ci` empties. So a stamp never outlives its
    // packages.
    let (lock, stamp) = (folder.join("package-lock.json"), folder.join("node_modules/.installed-lock"));
    if let (Ok(wanted), Ok(installed)) = (fs::read(&lock), fs::read(&stamp))
        && wanted == installed
    {
        return true;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
    let installed = report.check(name, &mut npm);
    if installed && let Err(error) = fs::copy(&lock, &stamp) {
        eprintln!("{}: {error}; the packages will be installed again next time", stamp.display());
    }
    installed
}

/// The tests with a step of their own, because of what they need.
const APART: [&str; 19] = [
    "admin-ui.test.mjs",
    "api-faults.test.mjs",
    "backends.test.mjs",
    "ctl.test.mjs",
    "differential.test.mjs",
    "emitters.test.mjs",
    "faults.test.mjs",
    "field.test.mjs",
    "history.test.mjs",
    "jitter.test.mjs",
    "kubernetes.test.mjs",
    "monitoring.test.mjs",
    "offsets.test.mjs",
    "proxies.test.mjs",
    "rolling.test.mjs",
    "starter-python.test.mjs",
    "tokens.test.mjs",
    "traces.test.mjs",
    "your-application.test.mjs",
];

/// The real `socket.io-client`, with both parsers, and raw bytes: every test that has no step of its own. None has to be named to be run.
pub(crate) fn interop(report: &mut Report) {
    const NAME: &str = "interop with socket.io-client";
    match test_files("") {
        Ok(mut files) => {
            files.retain(|name| !APART.contains(&name.as_str()));
            node_test(report, NAME, &files.iter().map(String::as_str).collect::<Vec<_>>(), |_| {});
        }
        Err(why) => report.skip(NAME, &why),
    }
}

/// The test files of a folder of `tests/js`, by their paths in there.
fn test_files(subfolder: &str) -> Result<Vec<String>, String> {
    let folder = folder().join(subfolder);
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let tests = names.filter(|name| name.ends_with(".test.mjs"));
    let mut files: Vec<_> = tests.map(|name| Path::new(subfolder).join(name).to_string_lossy().into_owned()).collect();
    files.sort();
    Ok(files)
}

/// Processes that emit without being a node: `sociable-ctl`, also by the API, and the example in Python.
pub(crate) fn emitters(report: &mut Report) {
    const NAME: &str = "emitters beside socket.io-client";
    let needed = tools::ensure_nats().and_then(|nats| Ok((nats, clients::python_environment(report)?)));
    let (nats, python) = match needed {
        Ok(needed) => needed,
        Err(why) => return report.skip(NAME, &why),
    };
    node_test(report, NAME, &["ctl.test.mjs", "emitters.test.mjs"], |command| {
        command.env("NATS_SERVER", nats.program).env("PYTHON", python);
        command.env("EMIT_PY", workspace::root().join("adapter/examples/emit.py")).env("SOCIABLE_CTL", workspace::ctl_binary());
    });
}

/// Backends in several languages, the Python starter and tokens as processes, with real clients.
pub(crate) fn backends(report: &mut Report, name: &str, python: &Path, chromium: &Path, nats: &tools::Nats) {
    node_test(report, name, &["backends.test.mjs", "starter-python.test.mjs", "tokens.test.mjs", "your-application.test.mjs"], |command| {
        command.env("NATS_SERVER", &nats.program).env("PYTHON", python).env("PHP", "php").env("CHROMIUM", chromium);
        command.env("SOCIABLE_BALANCER", workspace::balancer_binary());
    });
}

/// Three nodes behind a balancer, by the real client and by raw bytes.
pub(crate) fn balancer(report: &mut Report) {
    let nats = tools::ensure_current_nats().or_else(|why| {
        report.skip("balancer, current NATS", &why);
        tools::ensure_nats()
    });
    match nats.and_then(|nats| Ok((nats, test_files("balancer")?))) {
        Ok((nats, mut files)) => {
            files.extend(["field.test.mjs", "rolling.test.mjs"].map(str::to_owned));
            let files: Vec<_> = files.iter().map(String::as_str).collect();
            node_test(report, &format!("nodes behind a balancer, NATS {}", nats.version), &files, |command| {
                command.env("NATS_SERVER", &nats.program).env("SOCIABLE_BALANCER", workspace::balancer_binary());
            });
        }
        Err(why) => report.skip("nodes behind a balancer", &why),
    }
}

/// Real proxies in front of nodes and balancers.
pub(crate) fn proxies(report: &mut Report) {
    const NAME: &str = "nodes behind nginx and HAProxy";
    match tools::ensure_program("nginx").and_then(|nginx| Ok((nginx, tools::ensure_program("haproxy")?))) {
        Ok((nginx, haproxy)) => node_test(report, NAME, &["proxies.test.mjs"], |command| {
            command.env("NGINX", nginx).env("HAPROXY", haproxy).env("SOCIABLE_BALANCER", workspace::balancer_binary());
        }),
        Err(why) => report.skip(NAME, &why),
    }
}

/// Traces of one node and of several, as a collector gets them by HTTP and HTTPS.
pub(crate) fn traces(report: &mut Report) {
    const NAME: &str = "traces";
    match tools::ensure_openssl_program().and_then(|()| tools::ensure_nats()) {
        Ok(nats) => node_test(report, NAME, &["traces.test.mjs"], |command| {
            command.env("NATS_SERVER", &nats.program);
        }),
        Err(why) => report.skip(NAME, &why),
    }
}

/// Metrics, alerts and the dashboard as a real Prometheus sees them.
pub(crate) fn monitoring(report: &mut Report) {
    const NAME: &str = "metrics in Prometheus";
    let needed =
        tools::ensure_prometheus().and_then(|prometheus| Ok((prometheus, tools::ensure_current_nats().or_else(|_| tools::ensure_nats())?)));
    match needed {
        Ok(((prometheus, promtool), nats)) => node_test(report, NAME, &["monitoring.test.mjs"], |command| {
            command.env("PROMETHEUS", prometheus).env("PROMTOOL", promtool).env("NATS_SERVER", &nats.program);
            command.env("SOCIABLE_BALANCER", workspace::balancer_binary());
        }),
        Err(why) => report.skip(NAME, &why),
    }
}

/// Faults on real processes: nodes and NATS servers that are killed, links that are cut. They take long, so one NATS server has to do: that of
/// today, if it can be had.
pub(crate) fn faults(report: &mut Report) {
    let nats = tools::ensure_current_nats().or_else(|why| {
        report.skip("faults, current NATS", &why);
        tools::ensure_nats()
    });
    match nats {
        Ok(nats) => node_test(
            report,
            &format!("faults, NATS {}", nats.version),
            &["api-faults.test.mjs", "faults.test.mjs", "history.test.mjs", "offsets.test.mjs"],
            |command| {
                command.env("NATS_SERVER", &nats.program);
            },
        ),
        Err(why) => report.skip("faults of a cluster", &why),
    }
}

/// Clients on bad networks, for so many minutes each run if that is asked for. A seed repeats the cuts of an earlier run.
pub(crate) fn jitter(report: &mut Report, minutes: Option<u32>, seed: Option<u32>) {
    let nats = match tools::ensure_current_nats().or_else(|_| tools::ensure_nats()) {
        Ok(nats) => nats,
        Err(why) => return report.skip("clients on bad networks", &why),
    };
    let name = format!("clients on bad networks, NATS {}", nats.version);
    let seconds = minutes.map(|minutes| minutes.saturating_mul(60));
    // Two runs, and what they need besides.
    let limit = seconds.map_or(SUITE_LIMIT_SECS, |seconds| seconds.saturating_mul(2).saturating_add(SUITE_LIMIT_SECS));
    node_test_within(report, &name, &["jitter.test.mjs"], limit, |command| {
        command.env("NATS_SERVER", &nats.program).env("SOCIABLE_BALANCER", workspace::balancer_binary());
        command.envs(seconds.map(|seconds| ("JITTER_SECONDS", seconds.to_string())));
        command.envs(seed.map(|seed| ("JITTER_SEED", seed.to_string())));
    });
}

/// Attacks on real processes that take long or need much memory.
pub(crate) fn hostile(report: &mut Report) {
    const NAME: &str = "attacks";
    let needed = tools::ensure_faketime().and_then(|()| tools::ensure_nats()).and_then(|nats| Ok((nats, test_files("hostile")?)));
    let (nats, files) = match needed {
        Ok(needed) => needed,
        Err(why) => return report.skip(NAME, &why),
    };
    node_test(report, NAME, &files.iter().map(String::as_str).collect::<Vec<_>>(), |command| {
        command.env("NATS_SERVER", &nats.program).env("SOCIABLE_BALANCER", workspace::balancer_binary());
    });
}

/// Tests the end of a pod by the rendered Kubernetes manifest, on real processes.
pub(crate) fn kubernetes(report: &mut Report, nats: &tools::Nats, manifests: &Path) {
    node_test(report, &format!("ends of pods, NATS {}", nats.version), &["kubernetes.test.mjs"], |command| {
        command.env("NATS_SERVER", &nats.program).env("SOCIABLE_BALANCER", workspace::balancer_binary());
        command.env("MANIFESTS", manifests).env("SECRETS_SH", workspace::root().join("k8s/secrets.sh"));
    });
}

/// Our parsers against `socket.io-parser` and `socket.io-msgpack-parser`, on generated packets.
pub(crate) fn differential(report: &mut Report) {
    node_test(report, "parsers beside the JavaScript ones", &["differential.test.mjs"], |command| {
        command.env("PARSE", workspace::parse_program());
    });
}

/// The search for a program, or the reason why it is missing.
type Ensure = fn() -> Result<PathBuf, String>;

/// The page of a node and the official client in each browser: every file of `tests/js/browsers`. None has to be named to be run.
pub(crate) fn browsers(report: &mut Report) {
    let browsers: [(&str, &str, Ensure); 3] = [
        ("chromium", "CHROMIUM", tools::ensure_chromium),
        ("firefox", "FIREFOX", tools::ensure_firefox),
        ("webkit", "WEBKIT_DRIVER", tools::ensure_webkit),
    ];
    for (browser, variable, ensure) in browsers {
        let name = format!("pages in {browser}");
        match ensure().and_then(|program| Ok((program, test_files("browsers")?))) {
            Ok((program, files)) => node_test(report, &name, &files.iter().map(String::as_str).collect::<Vec<_>>(), |command| {
                command.env("BROWSER", browser).env(variable, program).env("SCREENSHOTS", workspace::target().join("screenshots"));
            }),
            Err(why) => report.skip(&name, &why),
        }
    }
}

/// The page of the admin UI in a headless Chromium, with three nodes behind a balancer.
pub(crate) fn admin_ui(report: &mut Report) {
    const NAME: &str = "admin UI in a browser";
    let needed = tools::ensure_chromium().and_then(|chromium| Ok((chromium, tools::ensure_nats()?, tools::ensure_program("nginx")?)));
    match needed {
        Ok((chromium, nats, nginx)) => node_test(report, NAME, &["admin-ui.test.mjs"], |command| {
            command.env("CHROMIUM", &chromium).env("NATS_SERVER", &nats.program).env("NGINX", &nginx);
            command.env("SOCIABLE_BALANCER", workspace::balancer_binary()).env("SCREENSHOTS", workspace::target().join("screenshots"));
        }),
        Err(why) => report.skip(NAME, &why),
    }
}

/// The tests of `engine.io-client`, from a clone of the Socket.IO repository.
pub(crate) fn engine_client(report: &mut Report) {
    const NAME: &str = "suite of engine.io-client";
    let Some(repository) = workspace::socketio_repository() else {
        report.skip(NAME, workspace::NO_REPOSITORY);
        return;
    };
    let mut command = tools::limited("node", SUITE_LIMIT_SECS);
    command.arg("engine-client.suite.mjs").current_dir(folder());
    command.env("SOCKETIO_REPO", repository).env("ENGINE_SUITE", workspace::example("engine_suite"));
    report.tests(NAME, &mut command, tally::official);
}

fn node_test(report: &mut Report, name: &str, files: &[&str], prepare: impl FnOnce(&mut Command)) {
    node_test_within(report, name, files, SUITE_LIMIT_SECS, prepare);
}

fn node_test_within(report: &mut Report, name: &str, files: &[&str], seconds: u32, prepare: impl FnOnce(&mut Command)) {
    let mut command = tools::limited("node", seconds);
    command.args(["--test", "--test-reporter=spec"]).args(files).current_dir(folder());
    command.env("ACCEPTANCE", workspace::acceptance_app()).env("NODE_BIN", workspace::node_binary());
    prepare(&mut command);
    report.tests(name, &mut command, tally::node);
}
