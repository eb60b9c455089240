//! The processes of one run: servers, what is beside them, and the load generator.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::machine::Cores;
use super::peer::{Balancer, Peer};
use super::process::{Launch, Process, Program, free_port};
use super::record::Figures;
use super::scenario::Scenario;
use crate::{tools, workspace};

/// The time beyond which a load generator hangs. It stops by itself before.
const LIMIT_SECS: u32 = 330;

/// The line by which the load generator asks for another server, before the signal that ends the first.
const REPLACE: &str = "replace ";

/// A process with its name in the report.
#[derive(Debug)]
struct Member {
    name: String,
    process: Process,
    /// The process that works: that of the program, or its child.
    id: u32,
}

/// All processes of a run. They end with it, the last one first.
#[derive(Debug, Default)]
struct Stage {
    /// The beginning of the names of all logs.
    log: String,
    members: Vec<Member>,
    /// The addresses of the load.
    addresses: Vec<String>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        while let Some(member) = self.members.pop() {
            drop(member);
        }
    }
}

/// The times of a run, and what changes its load.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) seconds: f64,
    pub(super) warmup: f64,
    /// Arguments of the load generator that replace those of the scenario.
    pub(super) more: Vec<String>,
}

/// Measures a peer in a scenario.
pub(super) fn run(load: &Path, peer: &Peer, scenario: &Scenario, cores: &Cores, run: &Run) -> io::Result<Figures> {
    let mut stage = Stage::set(peer, scenario, cores)?;
    let mut command = match cores.load {
        Some(core) => {
            let mut command = tools::limited("taskset", LIMIT_SECS);
            command.args(["--cpu-list", &core.to_string()]).arg(load);
            command
        }
        None => tools::limited(&load.to_string_lossy(), LIMIT_SECS),
    };
    let processes: Vec<_> = stage.members.iter().map(|Member { name, id, .. }| format!("{name}={id}")).collect();
    command.args(scenario.load).args(["--server", &stage.addresses.join(","), "--process", &processes.join(",")]);
    if scenario.set.has_recovery() {
        // Each address has some 28,000 ports, and those of closed connections rest for a minute.
        command.args(["--sources", "16"]);
    }
    command.args(["--seconds", &run.seconds.to_string(), "--warmup", &run.warmup.to_string()]).args(&run.more);
    let report = attended(&mut command, &mut stage)?;
    Figures::read(report.as_bytes()).map_err(|error| io::Error::other(format!("cannot read the report: {error}")))
}

/// Runs the load generator, replaces a server when it asks for it, and returns its report.
fn attended(command: &mut Command, stage: &mut Stage) -> io::Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut answers, mut failure) = (child.stdin.take(), None);
    let mut report = None;
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
        let line = line?;
        let Some(signal) = line.strip_prefix(REPLACE) else {
            report = Some(line);
            continue;
        };
        let answered = stage.replace(signal).and_then(|successor| match &mut answers {
            Some(answers) => writeln!(answers, "{successor}"),
            None => Ok(()),
        });
        // Without an answer the load generator ends by itself.
        if let Err(error) = answered {
            answers = None;
            failure = Some(error);
        }
    }
    let mut errors = String::new();
    if let Some(mut output) = child.stderr.take() {
        output.read_to_string(&mut errors)?;
    }
    child.wait()?;
    match (failure, report) {
        (Some(failure), _) => Err(failure),
        (None, Some(report)) => Ok(report),
        (None, None) => Err(io::Error::other(errors.trim().to_owned())),
    }
}

impl Stage {
    fn set(peer: &Peer, scenario: &Scenario, cores: &Cores) -> io::Result<Self> {
        let log = format!("{}-{}", scenario.name, peer.name);
        let mut stage = Self { log, members: vec![], addresses: vec![] };
        let subject = scenario.set.subject();
        let core = |name: &str| if name == subject { cores.server } else { cores.load };
        let mut variables = vec![];
        let mut nats = None;
        if let Some(broker) = &peer.beside.broker {
            let port = free_port()?;
            let folder = workspace::target().join(format!("bench/brokers/{port}"));
            let mut program = broker.program.clone();
            for arg in &mut program.args {
                *arg = arg.replace("{port}", &port.to_string()).replace("{folder}", &folder.to_string_lossy());
            }
            // A broker that remembered the last run would begin with its messages.
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder)?;
            stage.start("broker", program, core("broker"), port)?;
            let (name, value) = &broker.variable;
            let value = value.replace("{port}", &port.to_string());
            nats = value.starts_with("nats:").then(|| value.clone());
            variables.push((*name, value));
        }
        if let Some(backend) = &peer.beside.backend {
            let port = free_port()?;
            stage.start("backend", backend.clone().env("PORT", port.to_string()), core("backend"), port)?;
            variables.push(("WEBHOOK", format!("http://{}/", address(port))));
        }
        for node in 1..=scenario.servers {
            let port = free_port()?;
            let mut program = peer.server(scenario, port);
            if peer.beside.balancer.is_some() {
                program = program.env("ADVERTISE", address(port));
            }
            for (name, value) in &variables {
                program = program.env(name, value.clone());
            }
            let (name, core) = if subject == "server" { (subject.into(), core(subject)) } else { (format!("node{node}"), core("node")) };
            stage.start(&name, program, core, port)?;
            stage.addresses.push(address(port));
        }
        if let Some(balancer) = &peer.beside.balancer {
            let port = free_port()?;
            let program = balancer.program(port, &stage.addresses, nats.as_deref())?;
            stage.start("balancer", program, core("balancer"), port)?;
            if let (Balancer::Nginx(_), Some(member)) = (balancer, stage.members.last_mut()) {
                member.id = member.process.worker_id();
            }
            stage.addresses = vec![address(port)];
        }
        Ok(stage)
    }

    fn start(&mut self, name: &str, program: Program, core: Option<usize>, port: u16) -> io::Result<()> {
        let process = Process::start(Launch { name: format!("{}-{name}", self.log), program, core, port })?;
        self.members.push(Member { name: name.into(), id: process.id(), process });
        Ok(())
    }

    /// Replaces the last server, and returns its name and its process as the load generator reads them.
    fn replace(&mut self, signal: &str) -> io::Result<String> {
        let is_server = |member: &&mut Member| member.name.starts_with("server") || member.name.starts_with("node");
        let server = self.members.iter_mut().rfind(is_server).ok_or_else(|| io::Error::other("no server to replace"))?;
        server.process.replace(signal)?;
        server.id = server.process.id();
        Ok(format!("{}={}", server.name, server.id))
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Balancer {
    /// Returns its command, with one worker before these servers. Ours finds the nodes of a cluster by itself.
    fn program(&self, port: u16, servers: &[String], nats: Option<&str>) -> io::Result<Program> {
        Ok(match self {
            Self::Sociable(path) => {
                let (flag, nodes) = nats.map_or_else(|| ("--nodes", servers.join(",")), |nats| ("--nats", nats.to_owned()));
                Program::new(path).args(["--workers", "1", "--listen", &address(port), flag, &nodes].map(str::to_owned))
            }
            Self::Nginx(path) => {
                let lines = servers.iter().map(|server| format!("        server {server};"));
                let config = settings("nginx.conf", port, lines)?;
                Program::new(path).args(["-e", "stderr", "-c"]).args([config.to_string_lossy()])
            }
            Self::Haproxy(path) => {
                let lines = servers.iter().enumerate().map(|(at, server)| format!("    server node{at} {server}"));
                let config = settings("haproxy.cfg", port, lines)?;
                Program::new(path).args(["-db", "-f"]).args([config.to_string_lossy()])
            }
        })
    }
}

/// Fills in the settings of a balancer, and returns the file.
fn settings(name: &str, port: u16, servers: impl Iterator<Item = String>) -> io::Result<PathBuf> {
    let template = fs::read_to_string(workspace::root().join("bench/balancers").join(name))?;
    let folder = workspace::target().join("bench").join(name.replace('.', "-"));
    fs::create_dir_all(&folder)?;
    let servers = servers.collect::<Vec<_>>().join("\n");
    let text = template.replace("@PORT@", &port.to_string()).replace("@SERVERS@", servers.trim_start());
    let file = folder.join(name);
    fs::write(&file, text.replace("@FOLDER@", &folder.to_string_lossy()))?;
    Ok(file)
}
