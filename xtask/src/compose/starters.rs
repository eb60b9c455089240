//! The starters in `examples/`, by their own Compose files, on the images of the cluster.

use std::path::Path;
use std::process::Command;

use super::{PROJECT, Stack, bases, behind_compilation, docker_build_as, free, script_of, show_logs};
use crate::report::Report;
use crate::{backends, tally, workspace};

/// A starter, and what its tests need.
pub(super) struct Starter {
    name: &'static str,
    /// The Compose files, from the top of the repository. Paths in them begin at the folder of the first.
    files: &'static [&'static str],
    /// The service with an image of the starter's own.
    service: &'static str,
    /// The program of that image, and the Dockerfile, if it is compiled.
    program: Option<(&'static str, &'static str)>,
    /// The clients, in `tests/js`.
    script: &'static str,
    /// Makes sure of the images that the image is made from.
    prepare: fn() -> Result<(), String>,
    /// The variables with ports of this machine, and the usual ports.
    ports: &'static [(&'static str, u16)],
    is_built: bool,
}

impl Starter {
    pub(super) fn all() -> Vec<Self> {
        vec![
            Self {
                name: "the Rust starter",
                files: &["docker-compose.yml", "examples/starter-rust/docker-compose.yml"],
                service: "node",
                program: Some(("starter", "examples/starter-rust/Dockerfile")),
                script: "starter-rust.drill.mjs",
                prepare: || Ok(()),
                ports: &[("SOCIABLE_PORT_1", 3000), ("SOCIABLE_PORT_2", 3001)],
                is_built: false,
            },
            Self {
                name: "the Python starter",
                files: &["examples/starter-python/docker-compose.yml"],
                service: "backend",
                program: None,
                script: "starter-python.drill.mjs",
                prepare: || bases::ensure_python().and_then(|()| backends::ensure_client()),
                ports: &[("SOCIABLE_PORT", 3000), ("CHAT_PORT", 8000)],
                is_built: false,
            },
        ]
    }

    /// Starts the containers, has clients go through faults, and removes everything.
    pub(super) fn drill(&mut self, report: &mut Report, stack: &Stack, programs: Option<&Path>) {
        let name = stack.name(self.name);
        if let Err(why) = (self.prepare)() {
            return report.skip(&name, &why);
        }
        let ports: Vec<_> = self.ports.iter().map(|&(variable, port)| (variable, free(port).to_string())).collect();
        let command = |args: &[&str]| self.command(stack, &ports, args);
        if !report.check(&format!("{name}: files"), &mut command(&["config", "--quiet"])) {
            return;
        }
        // Either generation of Compose uses the image that the first one has built.
        let built = self.is_built || self.build(report, &format!("{name}: image"), &mut command(&["build", self.service]), programs);
        if built {
            if report.check(&format!("{name}: up"), &mut command(&["up", "--detach"])) {
                let mut clients = script_of(self.script);
                self.environment(&mut clients, stack, &ports);
                if !report.tests(&name, &mut clients, tally::node) {
                    show_logs(&mut command(&[]));
                }
            }
            report.check(&format!("{name}: down"), &mut command(&["down", "--volumes", "--remove-orphans", "--timeout", "2"]));
        }
        self.is_built = built;
    }

    /// Builds the image by Compose, or out of a program that lies in the folder.
    fn build(&self, report: &mut Report, name: &str, compose: &mut Command, programs: Option<&Path>) -> bool {
        let compiled = programs.zip(self.program).filter(|(folder, (program, _))| folder.join(program).is_file());
        let Some((folder, (program, dockerfile))) = compiled else { return report.check(name, compose) };
        match behind_compilation(folder, &[program.to_owned()], dockerfile, "FROM base AS root\n", "/") {
            Ok(folder) => report.check(name, &mut docker_build_as(&format!("{program}:{PROJECT}"), program, &folder)),
            Err(error) => report.step(name, || Err(error)),
        }
    }

    fn command(&self, stack: &Stack, ports: &[(&str, String)], args: &[&str]) -> Command {
        let mut command = Command::new(&stack.compose.words[0]);
        command.args(&stack.compose.words[1..]).args(args).current_dir(workspace::root());
        self.environment(&mut command, stack, ports);
        command
    }

    /// The environment wins over an existing `.env`.
    fn environment(&self, command: &mut Command, stack: &Stack, ports: &[(&str, String)]) {
        stack.environment(command, "single", "");
        let files: Vec<_> = self.files.iter().map(|file| workspace::root().join(file).to_string_lossy().into_owned()).collect();
        command.env("COMPOSE", stack.compose.words.join(" ")).env("COMPOSE_FILE", files.join(":")).env("CHAT_VERSION", PROJECT);
        command.envs(ports.iter().map(|(variable, port)| (variable, port)));
        if let Some((_, port)) = ports.iter().find(|(variable, _)| *variable == "SOCIABLE_PORT") {
            command.env("SOCKET_URL", format!("http://127.0.0.1:{port}"));
        }
    }
}
