//! The processes of one run: servers, what is beside them, and the load generator.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::machine::Cores;
use super::peer::{Balancer, Beside, Peer};
use super::process::{Process, Program, free_port};
use super::record::Figures;
use super::scenario::Scenario;
use crate::{tools, workspace};

/// The time beyond which a load generator hangs. It stops by itself before.
const LIMIT_SECS: u32 = 330;

/// The nodes of a cluster.
const NODES: usize = 2;

/// All processes of a run. They end with it, the last one first.
#[derive(Debug, Default)]
struct Stage {
    /// The processes with their names in the report.
    processes: Vec<(String, u32)>,
    /// The addresses of the load.
    addresses: Vec<String>,
    running: Vec<Process>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        while let Some(process) = self.running.pop() {
            drop(process);
        }
    }
}

/// Measures a peer in a scenario.
pub(super) fn run(load: &Path, peer: &Peer, scenario: &Scenario, cores: &Cores, seconds: f64, warmup: f64) -> io::Result<Figures> {
    let stage = Stage::set(peer, scenario, cores)?;
    let mut command = match cores.load {
        Some(core) => {
            let mut command = tools::limited("taskset", LIMIT_SECS);
            command.args(["--cpu-list", &core.to_string()]).arg(load);
            command
        }
        None => tools::limited(&load.to_string_lossy(), LIMIT_SECS),
    };
    let processes: Vec<_> = stage.processes.iter().map(|(name, id)| format!("{name}={id}")).collect();
    command.args(scenario.load).args(["--server", &stage.addresses.join(","), "--process", &processes.join(",")]);
    command.args(["--seconds", &seconds.to_string(), "--warmup", &warmup.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    if output.stdout.is_empty() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Figures::read(&output.stdout).map_err(|error| io::Error::other(format!("cannot read the report: {error}")))
}

impl Stage {
    fn set(peer: &Peer, scenario: &Scenario, cores: &Cores) -> io::Result<Self> {
        let mut stage = Self::default();
        match &peer.beside {
            Beside::Nothing => {
                let port = stage.server("server", peer, scenario, cores.server, None)?;
                stage.addresses.push(address(port));
            }
            Beside::Broker { program, variable: (name, value) } => {
                let port = free_port()?;
                let mut program = program.clone();
                for arg in &mut program.args {
                    *arg = arg.replace("{port}", &port.to_string());
                }
                stage.start("broker", "broker", &program, cores.load, port)?;
                let variable = (*name, value.replace("{port}", &port.to_string()));
                for node in 1..=NODES {
                    let port = stage.server(&format!("node{node}"), peer, scenario, cores.server, Some(&variable))?;
                    stage.addresses.push(address(port));
                }
            }
            Beside::Backend(program) => {
                let port = free_port()?;
                let program = program.clone().env("PORT", port.to_string());
                stage.start("backend", "backend", &program, cores.load, port)?;
                let variable = ("WEBHOOK", format!("http://{}/", address(port)));
                let port = stage.server("server", peer, scenario, cores.server, Some(&variable))?;
                stage.addresses.push(address(port));
            }
            Beside::Balancer(balancer) => {
                let mut servers = vec![];
                for node in 1..=scenario.servers {
                    let port = stage.server(&format!("node{node}"), peer, scenario, cores.load, None)?;
                    servers.push(address(port));
                }
                let port = free_port()?;
                let program = balancer.program(port, &servers)?;
                let process = Process::start(&peer.name, &program, cores.server, port)?;
                let id = if matches!(balancer, Balancer::Nginx(_)) { process.worker_id() } else { process.id() };
                stage.processes.push(("balancer".into(), id));
                stage.running.push(process);
                stage.addresses.push(address(port));
            }
        }
        Ok(stage)
    }

    fn start(&mut self, name: &str, log: &str, program: &Program, core: Option<usize>, port: u16) -> io::Result<()> {
        let process = Process::start(log, program, core, port)?;
        self.processes.push((name.into(), process.id()));
        self.running.push(process);
        Ok(())
    }

    /// Starts a server, and returns its port.
    fn server(
        &mut self,
        name: &str,
        peer: &Peer,
        scenario: &Scenario,
        core: Option<usize>,
        variable: Option<&(&str, String)>,
    ) -> io::Result<u16> {
        let port = free_port()?;
        let mut program = peer.server(scenario, port);
        if let Some((name, value)) = variable {
            program = program.env(name, value);
        }
        self.start(name, &format!("{}-{name}", peer.name), &program, core, port)?;
        Ok(port)
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Balancer {
    /// Returns its command, with one worker before these servers.
    fn program(&self, port: u16, servers: &[String]) -> io::Result<Program> {
        Ok(match self {
            Self::Sociable(path) => {
                let args = ["--workers", "1", "--listen", &address(port), "--nodes", &servers.join(",")];
                Program::new(path).args(args.map(str::to_owned))
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
