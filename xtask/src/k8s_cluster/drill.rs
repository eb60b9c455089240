//! Faults in the cluster under real clients: `tests/js/kubernetes-cluster.drill.mjs`.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::overlays::{self, Overlay};
use super::{Cluster, folder, machine};
use crate::report::Report;
use crate::{js, tally, tools, workspace};

/// Far above what the drill takes when all goes slowly. The limit only ends what hangs.
const LIMIT_SECS: u32 = 5400;

/// Runs the drill, and prints its table.
pub(super) fn run(report: &mut Report, cluster: &Cluster) {
    if !js::install(report) {
        return;
    }
    let out = out();
    if let Err(error) = fs::create_dir_all(&out) {
        return report.skip("Kubernetes: drill", &format!("{}: {error}", out.display()));
    }
    let mut node = tools::limited("node", LIMIT_SECS);
    node.args(["--test", "--test-reporter=spec", "kubernetes-cluster.drill.mjs"]);
    node.current_dir(workspace::root().join("tests/js")).envs(environment(cluster));
    report.tests("Kubernetes: drill", &mut node, tally::node);
    if let Ok(table) = fs::read_to_string(out.join("table.md")) {
        println!("\n{table}");
    }
}

/// The folder of the drill's tables, which outlives the cluster.
fn out() -> PathBuf {
    folder().join("out")
}

/// Returns the variables by which the drill finds the cluster.
pub(super) fn environment(cluster: &Cluster) -> Vec<(String, OsString)> {
    let mut variables: Vec<(String, OsString)> = vec![
        ("KUBECTL".into(), tools::kubectl().into()),
        ("KUBECONFIG".into(), cluster.path("kubeconfig").into()),
        ("OVERLAYS".into(), overlays::folder(cluster).into()),
        // A Docker engine for each node, as NAME.sock.
        ("ENGINES".into(), machine::engines(cluster).into()),
        ("NODE_EXTRA_CA_CERTS".into(), cluster.path("clients.crt").into()),
        ("OUT".into(), out().into()),
    ];
    for Overlay { name, scheme, port, .. } in Overlay::ALL {
        let name = name.to_uppercase();
        variables.push((format!("NODE_PORT_{name}"), port.to_string().into()));
        variables.push((format!("CLUSTER_URL_{name}"), format!("{scheme}://127.0.0.1:{port}").into()));
    }
    variables
}
