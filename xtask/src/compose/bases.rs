//! The base images, and those that run beside ours. Without a registry they are made here, from this machine's
//! packages. Such images hold this machine's certificates, and must never be pushed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use super::engine::folder;
use crate::tools::{self, succeeds};

const DEBIAN: &str = "debian:bookworm-slim";
pub(crate) const RUST: &str = "rust:1.95-bookworm";
pub(crate) const NATS: &str = "nats:2";
/// As the Dockerfile of the Python starter names it.
const PYTHON: &str = "python:3.13-slim";
/// As docker-compose.yml names it.
const PROMETHEUS: &str = "prom/prometheus:v3.5.0";

/// The time that a registry has to answer.
const PULL_LIMIT_SECS: u32 = 600;

/// The trusted certificates of this machine. Packages and crates may come through a proxy that only they vouch for.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The label that distinguishes these images from those of a registry.
const LABEL: &str = "made-by=cargo-xtask-compose-test";

/// Makes sure of the images that are needed in any case.
pub(crate) fn ensure() -> Result<(), String> {
    if !is_there(RUST) && !is_there(DEBIAN) {
        debian()?;
    }
    if !is_there(RUST) {
        rust()?;
    }
    if !is_there(NATS) {
        nats()?;
    }
    Ok(())
}

/// Makes sure of a Prometheus.
pub(crate) fn ensure_prometheus() -> Result<(), String> {
    if is_there(PROMETHEUS) {
        return Ok(());
    }
    ensure_debian()?;
    // At the places where that of the registry has it.
    let dockerfile = format!(
        "FROM {DEBIAN}\n\
         RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* \\\n\
         \x20   && mkdir /prometheus && chown nobody /prometheus\n\
         USER nobody\n\
         ENTRYPOINT [\"/bin/prometheus\"]\n"
    );
    build(PROMETHEUS, &context("prometheus")?, &dockerfile)
}

/// Makes sure of a Python with pip.
pub(crate) fn ensure_python() -> Result<(), String> {
    if is_there(PYTHON) {
        return Ok(());
    }
    ensure_debian()?;
    println!("\n=== making {PYTHON}: no registry has it");
    // With the Python of Debian, in an environment: `pip` refuses to install beside packages of the system.
    let dockerfile = format!(
        "FROM {DEBIAN}\n\
         RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/* \\\n\
         \x20   && python3 -m venv /usr/local/python\n\
         ENV PATH=/usr/local/python/bin:$PATH PIP_CERT={CERTIFICATES}\n"
    );
    build(PYTHON, &context("python")?, &dockerfile)
}

/// Returns true if this machine or a registry has the image.
fn is_there(image: &str) -> bool {
    let quiet = |command: &mut Command| {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    quiet(Command::new("docker").args(["image", "inspect", image]))
        || quiet(tools::limited("docker", PULL_LIMIT_SECS).args(["pull", image]))
}

fn ensure_debian() -> Result<(), String> {
    if is_there(DEBIAN) { Ok(()) } else { debian() }
}

fn debian() -> Result<(), String> {
    println!("\n=== making {DEBIAN}: no registry has it");
    if tools::find("debootstrap").is_none() {
        tools::install(&["debootstrap"])?;
    }
    let root = context("debian")?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", "--include=ca-certificates", "bookworm"]).arg(&root).arg(tools::debian_mirror()?);
    succeeds(debootstrap.stdout(Stdio::null()))?;
    copy(Path::new(CERTIFICATES), &root.join(CERTIFICATES.trim_start_matches('/')))?;
    for emptied in ["var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"] {
        empty(&root.join(emptied))?;
    }
    let mut tar = Command::new("tar").arg("-C").arg(&root).args(["-c", "."]).stdout(Stdio::piped()).spawn().map_err(say("tar"))?;
    let mut import = Command::new("docker");
    import.args(["import", "--change", "CMD [\"bash\"]", "--change", &format!("LABEL {LABEL}"), "-", DEBIAN]);
    if let Some(archive) = tar.stdout.take() {
        import.stdin(archive);
    }
    succeeds(import.stdout(Stdio::null()))?;
    if !tar.wait().map_err(say("tar"))?.success() {
        return Err("tar could not read all of the root file system".into());
    }
    fs::remove_dir_all(&root).map_err(say(&root))
}

/// With the compiler that this machine has.
fn rust() -> Result<(), String> {
    ensure_debian()?;
    println!("\n=== making {RUST}: no registry has it");
    let folder = context("rust")?;
    let sysroot = tools::output("rustc", &["--print", "sysroot"]).ok_or("rustc can't be started")?;
    let toolchain = folder.join("toolchain");
    fs::create_dir_all(&toolchain).map_err(say(&toolchain))?;
    for part in ["bin", "lib"] {
        succeeds(Command::new("cp").args(["--recursive", "--dereference"]).arg(Path::new(sysroot.trim()).join(part)).arg(&toolchain))?;
    }
    let dockerfile = format!(
        "FROM {DEBIAN}\n\
         RUN apt-get update -qq \\\n\
         \x20   && apt-get install -y -qq --no-install-recommends cmake curl g++ gcc git libc6-dev libssl-dev make perl pkg-config \\\n\
         \x20   && rm -rf /var/lib/apt/lists/*\n\
         ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         COPY toolchain /usr/local/rust\n"
    );
    build(RUST, &folder, &dockerfile)
}

/// The image has a current NATS server: that of Debian 12 lacks settings of deploy/nats.
fn nats() -> Result<(), String> {
    ensure_debian()?;
    println!("\n=== making {NATS}: no registry has it");
    let server = tools::ensure_current_nats().or_else(|_| tools::ensure_nats())?;
    let folder = context("nats")?;
    copy(&server.program, &folder.join("nats-server"))?;
    // In the path, as in the image of a registry: hooks name the program without its folder.
    let dockerfile = format!("FROM {DEBIAN}\nENV PATH=$PATH:/\nCOPY nats-server /nats-server\nENTRYPOINT [\"/nats-server\"]\n");
    build(NATS, &folder, &dockerfile)
}

/// Makes an image out of a folder, which goes.
fn build(image: &str, folder: &Path, dockerfile: &str) -> Result<(), String> {
    fs::write(folder.join("Dockerfile"), dockerfile).map_err(say(folder))?;
    succeeds(Command::new("docker").args(["build", "--quiet", "--label", LABEL, "--tag", image]).arg(folder))?;
    fs::remove_dir_all(folder).map_err(say(folder))
}

/// An empty folder.
fn context(name: &str) -> Result<PathBuf, String> {
    let folder = folder()?.join(format!("base-{name}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(say(&folder))?;
    }
    fs::create_dir_all(&folder).map_err(say(&folder))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(say(from))
}

/// Takes away all that is in a folder.
fn empty(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(say(folder))?;
    }
    fs::create_dir_all(folder).map_err(say(folder))
}

fn say(what: impl AsRef<OsStr>) -> impl Fn(io::Error) -> String {
    let what = what.as_ref().to_string_lossy().into_owned();
    move |error| format!("{what}: {error}")
}
