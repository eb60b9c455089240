//! The servers that are measured, each with its recipe. `bench/peers/README.md` has the recipes for people.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{Program, find};
use super::record::Version;
use super::scenario::{Scenario, Set};
use crate::report::Report;
use crate::rust::cargo;
use crate::{clients, js, workspace};

/// The programs of this repository that a run needs.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) load: PathBuf,
    sociable: PathBuf,
    floor: PathBuf,
    balancer: PathBuf,
    gateway: PathBuf,
    is_debug: bool,
}

/// A server that can be measured.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) set: Set,
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) is_default: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sociable,
    PlainSociable,
    Floor,
    Socketioxide,
    Bun,
    Node,
    Python,
    SociableBalancer,
    Nginx,
    Haproxy,
    SociableNats,
    SocketioxideRedis,
    /// The adapter of `bench/peers/node`.
    NodeRedis(&'static str),
    SociableGateway,
    Express,
}

impl Kind {
    /// Returns whether the example `bench` of Sociable is measured, or is behind the balancer that is.
    fn has_sociable(self) -> bool {
        let is_other = matches!(
            self,
            Self::Floor
                | Self::Socketioxide
                | Self::Bun
                | Self::Node
                | Self::Python
                | Self::SocketioxideRedis
                | Self::NodeRedis(_)
                | Self::SociableGateway
                | Self::Express
        );
        !is_other
    }
}

const fn recipe(set: Set, name: &'static str, title: &'static str, kind: Kind) -> Recipe {
    Recipe { set, name, title, is_default: true, kind }
}

pub(super) const RECIPES: [Recipe; 17] = [
    recipe(Set::Servers, "sociable", "Sociable", Kind::Sociable),
    recipe(Set::Servers, "floor", "bare epoll loop", Kind::Floor),
    recipe(Set::Servers, "socketioxide", "socketioxide", Kind::Socketioxide),
    recipe(Set::Servers, "bun", "Bun", Kind::Bun),
    recipe(Set::Servers, "node", "Node.js", Kind::Node),
    Recipe { is_default: false, ..recipe(Set::Servers, "python", "python-socketio", Kind::Python) },
    Recipe { is_default: false, ..recipe(Set::Servers, "sociable-plain", "Sociable in an HttpServer", Kind::PlainSociable) },
    recipe(Set::Balancers, "sociable-balancer", "Sociable", Kind::SociableBalancer),
    recipe(Set::Balancers, "nginx", "nginx", Kind::Nginx),
    recipe(Set::Balancers, "haproxy", "HAProxy", Kind::Haproxy),
    recipe(Set::Clusters, "sociable-nats", "Sociable, NATS", Kind::SociableNats),
    recipe(Set::Clusters, "socketioxide-redis", "socketioxide, Redis", Kind::SocketioxideRedis),
    recipe(Set::Clusters, "node-redis", "Node.js, Redis", Kind::NodeRedis("pubsub")),
    recipe(Set::Clusters, "node-redis-sharded", "Node.js, sharded Redis", Kind::NodeRedis("sharded")),
    recipe(Set::Clusters, "node-redis-streams", "Node.js, Redis streams", Kind::NodeRedis("streams")),
    recipe(Set::Backends, "sociable-gateway", "Sociable", Kind::SociableGateway),
    recipe(Set::Backends, "express", "Express", Kind::Express),
];

/// The programs beside the server.
#[derive(Clone, Debug)]
pub(super) enum Beside {
    Nothing,
    /// A broker for two nodes: its program, and the variable of the nodes with its address. `{port}` is replaced in both.
    Broker {
        program: Program,
        variable: (&'static str, &'static str),
    },
    /// A balancer before the servers.
    Balancer(Balancer),
    /// A backend that the server asks. The variable `WEBHOOK` of the server has its address.
    Backend(Program),
}

/// A balancer, and the file of its settings if it has one.
#[derive(Clone, Debug)]
pub(super) enum Balancer {
    Sociable(PathBuf),
    Nginx(PathBuf),
    Haproxy(PathBuf),
}

/// A server that is ready to be measured.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    title: String,
    version: String,
    server: Program,
    pub(super) beside: Beside,
}

impl Peer {
    /// Returns whether the server can answer the load.
    pub(super) fn answers(&self, scenario: &Scenario) -> bool {
        // The loop speaks WebSocket alone.
        self.name != "floor" || scenario.name != "polling"
    }

    /// Returns the command of a server.
    pub(super) fn server(&self, scenario: &Scenario, port: u16) -> Program {
        let server = self.server.clone().env("PORT", port.to_string());
        // python-socketio does not say whether a client asked for an acknowledgement.
        if self.name == "python" && scenario.name == "ack" { server.env("ACK", "1") } else { server }
    }

    pub(super) fn version(&self) -> Version {
        Version { name: self.name.clone(), title: self.title.clone(), version: self.version.clone() }
    }
}

/// Returns the recipes of a set: all defaults, or those that are named.
fn wanted(set: Set, named: &[String]) -> impl Iterator<Item = &'static Recipe> {
    RECIPES.iter().filter(move |recipe| {
        let is_named = named.iter().any(|name| name == recipe.name);
        recipe.set == set && (is_named || named.is_empty() && recipe.is_default)
    })
}

/// Builds the programs of this repository that the peers need.
pub(super) fn build(report: &mut Report, is_debug: bool, scenarios: &[&Scenario], named: &[String]) -> Result<Tools, String> {
    let sets = Set::ALL.into_iter().filter(|&set| scenarios.iter().any(|scenario| scenario.set == set));
    let kinds: Vec<_> = sets.flat_map(|set| wanted(set, named)).map(|recipe| recipe.kind).collect();
    let built = |args: &[&str]| {
        let mut command = cargo(&["build"]);
        command.args(if is_debug { None } else { Some("--release") }).args(args);
        command
    };
    let instruments = ["--package", "sociable-load", "--package", "sociable-floor", "--bins"];
    let mut is_built = report.check("build of the instruments", &mut built(&instruments));
    if kinds.iter().any(|kind| kind.has_sociable()) {
        is_built &= report.check("build of the server", &mut built(&["--package", "sociable", "--example", "bench"]));
    }
    if kinds.iter().any(|kind| matches!(kind, Kind::SociableGateway | Kind::Express)) {
        is_built &= report.check("build of the gateway", &mut built(&["--package", "sociable-gateway", "--example", "gateway_bench"]));
    }
    if kinds.iter().any(|kind| matches!(kind, Kind::SociableBalancer)) {
        let balancer = ["--package", "sociable-balancer", "--bin", "sociable-balancer"];
        is_built &= report.check("build of the balancer", &mut built(&balancer));
    }
    let folder = workspace::target().join(if is_debug { "debug" } else { "release" });
    let tools = Tools {
        load: folder.join("sociable-load"),
        sociable: folder.join("examples/bench"),
        floor: folder.join("sociable-floor"),
        balancer: folder.join("sociable-balancer"),
        gateway: folder.join("examples/gateway_bench"),
        is_debug,
    };
    if is_built { Ok(tools) } else { Err("the programs do not compile".into()) }
}

/// Prepares the peers of a set: all defaults, or those that are named. Peers that cannot be had are skipped aloud.
pub(super) fn prepare(report: &mut Report, set: Set, tools: &Tools, named: &[String], own: &[String]) -> Result<Vec<Peer>, String> {
    if let Some(unknown) = named.iter().find(|&name| RECIPES.iter().all(|recipe| recipe.name != name)) {
        return Err(format!("unknown peer {unknown:?}: `cargo xtask bench --list` names all"));
    }
    let mut peers = vec![];
    for recipe in wanted(set, named) {
        match recipe.prepare(report, tools) {
            Ok(peer) => peers.push(peer),
            Err(why) => report.skip(&format!("peer {}", recipe.name), &why),
        }
    }
    if set == Set::Servers {
        for own in own {
            let (name, program) = own.split_once('=').ok_or_else(|| format!("cannot read the server {own:?}: give NAME=PROGRAM"))?;
            // Programs run elsewhere, so their paths do not depend on the current folder.
            let path = std::path::absolute(program).map_err(|error| format!("{program}: {error}"))?;
            if !path.is_file() {
                return Err(format!("there is no program {program}"));
            }
            let (name, title) = (name.to_owned(), name.to_owned());
            peers.push(Peer { name, title, version: String::new(), server: Program::new(path), beside: Beside::Nothing });
        }
    }
    Ok(peers)
}

impl Recipe {
    fn prepare(&self, report: &mut Report, tools: &Tools) -> Result<Peer, String> {
        let ours = env!("CARGO_PKG_VERSION").to_owned();
        let sociable = || Program::new(&tools.sociable);
        let (server, version, beside) = match self.kind {
            Kind::Sociable => (sociable(), ours, Beside::Nothing),
            Kind::PlainSociable => (sociable().env("PLAIN", "1"), ours, Beside::Nothing),
            Kind::Floor => (Program::new(&tools.floor), String::new(), Beside::Nothing),
            Kind::Socketioxide => {
                let (program, version) = socketioxide(report, tools.is_debug)?;
                (program, version, Beside::Nothing)
            }
            Kind::Bun => {
                let (program, version) = bun(report)?;
                (program, version, Beside::Nothing)
            }
            Kind::Node => {
                let (program, version) = node(report)?;
                (program, version, Beside::Nothing)
            }
            Kind::Python => {
                let (program, version) = python(report)?;
                (program, version, Beside::Nothing)
            }
            Kind::SociableBalancer => (sociable(), ours, Beside::Balancer(Balancer::Sociable(tools.balancer.clone()))),
            Kind::Nginx => {
                let path = needed("nginx", "nginx")?;
                (sociable(), version_of(&path, &["-v"]), Beside::Balancer(Balancer::Nginx(path)))
            }
            Kind::Haproxy => {
                let path = needed("haproxy", "haproxy")?;
                (sociable(), version_of(&path, &["-v"]), Beside::Balancer(Balancer::Haproxy(path)))
            }
            Kind::SociableNats => {
                let path = match std::env::var_os("NATS_SERVER") {
                    Some(path) => path.into(),
                    None => needed("nats-server", "nats-server")?,
                };
                let version = format!("{ours}, NATS {}", version_of(&path, &["--version"]));
                let program = Program::new(path).args(["-a", "127.0.0.1", "-p", "{port}"]);
                (sociable(), version, Beside::Broker { program, variable: ("NATS", "nats://127.0.0.1:{port}") })
            }
            Kind::SocketioxideRedis => {
                let (broker, redis) = redis()?;
                let (program, version) = socketioxide(report, tools.is_debug)?;
                (program, format!("{version}, Redis {redis}"), broker)
            }
            Kind::NodeRedis(adapter) => {
                let (broker, redis) = redis()?;
                let (program, version) = node(report)?;
                (program.env("ADAPTER", adapter), format!("{version}, Redis {redis}"), broker)
            }
            Kind::SociableGateway => (Program::new(&tools.gateway), ours, backend(tools)),
            Kind::Express => {
                let (program, version) = node(report)?;
                let server = folder("node").join("express.js").to_string_lossy().into_owned();
                (Program { args: vec![server], ..program }, version, backend(tools))
            }
        };
        Ok(Peer { name: self.name.into(), title: self.title.into(), version, server, beside })
    }
}

/// Returns the folder of a peer.
fn folder(name: &str) -> PathBuf {
    workspace::root().join("bench/peers").join(name)
}

/// Returns the path of a program, or how to install it.
fn needed(program: &str, package: &str) -> Result<PathBuf, String> {
    find(program).ok_or_else(|| format!("there is no {program}: apt-get install {package}, or see bench/peers/README.md"))
}

/// Returns the first version in what a program prints, such as `2.6.12`.
fn version_of(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    first_version(&String::from_utf8_lossy(&text)).unwrap_or_else(|| "of unknown version".into())
}

fn first_version(text: &str) -> Option<String> {
    let mut words = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
    words.find(|word| word.contains('.')).map(str::to_owned)
}

fn socketioxide(report: &mut Report, is_debug: bool) -> Result<(Program, String), String> {
    let target = workspace::target().join("peers/socketioxide");
    let mut build = cargo(&["build", "--locked", "--manifest-path", "bench/peers/socketioxide/Cargo.toml"]);
    build.args(if is_debug { None } else { Some("--release") }).env("CARGO_TARGET_DIR", &target);
    if !report.check("build of socketioxide", &mut build) {
        return Err("it does not compile".into());
    }
    let lock = fs::read_to_string(folder("socketioxide").join("Cargo.lock")).unwrap_or_default();
    let version = lock.split("[[package]]").find_map(|package| package.trim_start().strip_prefix("name = \"socketioxide\"\n"));
    let version = version.and_then(first_version).unwrap_or_default();
    Ok((Program::new(target.join(if is_debug { "debug" } else { "release" }).join("sociable-peer-socketioxide")), version))
}

/// Installs the packages of a peer in JavaScript, and returns the version of `socket.io`.
fn packages(report: &mut Report, name: &str) -> Result<String, String> {
    needed("npm", "npm")?;
    let folder = folder(name);
    if !js::install_packages(report, &format!("packages of the peer {name}"), &folder) {
        return Err("its packages cannot be installed: see bench/peers/README.md".into());
    }
    let manifest = fs::read(folder.join("node_modules/socket.io/package.json")).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
    let version = manifest.get("version").and_then(|version| version.as_str()).unwrap_or("of unknown version");
    Ok(format!("socket.io {version}"))
}

fn node(report: &mut Report) -> Result<(Program, String), String> {
    let program = needed("node", "nodejs")?;
    let library = packages(report, "node")?;
    let version = format!("{}, {library}", version_of(&program, &["--version"]));
    let server = folder("node").join("server.js").to_string_lossy().into_owned();
    Ok((Program::new(program).args([server]).env("NODE_ENV", "production"), version))
}

fn bun(report: &mut Report) -> Result<(Program, String), String> {
    let library = packages(report, "bun")?;
    // npm installs the builds for this processor, with and without its newest instructions.
    let builds = fs::read_dir(folder("bun").join("node_modules/@oven")).into_iter().flatten().flatten();
    let mut programs: Vec<_> = builds.map(|build| build.path().join("bin/bun")).filter(|path| path.is_file()).collect();
    programs.sort();
    let works = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success());
    let program = programs.into_iter().find(works).ok_or("npm has no build of Bun for this machine")?;
    let version = format!("{}, {library}", version_of(&program, &["--version"]));
    let server = folder("bun").join("server.js").to_string_lossy().into_owned();
    Ok((Program::new(program).args([server]).env("NODE_ENV", "production"), version))
}

fn python(report: &mut Report) -> Result<(Program, String), String> {
    needed("python3", "python3-venv")?;
    let requirements = folder("python").join("requirements.txt");
    let python = clients::environment(report, "python-socketio", &requirements)?;
    let pinned = fs::read_to_string(requirements).unwrap_or_default();
    let version = pinned.lines().find_map(|line| line.strip_prefix("python-socketio==")).unwrap_or_default().to_owned();
    let server = folder("python").join("server.py").to_string_lossy().into_owned();
    Ok((Program::new(python).args(["-B".into(), server]), version))
}

/// Returns the backend of both servers, which gives the arguments of an event back.
fn backend(tools: &Tools) -> Beside {
    Beside::Backend(Program::new(&tools.gateway).env("BACKEND", "1"))
}

/// Returns Redis as the broker of a cluster, and its version.
fn redis() -> Result<(Beside, String), String> {
    let path = needed("redis-server", "redis-server")?;
    let version = version_of(&path, &["--version"]);
    let program = Program::new(path).args(["--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    Ok((Beside::Broker { program, variable: ("REDIS_URL", "redis://127.0.0.1:{port}") }, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_found_in_what_programs_print() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u3 2025/10/01 - https://haproxy.org/", "2.6.12"),
            ("nats-server: v2.9.10", "2.9.10"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1", "7.0.15"),
            ("v20.20.2", "20.20.2"),
        ] {
            assert_eq!(first_version(text).as_deref(), Some(version));
        }
        assert_eq!(first_version("no number."), None);
    }

    #[test]
    fn names_of_peers_differ() {
        for (at, recipe) in RECIPES.iter().enumerate() {
            assert!(RECIPES[..at].iter().all(|other| other.name != recipe.name), "{}", recipe.name);
        }
        for set in Set::ALL {
            assert!(RECIPES.iter().any(|recipe| recipe.name == set.base()), "ratios need {}", set.base());
        }
    }
}
