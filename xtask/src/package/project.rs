//! A workspace of its own: the project of the quick start, and the unpacked packages in place of the registry's.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::guide::{Dependency, PROJECT, QuickStart};
use crate::packages::Package;
use crate::rust::cargo;
use crate::tally::Tally;
use crate::workspace;

/// The folder of the unpacked packages.
pub(super) const CRATES: &str = "crates";
/// The file of the client.
const CLIENT: &str = "client.mjs";
/// Far above what a start or a message takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A project that was written.
#[derive(Debug)]
pub(super) struct Project {
    folder: PathBuf,
    port: u16,
}

/// Writes the workspace. Its packages lie unpacked in the folder already.
pub(super) fn write(folder: &Path, packages: &[Package]) -> io::Result<Project> {
    let readme = fs::read_to_string(workspace::root().join("README.md"))?;
    let quick_start = QuickStart::read(&readme).map_err(io::Error::other)?;
    // A port that is free now. The text names a usual one, which may be taken.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let (server, client) = quick_start.at(port);
    let sources = folder.join(PROJECT).join("src");
    fs::create_dir_all(&sources)?;
    fs::write(sources.join("main.rs"), server)?;
    fs::write(folder.join(CLIENT), client)?;
    fs::write(folder.join(PROJECT).join("Cargo.toml"), manifest(&quick_start.dependencies))?;
    fs::write(folder.join("Cargo.toml"), patched(packages))?;
    // The same versions of all else, so that nothing but our packages is new.
    fs::copy(workspace::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(Project { folder: folder.to_owned(), port })
}

/// The manifest of the project. The lock file has the versions.
fn manifest(dependencies: &[Dependency]) -> String {
    let mut text = format!("[package]\nname = \"{PROJECT}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n");
    for Dependency { name, features } in dependencies {
        text.push_str(&format!("{name} = {{ version = \"*\", features = {features:?} }}\n"));
    }
    text
}

/// The manifest of the workspace, in which the registry's packages are the unpacked ones.
fn patched(packages: &[Package]) -> String {
    let mut text = format!("[workspace]\nresolver = \"3\"\nmembers = [\"{PROJECT}\", \"{CRATES}/*\"]\n\n[patch.crates-io]\n");
    for Package { name, version, .. } in packages {
        text.push_str(&format!("{name} = {{ path = \"{CRATES}/{name}-{version}\" }}\n"));
    }
    // As in the manifest of the repository, so that the dependencies that are built already will do.
    text.push_str("\n[profile.dev]\ndebug = \"line-tables-only\"\n");
    text
}

impl Project {
    /// Returns a cargo command for some packages of this workspace, with the output folder of the repository.
    pub(super) fn cargo(&self, command: &str, packages: &[&str]) -> Command {
        let mut cargo = cargo(&[command]);
        cargo.args(packages.iter().flat_map(|package| ["--package", package])).current_dir(&self.folder);
        cargo.env("CARGO_TARGET_DIR", workspace::target());
        cargo
    }

    /// Starts the server and two clients. One of them must print the message of the other.
    pub(super) fn run(&self, packages: &Path) -> io::Result<Tally> {
        let server = Running::start(&mut Command::new(workspace::target().join("debug").join(PROJECT)))?;
        let start = Instant::now();
        while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
            if start.elapsed() > PATIENCE {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        link(packages, &self.folder.join("node_modules"))?;
        let (lines, printed) = mpsc::channel();
        let mut clients = vec![];
        for _ in 0..2 {
            let mut client = Running::start(Command::new("node").arg(CLIENT).current_dir(&self.folder).stdout(Stdio::piped()))?;
            let output = client.0.stdout.take().ok_or_else(|| io::Error::other("a client has no output"))?;
            let lines = lines.clone();
            thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
            clients.push(client);
        }
        drop(lines);
        let line = printed.recv_timeout(PATIENCE).map_err(|_| io::Error::other("no client printed the message of the other"))?;
        println!("a client printed: {line}");
        drop((clients, server));
        Ok(Tally { passed: 1, failed: 0 })
    }
}

/// Node looks for packages in the folders above a file.
fn link(packages: &Path, at: &Path) -> io::Result<()> {
    match fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(packages, at)
}

/// A process that ends with its handle.
#[derive(Debug)]
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_takes_the_unpacked_packages() {
        let shop = Package { name: "shop".into(), version: "0.2.0".into(), ..Package::default() };
        assert!(patched(&[shop]).contains("shop = { path = \"crates/shop-0.2.0\" }\n"));
        let dependency = Dependency { name: "serde".into(), features: vec!["derive".into()] };
        assert!(manifest(&[dependency]).ends_with("[dependencies]\nserde = { version = \"*\", features = [\"derive\"] }\n"));
    }
}
