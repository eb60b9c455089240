//! Finds what the tests need beside Rust, or installs them where apt-get and the rights are there.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The test runner of older ones lacks what our tests use.
const OLDEST_NODE: u32 = 18;

/// Makes sure of Node and npm, or tells why not.
pub(crate) fn ensure_node() -> Result<(), String> {
    // Node packages of other makers bring npm along and clash with Debian's npm: so no more than what is missing.
    let mut missing = vec![];
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        if find(program).is_none() {
            missing.push(package);
        }
    }
    if !missing.is_empty() {
        install(&missing)?;
    }
    let version = output("node", &["--version"]).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(format!("node is {}, but {OLDEST_NODE} is the oldest that will do", version.trim())),
    }
}

/// The path of a Chromium, or why there is none.
pub(crate) fn ensure_chromium() -> Result<PathBuf, String> {
    if let Some(chosen) = env::var_os("CHROMIUM") {
        return Ok(chosen.into());
    }
    let known = || ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| find(name));
    if let Some(chromium) = known() {
        return Ok(chromium);
    }
    // Without a font Chromium draws no text, and the pictures of failures would be empty.
    install(&["chromium", "fonts-dejavu-core"])?;
    known().ok_or_else(|| "chromium was installed but is not found".into())
}

/// Makes sure of a Python that can make environments, or tells why not.
pub(crate) fn ensure_python() -> Result<(), String> {
    let works = || output("python3", &["-c", "import ensurepip, venv; print('yes')"]).is_some_and(|answer| answer.trim() == "yes");
    if works() {
        return Ok(());
    }
    // Debian has the interpreter and its environments in two packages.
    install(&["python3", "python3-venv"])?;
    if works() { Ok(()) } else { Err("python3 can't make environments".into()) }
}

/// The path of a NATS server, or why there is none.
pub(crate) fn ensure_nats() -> Result<PathBuf, String> {
    if let Some(chosen) = env::var_os("NATS_SERVER") {
        return Ok(chosen.into());
    }
    if find("nats-server").is_none() {
        install(&["nats-server"])?;
    }
    find("nats-server").ok_or_else(|| "nats-server was installed but is not found".into())
}

/// Makes sure of what the TLS of a client is linked with, or tells why not.
pub(crate) fn ensure_openssl() -> Result<(), String> {
    let found = || output("pkg-config", &["--modversion", "openssl"]).is_some_and(|version| !version.is_empty());
    if found() {
        return Ok(());
    }
    install(&["libssl-dev", "pkg-config"])?;
    if found() { Ok(()) } else { Err("libssl-dev was installed but is not found".into()) }
}

/// A command that is ended, with all its children, when it has run for so long.
pub(crate) fn limited(program: &str, seconds: u32) -> Command {
    // `timeout` is on every Debian; where it is missing a hanging suite has to be ended by hand.
    if find("timeout").is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &seconds.to_string(), program]);
    command
}

fn install(packages: &[&str]) -> Result<(), String> {
    let what = packages.join(" ");
    if find("apt-get").is_none() {
        return Err(format!("{what} missing, and there is no apt-get to install it"));
    }
    if output("id", &["-u"]).as_deref().map(str::trim) != Some("0") {
        return Err(format!("{what} missing, and only root can install it: apt-get install --no-install-recommends {what}"));
    }
    println!("\n=== installing {what}");
    // Old lists name packages that are no longer there. If they can't be fetched anew, the old ones may still do.
    apt_get(&["update", "--quiet"]);
    let mut args = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    args.extend_from_slice(packages);
    if apt_get(&args) { Ok(()) } else { Err(format!("apt-get could not install {what}")) }
}

fn apt_get(args: &[&str]) -> bool {
    let status = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of a program, as a shell would find it.
fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| is_executable(path))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}
