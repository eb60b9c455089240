//! The starter in Python on the images, by its own docker-compose.yml.

use std::path::PathBuf;
use std::process::Command;

use super::engine::Compose;
use super::{DRILL_LIMIT_SECS, PROJECT, free};
use crate::report::Report;
use crate::{tally, tools, workspace};

/// The project of the starter.
const CHAT: &str = "sociable-compose-test-python";

/// Builds the image of the backend, starts the starter, has clients chat while a node is killed, and removes all of it.
pub(super) fn drill(report: &mut Report, compose: &Compose) {
    let starter = Starter { compose, ports: [("CHAT_PORT", free(8000)), ("SOCIABLE_PORT", free(3000))] };
    let name = |what: &str| format!("Compose {}, Python starter: {what}", compose.version);
    let mut build = Command::new("docker");
    build.args(["build", "--tag", &format!("chat-backend:{PROJECT}"), "."]).current_dir(folder());
    if !report.check(&name("image"), &mut build) {
        return;
    }
    if report.check(&name("up"), starter.command().args(["up", "--detach", "--no-build"])) {
        let mut node = tools::limited("node", DRILL_LIMIT_SECS);
        node.args(["--test", "--test-reporter=spec", "starter-python.drill.mjs"]).current_dir(workspace::root().join("tests/js"));
        starter.environment(&mut node);
        node.env("COMPOSE", compose.words.join(" ")).env("COMPOSE_FILE", folder().join("docker-compose.yml"));
        if !report.tests(&name("chat"), &mut node, tally::node) {
            println!("--- the last logs of the containers");
            // The log helps to find the failure, and is no step of its own.
            let _ = starter.command().args(["logs", "--no-color", "--tail=40"]).status();
        }
    }
    report.check(&name("down"), starter.command().args(["down", "--volumes", "--remove-orphans", "--timeout", "2"]));
}

fn folder() -> PathBuf {
    workspace::root().join("examples/starter-python")
}

/// The docker-compose.yml of the starter, and by what it is started.
struct Starter<'a> {
    compose: &'a Compose,
    ports: [(&'static str, u16); 2],
}

impl Starter<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.compose.words[0]);
        command.args(&self.compose.words[1..]).current_dir(folder());
        self.environment(&mut command);
        command
    }

    /// The environment wins over an existing `.env`.
    fn environment(&self, command: &mut Command) {
        let [_, (_, balancer)] = self.ports;
        command.env("COMPOSE_PROJECT_NAME", CHAT).env("SOCIABLE_VERSION", PROJECT).env("CHAT_VERSION", PROJECT);
        command.env("SOCKET_URL", format!("http://127.0.0.1:{balancer}"));
        command.envs(self.ports.map(|(variable, port)| (variable, port.to_string())));
        if let Some(config) = &self.compose.config {
            command.env("DOCKER_CONFIG", config);
        }
    }
}
