//! The control plane: etcd, the API server, controllers and the scheduler; with the DNS and the metrics beside them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::network::{GATEWAY, SERVICES};
use super::{Cluster, asset, binaries, write};
use crate::tools::{self, succeeds};

const API_PORT: u16 = 16443;
/// As metrics.yaml says.
const METRICS_PORT: &str = "16444";
const ETCD: &str = "http://127.0.0.1:12379";
const ETCD_PEERS: &str = "http://127.0.0.1:12380";

/// Starts all parts, in the order in which they need each other.
pub(super) fn up(cluster: &Cluster) -> Result<(), String> {
    make_credentials(cluster)?;
    start_etcd(cluster)?;
    start_api_server(cluster)?;
    start_controllers(cluster)?;
    start_scheduler(cluster)?;
    start_dns(cluster)?;
    start_metrics(cluster)
}

/// Makes the keys of service accounts, the token of an administrator, and the file that leads programs to the API server.
fn make_credentials(cluster: &Cluster) -> Result<(), String> {
    let key = cluster.path("accounts.key");
    write(&key, "")?;
    let public = cluster.path("accounts.pub");
    succeeds(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").stderr(Stdio::null()))?;
    succeeds(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public).stderr(Stdio::null()))?;
    let token = tools::output("openssl", &["rand", "-hex", "24"]).ok_or("openssl can't be started")?;
    let token = token.trim();
    write(&cluster.path("token"), token)?;
    write(&cluster.path("tokens.csv"), format!("{token},administrator,1,\"system:masters\"\n"))?;
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": api(), "certificate-authority": api_certificate(cluster) } }],
        "users": [{ "name": "administrator", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "administrator" } }],
        "current-context": "test",
    });
    write(&cluster.path("kubeconfig"), kubeconfig.to_string())
}

fn api() -> String {
    format!("https://{GATEWAY}:{API_PORT}")
}

/// The certificate that the API server makes for itself.
fn api_certificate(cluster: &Cluster) -> PathBuf {
    cluster.path("api/apiserver.crt")
}

fn start_etcd(cluster: &Cluster) -> Result<(), String> {
    let mut etcd = Command::new("etcd");
    etcd.arg("--data-dir").arg(cluster.path("etcd")).args([
        &format!("--listen-client-urls={ETCD}"),
        &format!("--advertise-client-urls={ETCD}"),
        &format!("--listen-peer-urls={ETCD_PEERS}"),
        &format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        &format!("--initial-cluster=default={ETCD_PEERS}"),
    ]);
    cluster.processes.start("etcd", &mut etcd).map(drop)
}

fn start_api_server(cluster: &Cluster) -> Result<(), String> {
    const NAME: &str = "kube-apiserver";
    let mut server = Command::new(binaries::program(NAME));
    server.args([
        &format!("--etcd-servers={ETCD}"),
        &format!("--bind-address={GATEWAY}"),
        &format!("--advertise-address={GATEWAY}"),
        &format!("--secure-port={API_PORT}"),
        &format!("--service-cluster-ip-range={SERVICES}"),
        &format!("--cert-dir={}", cluster.path("api").display()),
        &format!("--token-auth-file={}", cluster.path("tokens.csv").display()),
        &format!("--service-account-key-file={}", cluster.path("accounts.pub").display()),
        &format!("--service-account-signing-key-file={}", cluster.path("accounts.key").display()),
        "--service-account-issuer=https://localhost",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        // Pods of a lost node move soon, not after five minutes.
        "--default-not-ready-toleration-seconds=30",
        "--default-unreachable-toleration-seconds=30",
    ]);
    cluster.processes.start(NAME, &mut server)?;
    cluster.wait_for(NAME, || {
        let ready = cluster.kubectl().args(["get", "--raw", "/readyz"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ready.is_ok_and(|status| status.success())
    })
}

fn start_controllers(cluster: &Cluster) -> Result<(), String> {
    const NAME: &str = "kube-controller-manager";
    let mut controllers = Command::new(binaries::program(NAME));
    controllers.args([
        &format!("--kubeconfig={}", cluster.path("kubeconfig").display()),
        &format!("--service-account-private-key-file={}", cluster.path("accounts.key").display()),
        &format!("--root-ca-file={}", api_certificate(cluster).display()),
        "--bind-address=127.0.0.1",
        "--port=0",
        "--leader-elect=false",
        "--node-monitor-grace-period=20s",
        // Autoscalers decide soon, and count new pods at once.
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
    ]);
    cluster.processes.start(NAME, &mut controllers).map(drop)
}

fn start_scheduler(cluster: &Cluster) -> Result<(), String> {
    const NAME: &str = "kube-scheduler";
    let mut scheduler = Command::new(binaries::program(NAME));
    scheduler.arg(format!("--kubeconfig={}", cluster.path("kubeconfig").display()));
    scheduler.args(["--bind-address=127.0.0.1", "--port=0", "--leader-elect=false"]);
    cluster.processes.start(NAME, &mut scheduler).map(drop)
}

fn start_dns(cluster: &Cluster) -> Result<(), String> {
    let mut dns = script(cluster, "dns.mjs");
    dns.arg(GATEWAY.to_string()).arg(cluster.path("dns"));
    cluster.processes.start("dns", &mut dns).map(drop)
}

/// Starts the metrics API, and registers it.
fn start_metrics(cluster: &Cluster) -> Result<(), String> {
    let certificate = certificate(cluster, "metrics")?;
    let mut metrics = script(cluster, "metrics.mjs");
    metrics.arg(METRICS_PORT).args(certificate.files());
    cluster.processes.start("metrics", &mut metrics)?;
    succeeds(cluster.kubectl().args(["apply", "--validate=false", "--filename"]).arg(asset("metrics.yaml")))
}

/// Returns the command that runs a script which talks to the API.
fn script(cluster: &Cluster, name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(asset(name)).env("API", api()).env("API_TOKEN", cluster.path("token")).env("API_CA", api_certificate(cluster));
    node
}

/// A certificate for `localhost` and its key.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificate {
    fn files(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }
}

/// Makes a certificate that vouches for itself.
pub(super) fn certificate(cluster: &Cluster, name: &str) -> Result<Certificate, String> {
    let made = Certificate { certificate: cluster.path(&format!("{name}.crt")), key: cluster.path(&format!("{name}.key")) };
    write(&made.certificate, "")?;
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-days", "30", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out"])
        .arg(&made.certificate)
        .arg("-keyout")
        .arg(&made.key);
    succeeds(openssl.stderr(Stdio::null()))?;
    Ok(made)
}
