//! `cargo xtask compose-test`: the images, and docker-compose.yml as it stands, by both generations of Compose.
//!
//! * `engine`: finds a Docker engine and both Composes, or installs and starts them.
//! * `bases`: the images that others are made from, made here where no registry has them.
//! * `starters`: the projects in `examples/`, each with its own Compose file.
//!
//! The clients are in `tests/js/*.drill.mjs`.

pub(crate) mod bases;
pub(crate) mod engine;
mod starters;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use clap::ValueEnum;

use self::engine::{Compose, Engine};
use self::starters::Starter;
use crate::report::Report;
use crate::tally::Tally;
use crate::{js, tally, tools, workspace};

/// Far above what a drill takes when all goes slowly: it only ends what hangs.
const DRILL_LIMIT_SECS: u32 = 1200;

/// The name of containers, networks and volumes, and the tag of images. Other projects of this machine are left alone.
const PROJECT: &str = "sociable-compose-test";

/// The images, which are also the targets of the Dockerfile.
pub(crate) const IMAGES: [&str; 2] = ["node", "balancer"];

/// The ports that are published, by the variables of docker-compose.yml that say them.
const PORTS: [(&str, u16); 4] = [("SOCIABLE_PORT_1", 3000), ("SOCIABLE_PORT_2", 3001), ("PROMETHEUS_PORT", 9090), ("GRAFANA_PORT", 3002)];

/// A part that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The cluster of docker-compose.yml.
    Cluster,
    /// The starters in `examples/`.
    Starters,
}

/// Runs these parts; none means all. With `programs` the images are made of what lies in that folder.
pub(crate) fn run(report: &mut Report, programs: Option<&Path>, only: &[Part]) {
    const NAME: &str = "the cluster of docker-compose.yml";
    let prepared = tools::ensure_node().and_then(|()| Engine::ensure());
    // As long as it is there, so is the engine.
    let engine = match prepared {
        Ok(engine) => engine,
        Err(why) => return report.skip(NAME, &why),
    };
    if !js::install(report) {
        return;
    }
    if let Err(why) = bases::ensure() {
        return report.skip(NAME, &why);
    }
    let wanted = |part| only.is_empty() || only.contains(&part);
    let prometheus = if wanted(Part::Cluster) { bases::ensure_prometheus() } else { Ok(()) };
    let mut starters = if wanted(Part::Starters) { Starter::all() } else { vec![] };
    for compose in [engine.compose_v1(), engine.compose_v2()] {
        match compose {
            Ok(compose) => {
                let stack = Stack { compose, ports: PORTS.map(|(variable, port)| (variable, free(port))) };
                if !stack.check(report) || !stack.build(report, programs) {
                    continue;
                }
                if wanted(Part::Cluster) {
                    stack.drill(report, "single", "");
                    match &prometheus {
                        Ok(()) => stack.monitor(report),
                        Err(why) => report.skip("Prometheus", why),
                    }
                    stack.drill(report, "cluster", "cluster");
                }
                for starter in &mut starters {
                    starter.drill(report, &stack, programs);
                }
            }
            Err(why) => report.skip(NAME, &why),
        }
    }
}

/// Checks that docker-compose.yml is valid, if a docker-compose is installed. No engine is needed.
pub(crate) fn syntax(report: &mut Report) {
    const NAME: &str = "docker-compose.yml";
    if tools::find("docker-compose").is_none() {
        return report.skip(NAME, "there is no docker-compose");
    }
    report.check(NAME, Command::new("docker-compose").args(["config", "--quiet"]).current_dir(workspace::root()));
}

/// This port of this machine, or another if somebody has it.
fn free(port: u16) -> u16 {
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).and_then(|listener| listener.local_addr());
    bind(port).or_else(|_| bind(0)).map_or(port, |address| address.port())
}

/// docker-compose.yml, and by what it is started.
struct Stack {
    compose: Compose,
    ports: [(&'static str, u16); PORTS.len()],
}

impl Stack {
    /// Returns whether the file is valid.
    fn check(&self, report: &mut Report) -> bool {
        report.check(&self.name("docker-compose.yml"), self.command("single", "").args(["config", "--quiet"]))
    }

    /// Makes the images: Compose v1 has them from plain `docker build`, v2 makes them itself.
    fn build(&self, report: &mut Report, programs: Option<&Path>) -> bool {
        let name = self.name("images");
        let built = match (programs, self.compose.builds) {
            (None, true) => report.check(&name, self.command("single", "").arg("build")),
            _ => build_images(report, &name, programs),
        };
        for image in IMAGES {
            let tag = tag(image);
            let size = tools::output("docker", &["image", "inspect", "--format", "{{.Size}}", &tag]).unwrap_or_default();
            let megabytes = size.trim().parse::<f64>().unwrap_or_default() / 1e6;
            println!("{tag}: {megabytes:.1} MB");
        }
        if built {
            report.step(&self.name("labels of the images"), || labels(&IMAGES.map(tag)));
        }
        built
    }

    /// Starts all of it, has clients go through faults, and takes it away.
    fn drill(&self, report: &mut Report, nats: &str, profiles: &str) {
        let name = self.name(&format!("NATS {nats}"));
        if report.check(&format!("{name}: up"), self.command(nats, profiles).args(["up", "--detach"])) {
            self.clients(report, &name, "compose.drill.mjs", nats, profiles);
        }
        self.down(report, &name);
    }

    /// Has Prometheus look at a cluster, and asks it what the dashboard asks.
    fn monitor(&self, report: &mut Report) {
        let name = self.name("Prometheus");
        let up = ["up", "--detach", "balancer-1", "balancer-2", "prometheus"];
        if report.check(&format!("{name}: up"), self.command("single", "monitoring").args(up)) {
            self.clients(report, &name, "monitoring.drill.mjs", "single", "monitoring");
        }
        self.down(report, &name);
    }

    fn clients(&self, report: &mut Report, name: &str, script: &str, nats: &str, profiles: &str) {
        let mut node = script_of(script);
        self.environment(&mut node, nats, profiles);
        node.env("COMPOSE", self.compose.words.join(" ")).env("COMPOSE_FILE", workspace::root().join("docker-compose.yml"));
        if !report.tests(name, &mut node, tally::node) {
            show_logs(&mut self.command(nats, profiles));
        }
    }

    fn down(&self, report: &mut Report, name: &str) {
        let down = ["down", "--volumes", "--remove-orphans", "--timeout", "2"];
        // All profiles, or Compose would leave containers behind.
        report.check(&format!("{name}: down"), self.command("cluster", "cluster,monitoring").args(down));
    }

    fn command(&self, nats: &str, profiles: &str) -> Command {
        let mut command = Command::new(&self.compose.words[0]);
        command.args(&self.compose.words[1..]).current_dir(workspace::root());
        self.environment(&mut command, nats, profiles);
        command
    }

    /// The environment wins over an existing `.env`.
    fn environment(&self, command: &mut Command, nats: &str, profiles: &str) {
        command
            .env("COMPOSE_PROJECT_NAME", PROJECT)
            .env("SOCIABLE_VERSION", PROJECT)
            .env("NATS_MODE", nats)
            .env("COMPOSE_PROFILES", profiles);
        command.envs(self.ports.map(|(variable, port)| (variable, port.to_string())));
        if let Some(config) = &self.compose.config {
            command.env("DOCKER_CONFIG", config);
        }
    }

    fn name(&self, what: &str) -> String {
        format!("Compose {}, {what}", self.compose.version)
    }
}

/// Returns the command that runs a script of clients.
fn script_of(script: &str) -> Command {
    let mut node = tools::limited("node", DRILL_LIMIT_SECS);
    node.args(["--test", "--test-reporter=spec", script]).current_dir(workspace::root().join("tests/js"));
    node
}

/// Shows the last logs of the containers of a Compose command. They help to find a failure, and are no step of their own.
fn show_logs(compose: &mut Command) {
    println!("--- the last logs of the containers");
    let _ = compose.args(["logs", "--no-color", "--tail=40"]).status();
}

/// Builds the images of node and balancer by plain `docker build`, of what lies in the folder `programs` or by compiling.
pub(crate) fn build_images(report: &mut Report, name: &str, programs: Option<&Path>) -> bool {
    match programs.map_or_else(|| Ok(workspace::root().to_owned()), around) {
        Ok(folder) => IMAGES.iter().all(|image| report.check(&format!("{name}: {image}"), &mut docker_build(image, &folder))),
        Err(error) => report.step(name, || Err(error)),
    }
}

/// Returns the name of an image that was built here.
pub(crate) fn tag(image: &str) -> String {
    format!("sociable-{image}:{PROJECT}")
}

fn docker_build(image: &str, folder: &Path) -> Command {
    docker_build_as(&tag(image), image, folder)
}

fn docker_build_as(tag: &str, target: &str, folder: &Path) -> Command {
    let mut docker = Command::new("docker");
    let version = format!("VERSION={PROJECT}");
    docker.args(["build", "--target", target, "--tag", tag, "--build-arg", &version, "."]).current_dir(folder);
    docker
}

/// Looks for the title and the version among the labels of each image.
fn labels(tags: &[String]) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for tag in tags {
        let shown = tools::output("docker", &["image", "inspect", "--format", "{{json .Config.Labels}}", tag]).unwrap_or_default();
        println!("{tag}: {}", shown.trim());
        let title = tag.split(':').next().unwrap_or_default();
        let wanted =
            [("title", title), ("version", PROJECT)].map(|(name, value)| format!("\"org.opencontainers.image.{name}\":\"{value}\""));
        let good = wanted.iter().all(|label| shown.contains(label.as_str()));
        tally.add(Tally { passed: good.into(), failed: (!good).into() });
    }
    Ok(tally)
}

/// Returns a folder with these programs and a Dockerfile that starts behind the compilation of ours.
fn around(programs: &Path) -> io::Result<PathBuf> {
    let names = IMAGES.map(|image| format!("sociable-{image}"));
    behind_compilation(programs, &names, "Dockerfile", "FROM base AS roots", "/programs/")
}

/// Returns a folder with these programs and the rest of a Dockerfile, from this line on. The programs are where its compilation puts them.
fn behind_compilation(programs: &Path, names: &[String], dockerfile: &str, from: &str, place: &str) -> io::Result<PathBuf> {
    let folder = workspace::target().join("compose-test").join(names.join("-"));
    fs::create_dir_all(&folder)?;
    for name in names {
        fs::copy(programs.join(name), folder.join(name))?;
    }
    let whole = fs::read_to_string(workspace::root().join(dockerfile))?;
    let (_, rest) = whole.split_once(from).ok_or_else(|| io::Error::other(format!("{dockerfile} has no `{from}`")))?;
    let begin = format!("FROM {} AS base\nFROM base AS build\nCOPY {} {place}\n{from}", bases::RUST, names.join(" "));
    fs::write(folder.join("Dockerfile"), format!("{begin}{rest}"))?;
    Ok(folder)
}
