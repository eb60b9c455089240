//! A Docker engine and the programs that start docker-compose.yml.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{tools, workspace};

/// The time of an engine until it answers, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// The release of Debian that packages Compose v2. The package runs on the former release too.
const SUITE_OF_V2: &str = "trixie";

/// A Docker engine that answers. One that was started here ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Engine(Option<Child>);

/// A program that starts docker-compose.yml.
#[derive(Debug)]
pub(crate) struct Compose {
    /// The words of the command.
    pub(crate) words: Vec<String>,
    pub(crate) version: String,
    /// The folder of Docker's configuration, if not the default.
    pub(crate) config: Option<PathBuf>,
    /// True if the program also builds the images.
    pub(crate) builds: bool,
}

impl Engine {
    /// The engine that runs, or one that is started, or why there is none.
    pub(crate) fn ensure() -> Result<Self, String> {
        if answers() {
            return Ok(Self(None));
        }
        if tools::find("dockerd").is_none() {
            tools::install(&["docker.io"])?;
        }
        if tools::output("id", &["-u"]).as_deref().map(str::trim) != Some("0") {
            return Err("no Docker engine answers, and only root can start one".into());
        }
        let log = folder()?.join("dockerd.log");
        let failed = |error: std::io::Error| format!("{}: {error}", log.display());
        let output = File::create(&log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        println!("\n=== starting dockerd, with its log in {}", log.display());
        let child = Command::new("dockerd").stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let mut engine = Self(Some(child.map_err(|error| format!("dockerd: {error}"))?));
        let deadline = Instant::now() + PATIENCE;
        while !answers() {
            let ended = engine.0.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                return Err(format!("dockerd does not answer: see {}", log.display()));
            }
            sleep(Duration::from_millis(200));
        }
        Ok(engine)
    }

    /// docker-compose 1.29, the last that was written in Python: what Debian 12 and Ubuntu 22.04 have as `docker-compose`.
    pub(crate) fn compose_v1(&self) -> Result<Compose, String> {
        if tools::find("docker-compose").is_none() {
            tools::install(&["docker-compose"])?;
        }
        let version = version("docker-compose", &["version", "--short"], None).ok_or("docker-compose prints no version")?;
        if !version.starts_with("1.") {
            return Err(format!("docker-compose is {version}: a docker-compose 1.29 is not to be had here"));
        }
        Ok(Compose { words: vec!["docker-compose".into()], version, config: None, builds: false })
    }

    /// Compose v2, a plugin of Docker.
    pub(crate) fn compose_v2(&self) -> Result<Compose, String> {
        let words = vec!["docker".into(), "compose".into()];
        let version = |config: Option<&Path>| version("docker", &["compose", "version", "--short"], config);
        if let Some(version) = version(None) {
            return Ok(Compose { words, version, config: None, builds: true });
        }
        let config = folder()?.join("docker-config");
        let plugin = config.join("cli-plugins/docker-compose");
        if !plugin.is_file() {
            let unpacked = tools::unpack_packages(SUITE_OF_V2, &["docker-compose"], &folder()?)?;
            let failed = |error: std::io::Error| format!("{}: {error}", plugin.display());
            fs::create_dir_all(config.join("cli-plugins")).map_err(failed)?;
            fs::copy(unpacked.join("usr/libexec/docker/cli-plugins/docker-compose"), &plugin).map_err(failed)?;
        }
        let version = version(Some(&config)).ok_or("Compose v2 was fetched, but does not run")?;
        Ok(Compose { words, version, config: Some(config), builds: true })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(child) = &mut self.0 else { return };
        println!("\n=== ending dockerd");
        // A graceful stop lets the engine end its own children.
        let asked = Command::new("sh").args(["-c", &format!("kill {}", child.id())]).status().is_ok_and(|status| status.success());
        let deadline = Instant::now() + PATIENCE;
        while asked && Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        eprintln!("dockerd does not stop; killing it");
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            eprintln!("dockerd: {error}");
        }
    }
}

fn answers() -> bool {
    let info = Command::new("docker").arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    info.is_ok_and(|status| status.success())
}

/// Returns the version that a program prints, if it runs.
fn version(program: &str, args: &[&str], config: Option<&Path>) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).stderr(Stdio::null());
    if let Some(config) = config {
        command.env("DOCKER_CONFIG", config);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned()).filter(|version| !version.is_empty())
}

/// Returns the folder of fetched files.
pub(super) fn folder() -> Result<PathBuf, String> {
    let folder = workspace::target().join("compose-test");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
