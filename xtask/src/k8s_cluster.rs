//! `cargo xtask k8s-cluster`: a real Kubernetes on this machine, with the overlays of `k8s/` on it.
//!
//! Each Kubernetes node has its own namespaces for processes, mounts and the network, like a machine of its own. The control
//! plane and the load balancer are outside of them. All addresses belong to the loopback device or to one bridge.
//!
//! * `binaries`: Kubernetes itself, built from the source package of Debian.
//! * `images`: the images of nodes, balancers and NATS as one archive.
//! * `network`: the bridge, and its addresses.
//! * `control`: the API server, the controllers, the DNS and the metrics.
//! * `machine`: the Kubernetes nodes.
//! * `overlays`: the manifests as this old API takes them.
//! * `balancer`: the load balancer in front.
//! * `drill`: faults under real clients.
//! * `process`: programs in the background, and their ends.
//!
//! The programs and manifests of the cluster are in `tests/k8s/cluster`.

mod balancer;
mod binaries;
mod control;
mod drill;
mod images;
mod machine;
mod network;
mod overlays;
mod process;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use clap::{Args, Subcommand};

use self::machine::Machine;
use self::process::Processes;
use crate::report::Report;
use crate::tally::Tally;
use crate::{python, tools, workspace};

const NAME: &str = "Kubernetes cluster";

/// The number of Kubernetes nodes. Each NATS server of `overlays/production` needs its own.
const MACHINES: u8 = 3;

/// The time in which a part of the cluster must start, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// The commands of the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Build Kubernetes, unless it is in `target/kubernetes/bin` or in the folder that KUBERNETES_BIN names. Takes a quarter of an hour.
    Build,
    /// Start the cluster, and print how to use it. Builds what is missing.
    Up(Options),
    /// Take everything away that `up` made. Kubernetes itself and the images stay.
    Down,
    /// Start the cluster, apply the overlays, cause faults under real clients, print the table, and take everything away.
    Run(Options),
}

/// The source of the programs in the cluster.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Use sociable-node and sociable-balancer from this folder, instead of compiling them in the images.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Carries out an action.
pub(crate) fn run(report: &mut Report, action: &Action) {
    let cluster = Cluster::here();
    if let Err(why) = possible(action) {
        return report.skip(NAME, &why);
    }
    match action {
        Action::Build => {
            binaries::build(report);
        }
        Action::Up(options) => {
            if cluster.up(report, options.programs.as_deref()) {
                cluster.print_use();
            } else {
                cluster.down(report);
            }
        }
        Action::Down => cluster.down(report),
        Action::Run(options) => {
            if cluster.up(report, options.programs.as_deref()) {
                drill::run(report, &cluster);
            }
            cluster.down(report);
        }
    }
}

/// Tells why the cluster is not to be had here.
fn possible(action: &Action) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("the cluster needs Linux".into());
    }
    if matches!(action, Action::Build | Action::Down) {
        return Ok(());
    }
    if tools::output("id", &["-u"]).as_deref().map(str::trim) != Some("0") {
        return Err("only root can make namespaces and a bridge".into());
    }
    tools::succeeds(Command::new("unshare").args(["--mount", "--net", "--pid", "--fork", "true"]))
        .map_err(|error| format!("no namespaces can be made here: {error}"))
}

/// The cluster, running or not.
#[derive(Debug)]
struct Cluster {
    /// The folder with the data, logs and keys of a running cluster.
    folder: PathBuf,
    processes: Processes,
}

impl Cluster {
    fn here() -> Self {
        let folder = folder().join("run");
        Self { processes: Processes { ids: folder.join("processes"), logs: self::folder().join("logs") }, folder }
    }

    /// Starts all parts, in the order in which they need each other. Returns false if one did not start.
    fn up(&self, report: &mut Report, programs: Option<&Path>) -> bool {
        if !binaries::build(report) {
            return false;
        }
        let archive = match images::build(report, programs) {
            Ok(archive) => archive,
            Err(why) => {
                report.skip(NAME, &why);
                return false;
            }
        };
        // One that is left from a run that was broken off.
        if self.folder.exists() {
            self.down(report);
        }
        let start = |report: &mut Report, what: &str, run: &dyn Fn() -> Result<(), String>| {
            report.step(&format!("Kubernetes: {what}"), || run().map(|()| Tally { passed: 1, failed: 0 }).map_err(std::io::Error::other))
        };
        start(report, "programs of this machine", &install)
            && start(report, "overlays", &|| overlays::render(self))
            && start(report, "network", &network::up)
            && start(report, "control plane", &|| control::up(self))
            && start(report, "nodes", &|| self.start_machines(&archive))
            && start(report, "volumes", &|| overlays::make_volumes(self))
            && start(report, "load balancer", &|| balancer::up(self))
    }

    /// Starts the nodes beside each other.
    fn start_machines(&self, archive: &Path) -> Result<(), String> {
        let images = &overlays::images(self)?;
        thread::scope(|scope| {
            let starts: Vec<_> = Machine::all().map(|machine| scope.spawn(move || machine.up(self, archive, images))).collect();
            starts.into_iter().try_for_each(|start| start.join().unwrap_or_else(|_| Err("starting a node panicked".into())))
        })?;
        // The last node may take a moment to announce itself.
        Machine::all().try_for_each(|machine| {
            self.wait_for(&machine.kubelet(), || {
                let jsonpath = "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
                let output = self.kubectl().args(["get", "node", &machine.name(), jsonpath]).stderr(Stdio::null()).output();
                output.is_ok_and(|output| output.stdout == b"True")
            })
        })
    }

    /// Ends all processes, and takes away the rest.
    fn down(&self, report: &mut Report) {
        report.step("Kubernetes: down", || {
            // All processes of a node end with the first.
            Machine::all().for_each(|machine| self.processes.kill(&machine.name()));
            self.processes.end_all()?;
            network::down();
            machine::remove_groups();
            if self.folder.exists() {
                fs::remove_dir_all(&self.folder)?;
            }
            Ok(Tally { passed: 1, failed: 0 })
        });
    }

    /// Waits until a started program does what is expected of it.
    fn wait_for(&self, process: &str, mut holds: impl FnMut() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            let log = || self.processes.log(process).display().to_string();
            if !self.processes.is_alive(process) {
                return Err(format!("{process} ended: see {}", log()));
            }
            if Instant::now() > deadline {
                return Err(format!("{process} is not ready after {} s: see {}", PATIENCE.as_secs(), log()));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns `kubectl` with the rights of an administrator.
    fn kubectl(&self) -> Command {
        let mut command = Command::new(tools::kubectl());
        command.env("KUBECONFIG", self.path("kubeconfig"));
        command
    }

    fn print_use(&self) {
        println!("\nThe cluster is up. Its tests, and your shell, need these variables:\n");
        for (name, value) in drill::environment(self) {
            println!("export {name}='{}'", value.to_string_lossy());
        }
        println!("\n\"$KUBECTL\" apply -f \"$OVERLAYS/dev.yaml\"   # and so on; `cargo xtask k8s-cluster down` takes it all away");
    }
}

/// Installs what starts a cluster, and talks to it.
fn install() -> Result<(), String> {
    const PROGRAMS: [(&str, &str); 11] = [
        ("dnsmasq", "dnsmasq-base"),
        ("etcd", "etcd-server"),
        ("conntrack", "conntrack"),
        ("haproxy", "haproxy"),
        ("ip", "iproute2"),
        ("iptables", "iptables"),
        ("nsenter", "util-linux"),
        ("openssl", "openssl"),
        ("python3", "python3"),
        ("socat", "socat"),
        ("unshare", "util-linux"),
    ];
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| tools::find(program).is_none()).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        tools::install(&missing)?;
    }
    match tools::find("kubectl") {
        Some(_) => Ok(()),
        None => python::install(&workspace::root().join("tests/k8s/requirements.txt")),
    }
}

/// Returns the folder of all that belongs to the cluster.
fn folder() -> PathBuf {
    workspace::target().join("kubernetes")
}

/// Returns a file of the programs and manifests of the cluster.
fn asset(name: &str) -> PathBuf {
    workspace::root().join("tests/k8s/cluster").join(name)
}

fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}
