//! `cargo xtask k8s-test`: the manifests for Kubernetes.

use std::process::Command;
use std::{fs, io};

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
    if !rust::build_programs(report) {
        return report.skip(NAME, "the programs do not compile");
    }
    settings(report);
    if js::install(report) {
        js::kubernetes(report, &nats, &workspace::target().join("k8s/production.json"));
    }
}

/// Has `sociable-node` check the settings and the example keys for a backend.
fn settings(report: &mut Report) {
    const NAME: &str = "settings for a backend";
    match check_of_settings() {
        Ok(mut check) => report.check(NAME, &mut check),
        Err(error) => report.step(NAME, || Err(error)),
    };
}

/// Returns the command. The secret of the example stands for that of the mounted Secret.
fn check_of_settings() -> io::Result<Command> {
    let k8s = workspace::root().join("k8s");
    let secret = k8s.join("overlays/backend/webhook-secret.example.txt");
    let text = fs::read_to_string(k8s.join("components/backend/settings.toml"))?;
    let file = workspace::target().join("k8s/settings.toml");
    fs::write(&file, text.replace("/etc/sociable/webhooks/secret", &secret.to_string_lossy()))?;
    let mut check = Command::new(workspace::node_binary());
    check.arg("--check").arg("--config").arg(file).args(["--api-addr", "127.0.0.1:3002", "--api-keys"]);
    check.arg(k8s.join("overlays/backend/api-keys.example.toml"));
    Ok(check)
}

/// Every overlay is rendered, and checked: by the schemas of Kubernetes, and by the rules in `tests/k8s`. The chart must
/// render the same objects. Nothing is started.
pub(crate) fn manifests(report: &mut Report) -> bool {
    const NAME: &str = "manifests for Kubernetes";
    let tests = workspace::root().join("tests/k8s");
    let python = match clients::environment(report, "Kubernetes", &tests.join("requirements.txt")) {
        Ok(python) => python,
        Err(why) => {
            report.skip(NAME, &why);
            return false;
        }
    };
    let mut command = Command::new(python);
    command.args(["-B", "run.py"]).current_dir(tests);
    command.env("KUBECTL", tools::kubectl()).env("OUT", workspace::target().join("k8s"));
    report.tests(NAME, &mut command, tally::python)
}
