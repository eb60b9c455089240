//! `cargo xtask k8s-test`: the manifests for Kubernetes.

use crate::report::Report;
use crate::{clients, js, rust, tally, tools, workspace};

/// The manifests, and what that of production says of the end of a pod.
pub(crate) fn run(report: &mut Report) {
    const NAME: &str = "ends of pods";
    if !manifests(report) {
        return report.skip(NAME, "the manifests are invalid");
    }
    // The manifests need a current server, and certificates from the script for operators.
    let needed = tools::ensure_node().and_then(|()| tools::ensure_openssl_program()).and_then(|()| tools::ensure_current_nats());
    let nats = match needed {
        Ok(nats) => nats,
        Err(why) => return report.skip(NAME, &why),
    };
    if rust::build_programs(report) && js::install(report) {
        js::kubernetes(report, &nats, &workspace::target().join("k8s/production.json"));
    }
}

/// Every overlay is rendered, and checked: by the schemas of Kubernetes, and by the rules in `tests/k8s`. Nothing is started.
pub(crate) fn manifests(report: &mut Report) -> bool {
    const NAME: &str = "manifests for Kubernetes";
    let (tests, environment) = (workspace::root().join("tests/k8s"), workspace::target().join("k8s-python"));
    let python = match clients::environment(report, "Kubernetes", &tests.join("requirements.txt"), &environment) {
        Ok(python) => python,
        Err(why) => {
            report.skip(NAME, &why);
            return false;
        }
    };
    let mut command = std::process::Command::new(python);
    command.args(["-B", "run.py"]).current_dir(tests);
    command.env("KUBECTL", tools::kubectl(&environment)).env("OUT", workspace::target().join("k8s"));
    report.tests(NAME, &mut command, tally::python)
}
