//! A Kubernetes node: namespaces for processes, mounts and the network, with a Docker engine, a kubelet and a proxy in them.
//!
//! All of it ends with the first process of the namespace, and so do the mounts, the containers and the rules of the proxy.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use serde_json::json;

use super::network::{BRIDGE, GATEWAY, NETWORK, ip};
use super::overlays::Image;
use super::{Cluster, MACHINES, PATIENCE, asset, binaries, images, write};
use crate::tools::succeeds;

/// The control group of all containers.
const GROUP: &str = "sociable-k8s";

/// The folders that each node has for itself. Engine and kubelet have their files there.
const OWN_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// A Kubernetes node, by its number from 1 on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine(u8);

impl Machine {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (1..=MACHINES).map(Self)
    }

    pub(super) fn name(self) -> String {
        format!("node-{}", self.0)
    }

    pub(super) fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 98, 0, 10 + self.0)
    }

    /// The first address of its pods: the network of the pods is the /24 around it.
    fn pods(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 98, self.0, 1)
    }

    /// The end of the cable that is on the bridge. A test that sets it down has cut off the node.
    fn cable(self) -> String {
        format!("kube-{}", self.name())
    }

    /// The name of the kubelet's process.
    pub(super) fn kubelet(self) -> String {
        format!("{}-kubelet", self.name())
    }

    fn folder(self, cluster: &Cluster) -> PathBuf {
        cluster.path(&self.name())
    }

    /// The socket of the engine.
    fn socket(self, cluster: &Cluster) -> PathBuf {
        engines(cluster).join(format!("{}.sock", self.name()))
    }

    /// Starts the node, with all images on its engine.
    pub(super) fn up(self, cluster: &Cluster, archive: &Path, images: &[Image]) -> Result<(), String> {
        let inside = self.unshare(cluster)?;
        self.connect(&inside)?;
        self.start_engine(cluster, &inside)?;
        self.load(cluster, archive, images)?;
        self.start_kubelet(cluster, &inside)?;
        self.start_proxy(cluster, &inside)
    }

    /// Makes the namespaces.
    fn unshare(self, cluster: &Cluster) -> Result<Namespaces, String> {
        let folder = self.folder(cluster);
        let ready = folder.join("ready");
        let failed = |error: io::Error| format!("{}: {error}", folder.display());
        let mut script = String::from("set -e\n");
        for (index, place) in OWN_FOLDERS.iter().enumerate() {
            let own = folder.join(index.to_string());
            fs::create_dir_all(&own).map_err(failed)?;
            script += &format!("mount --bind '{}' {place}\n", own.display());
        }
        // The first process gets the orphans of a namespace, and has to ask for the status of each.
        script += &format!(": > '{}'\nwhile :; do sleep 3600 & wait $!; done\n", ready.display());
        let mut unshare = Command::new("unshare");
        // Mounts of this machine appear in the node, but not the other way round.
        unshare.args(["--mount", "--propagation", "slave", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]);
        unshare.args(["sh", "-c", &script]);
        let id = cluster.processes.start(&self.name(), &mut unshare)?;
        cluster.wait_for(&self.name(), || ready.exists())?;
        Ok(Namespaces(id))
    }

    /// Lays a cable to the bridge, with ways to the pods of all nodes.
    fn connect(self, inside: &Namespaces) -> Result<(), String> {
        let (cable, holder) = (self.cable(), inside.0.to_string());
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &holder])?;
        ip(&["link", "set", &cable, "master", BRIDGE, "up"])?;
        ip(&["route", "add", &self.pods_network(), "via", &self.address().to_string(), "dev", BRIDGE])?;
        let ip = |args: &[&str]| succeeds(inside.command("ip").args(args));
        ip(&["link", "set", "lo", "up"])?;
        ip(&["address", "add", &format!("{}/24", self.address()), "dev", "eth0"])?;
        ip(&["link", "set", "eth0", "up"])?;
        ip(&["route", "add", "default", "via", &GATEWAY.to_string()])?;
        for other in Self::all().filter(|other| other.0 != self.0) {
            ip(&["route", "add", &other.pods_network(), "via", &other.address().to_string()])?;
        }
        Ok(())
    }

    fn pods_network(self) -> String {
        let [a, b, c, _] = self.pods().octets();
        format!("{}/24", Ipv4Addr::new(a, b, c, 0))
    }

    fn start_engine(self, cluster: &Cluster, inside: &Namespaces) -> Result<(), String> {
        let socket = self.socket(cluster);
        let settings = self.folder(cluster).join("daemon.json");
        let text = json!({
            "hosts": [format!("unix://{}", socket.display())],
            "bip": format!("{}/24", self.pods()),
            // Pods have addresses of the whole cluster, and no way out of it.
            "iptables": false,
            "ip-masq": false,
            "cgroup-parent": format!("/{GROUP}"),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "runtimes": { "lenient": { "path": asset("runc.sh") } },
            "default-runtime": "lenient",
        });
        write(&settings, text.to_string())?;
        fs::create_dir_all(engines(cluster)).map_err(|error| format!("{}: {error}", engines(cluster).display()))?;
        let name = format!("{}-engine", self.name());
        cluster.processes.start(&name, inside.command("dockerd").arg("--config-file").arg(settings))?;
        cluster.wait_for(&name, || {
            let info = self.docker(cluster).arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
            info.is_ok_and(|status| status.success())
        })
    }

    fn docker(self, cluster: &Cluster) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(format!("unix://{}", self.socket(cluster).display()));
        docker
    }

    /// Fills the engine, which reaches no registry.
    fn load(self, cluster: &Cluster, archive: &Path, images: &[Image]) -> Result<(), String> {
        succeeds(self.docker(cluster).args(["load", "--quiet", "--input"]).arg(archive).stdout(Stdio::null()))?;
        images.iter().try_for_each(|image| succeeds(self.docker(cluster).args(["tag", &image.built, &image.wanted])))
    }

    fn start_kubelet(self, cluster: &Cluster, inside: &Namespaces) -> Result<(), String> {
        let mut kubelet = inside.command(binaries::program("kubelet"));
        kubelet.args([
            &format!("--config={}", asset("kubelet.yaml").display()),
            &format!("--kubeconfig={}", cluster.path("kubeconfig").display()),
            &format!("--hostname-override={}", self.name()),
            &format!("--node-ip={}", self.address()),
            &format!("--address={}", self.address()),
            &format!("--docker-endpoint=unix://{}", self.socket(cluster).display()),
            &format!("--pod-infra-container-image={}", images::PAUSE),
            "--container-runtime=docker",
            // Pods are on the engine's own bridge.
            "--network-plugin=",
            "--volume-plugin-dir=/var/lib/kubelet/plugins",
        ]);
        cluster.processes.start(&self.kubelet(), &mut kubelet).map(drop)
    }

    /// Starts the program that directs the addresses of services to pods.
    fn start_proxy(self, cluster: &Cluster, inside: &Namespaces) -> Result<(), String> {
        let mut proxy = inside.command(binaries::program("kube-proxy"));
        proxy.args([
            &format!("--kubeconfig={}", cluster.path("kubeconfig").display()),
            &format!("--hostname-override={}", self.name()),
            &format!("--bind-address={}", self.address()),
            &format!("--cluster-cidr={NETWORK}"),
            "--proxy-mode=iptables",
            // These settings are those of the whole machine, which a node may not change.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]);
        cluster.processes.start(&format!("{}-proxy", self.name()), &mut proxy).map(drop)
    }
}

/// The folder with the sockets of all engines.
pub(super) fn engines(cluster: &Cluster) -> PathBuf {
    cluster.path("engines")
}

/// The namespaces of a node, by the process that made them.
#[derive(Debug)]
struct Namespaces(u32);

impl Namespaces {
    /// Returns the command that runs a program in the namespaces.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut nsenter = Command::new("nsenter");
        // The process that made the namespaces is itself outside of that for processes; its children are inside.
        nsenter.args([&format!("--target={}", self.0), "--mount", "--net", &format!("--pid=/proc/{}/ns/pid_for_children", self.0), "--"]);
        nsenter.arg(program);
        nsenter
    }
}

/// Removes the control groups of the containers, which the kernel keeps after the last process.
pub(super) fn remove_groups() {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path().join(GROUP));
    let groups: Vec<_> = hierarchies.chain([Path::new("/sys/fs/cgroup").join(GROUP)]).filter(|group| group.is_dir()).collect();
    let deadline = Instant::now() + PATIENCE;
    for group in groups {
        // Killed processes take a moment to leave.
        while let Err(error) = remove_group(&group) {
            if Instant::now() > deadline {
                eprintln!("{}: {error}", group.display());
                break;
            }
            sleep(Duration::from_millis(100));
        }
    }
}

/// Removes a control group with those below it. Their files go with them.
fn remove_group(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove_group(&entry.path())?;
    }
    fs::remove_dir(group)
}
