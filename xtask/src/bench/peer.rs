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

impl Tools {
    /// Returns the programs in an output folder of cargo.
    pub(super) fn of(target: &Path, is_debug: bool) -> Self {
        let folder = target.join(if is_debug { "debug" } else { "release" });
        Self {
            load: folder.join("sociable-load"),
            sociable: folder.join("examples/bench"),
            floor: folder.join("sociable-floor"),
            balancer: folder.join("sociable-balancer"),
            gateway: folder.join("examples/gateway_bench"),
            is_debug,
        }
    }
}

/// A checkout of this repository, and the output folder of cargo.
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) root: PathBuf,
    pub(super) target: PathBuf,
}

impl Checkout {
    /// Returns the one that this program is of.
    pub(super) fn present() -> Self {
        Self { root: workspace::root().into(), target: workspace::target() }
    }
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

const fn extra(recipe: Recipe) -> Recipe {
    Recipe { is_default: false, ..recipe }
}

pub(super) const RECIPES: [Recipe; 25] = [
    recipe(Set::Servers, "sociable", "Sociable", Kind::Sociable),
    recipe(Set::Servers, "floor", "bare epoll loop", Kind::Floor),
    recipe(Set::Servers, "socketioxide", "socketioxide", Kind::Socketioxide),
    recipe(Set::Servers, "bun", "Bun", Kind::Bun),
    recipe(Set::Servers, "node", "Node.js", Kind::Node),
    extra(recipe(Set::Servers, "python", "python-socketio", Kind::Python)),
    extra(recipe(Set::Servers, "sociable-plain", "Sociable in an HttpServer", Kind::PlainSociable)),
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
    recipe(Set::Resilience, "sociable", "Sociable", Kind::Sociable),
    recipe(Set::Resilience, "socketioxide", "socketioxide", Kind::Socketioxide),
    recipe(Set::Resilience, "node", "Node.js", Kind::Node),
    extra(recipe(Set::Resilience, "sociable-nats", "Sociable, NATS", Kind::SociableNats)),
    extra(recipe(Set::Resilience, "node-redis-streams", "Node.js, Redis streams", Kind::NodeRedis("streams"))),
    recipe(Set::Rolling, "sociable-nats", "Sociable, NATS", Kind::SociableNats),
    recipe(Set::Rolling, "socketioxide-redis", "socketioxide, Redis", Kind::SocketioxideRedis),
    recipe(Set::Rolling, "node-redis-streams", "Node.js, Redis streams", Kind::NodeRedis("streams")),
];

/// The programs beside the servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    /// A broker for all nodes.
    pub(super) broker: Option<Broker>,
    /// A balancer before the servers.
    pub(super) balancer: Option<Balancer>,
    /// A backend that the server asks. The variable `WEBHOOK` of the server has its address.
    pub(super) backend: Option<Program>,
}

/// A broker, and the variable of the nodes with its address. In both, `{port}` is replaced, and `{folder}` by an empty folder.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) program: Program,
    pub(super) variable: (&'static str, &'static str),
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

/// Builds the programs of a checkout that the peers of some scenarios need, and the instruments of this one.
pub(super) fn build(
    report: &mut Report,
    checkout: &Checkout,
    is_debug: bool,
    scenarios: &[&Scenario],
    named: &[String],
) -> Result<Tools, String> {
    let is_wanted = |set: &Set| scenarios.iter().any(|scenario| scenario.set == *set);
    let recipes: Vec<_> = Set::ALL.into_iter().filter(is_wanted).flat_map(|set| wanted(set, named)).collect();
    let needs = |is_needed: fn(&Recipe) -> bool| recipes.iter().any(|recipe| is_needed(recipe));
    let mut built = |name: &str, args: &[&str]| {
        let mut command = cargo(&["build"]);
        command.args(if is_debug { None } else { Some("--release") }).args(args);
        report.check(name, command.current_dir(&checkout.root).env("CARGO_TARGET_DIR", &checkout.target))
    };
    // Those of this checkout measure all.
    let instruments = ["--package", "sociable-load", "--package", "sociable-floor", "--bins"];
    let mut is_built = checkout.root != workspace::root() || built("build of the instruments", &instruments);
    if needs(|recipe| recipe.kind.has_sociable()) {
        is_built &= built("build of the server", &["--package", "sociable", "--example", "bench"]);
    }
    if needs(|recipe| matches!(recipe.kind, Kind::SociableGateway | Kind::Express)) {
        is_built &= built("build of the gateway", &["--package", "sociable-gateway", "--example", "gateway_bench"]);
    }
    if needs(Recipe::has_our_balancer) {
        is_built &= built("build of the balancer", &["--package", "sociable-balancer", "--bin", "sociable-balancer"]);
    }
    if is_built { Ok(Tools::of(&checkout.target, is_debug)) } else { Err("the programs do not compile".into()) }
}

/// Prepares Sociable as a peer of a set, from these programs and under this name.
pub(super) fn prepare_ours(report: &mut Report, set: Set, tools: &Tools, name: &str) -> Result<Peer, String> {
    let recipe = RECIPES.iter().find(|recipe| recipe.set == set && recipe.name == set.ours()).ok_or("the set has no recipe")?;
    Ok(Peer { name: name.into(), ..recipe.prepare(report, tools)? })
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
    if matches!(set, Set::Servers | Set::Resilience) {
        for own in own {
            let (name, program) = own.split_once('=').ok_or_else(|| format!("cannot read the server {own:?}: give NAME=PROGRAM"))?;
            // Programs run elsewhere, so their paths do not depend on the current folder.
            let path = std::path::absolute(program).map_err(|error| format!("{program}: {error}"))?;
            if !path.is_file() {
                return Err(format!("there is no program {program}"));
            }
            let (name, title) = (name.to_owned(), name.to_owned());
            let server = if set.has_recovery() { Program::new(path).env("RECOVERY", "1") } else { Program::new(path) };
            peers.push(Peer { name, title, version: String::new(), server, beside: Beside::default() });
        }
    }
    Ok(peers)
}

impl Recipe {
    /// Returns whether the balancer of Sociable is before the servers.
    fn has_our_balancer(&self) -> bool {
        match self.kind {
            Kind::SociableBalancer => true,
            Kind::SociableNats => self.set == Set::Rolling,
            _ => false,
        }
    }

    fn prepare(&self, report: &mut Report, tools: &Tools) -> Result<Peer, String> {
        let ours = || env!("CARGO_PKG_VERSION").to_owned();
        let sociable = || Program::new(&tools.sociable);
        let mut beside = Beside::default();
        let (mut server, version) = match self.kind {
            Kind::Sociable | Kind::SociableBalancer => (sociable(), ours()),
            Kind::PlainSociable => (sociable().env("PLAIN", "1"), ours()),
            Kind::Floor => (Program::new(&tools.floor), String::new()),
            Kind::Socketioxide => socketioxide(report, tools.is_debug)?,
            Kind::Bun => bun(report)?,
            Kind::Node => node(report)?,
            Kind::Python => python(report)?,
            Kind::Nginx | Kind::Haproxy => {
                let name = if matches!(self.kind, Kind::Nginx) { "nginx" } else { "haproxy" };
                let path = needed(name, name)?;
                let version = version_of(&path, &["-v"]);
                beside.balancer = Some(if name == "nginx" { Balancer::Nginx(path) } else { Balancer::Haproxy(path) });
                (sociable(), version)
            }
            Kind::SociableNats => {
                let (broker, version) = nats(self.set.has_recovery())?;
                beside.broker = Some(broker);
                (sociable(), format!("{}, NATS {version}", ours()))
            }
            Kind::SocketioxideRedis => {
                let (broker, redis) = redis()?;
                beside.broker = Some(broker);
                let (program, version) = socketioxide(report, tools.is_debug)?;
                (program, format!("{version}, Redis {redis}"))
            }
            Kind::NodeRedis(adapter) => {
                let (broker, redis) = redis()?;
                beside.broker = Some(broker);
                let (program, version) = node(report)?;
                (program.env("ADAPTER", adapter), format!("{version}, Redis {redis}"))
            }
            Kind::SociableGateway => {
                beside.backend = Some(backend(tools));
                (Program::new(&tools.gateway), ours())
            }
            Kind::Express => {
                beside.backend = Some(backend(tools));
                let (program, version) = node(report)?;
                let server = folder("node").join("express.js").to_string_lossy().into_owned();
                (Program { args: vec![server], ..program }, version)
            }
        };
        if self.set.has_recovery() {
            let history = if matches!(self.kind, Kind::SociableNats) { "JETSTREAM" } else { "RECOVERY" };
            server = server.env(history, "1");
        }
        if self.has_our_balancer() {
            beside.balancer = Some(Balancer::Sociable(tools.balancer.clone()));
        } else if self.set == Set::Rolling {
            beside.balancer = Some(Balancer::Nginx(needed("nginx", "nginx")?));
        }
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
fn backend(tools: &Tools) -> Program {
    Program::new(&tools.gateway).env("BACKEND", "1")
}

/// Returns NATS as the broker of a cluster, with JetStream if sessions are recovered, and its version.
fn nats(has_recovery: bool) -> Result<(Broker, String), String> {
    let path = match std::env::var_os("NATS_SERVER") {
        Some(path) => path.into(),
        None => needed("nats-server", "nats-server")?,
    };
    let version = version_of(&path, &["--version"]);
    let program = Program::new(path).args(["-a", "127.0.0.1", "-p", "{port}"]);
    let program = if has_recovery { program.args(["-js", "-sd", "{folder}"]) } else { program };
    Ok((Broker { program, variable: ("NATS", "nats://127.0.0.1:{port}") }, version))
}

/// Returns Redis as the broker of a cluster, and its version.
fn redis() -> Result<(Broker, String), String> {
    let path = needed("redis-server", "redis-server")?;
    let version = version_of(&path, &["--version"]);
    let program = Program::new(path).args(["--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    Ok((Broker { program, variable: ("REDIS_URL", "redis://127.0.0.1:{port}") }, version))
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
    fn names_of_peers_differ_within_a_set() {
        for (at, recipe) in RECIPES.iter().enumerate() {
            let is_other = |other: &Recipe| (other.set, other.name) != (recipe.set, recipe.name);
            assert!(RECIPES[..at].iter().all(is_other), "{}", recipe.name);
        }
        for set in Set::ALL {
            let has = |name: &str| RECIPES.iter().any(|recipe| recipe.set == set && recipe.name == name);
            assert!(has(set.base()) && has(set.ours()), "ratios need {}", set.base());
        }
    }
}
