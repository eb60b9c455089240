//! Kubernetes itself. No registry of packages has its server, but Debian has its source.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::folder;
use crate::report::Report;
use crate::tally::Tally;
use crate::tools;

/// The version, and the release of Debian that has its source.
const VERSION: &str = "1.20.2";
const SUITE: &str = "bookworm";

/// The file that tells the build the version.
const VERSION_FILE: &str = "version.sh";

const PROGRAMS: [&str; 5] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"];

/// The packages that compile them.
const COMPILERS: [&str; 6] = ["dpkg-dev", "gcc", "golang-go", "libc6-dev", "make", "rsync"];

/// Returns the path of a program of Kubernetes.
pub(super) fn program(name: &str) -> PathBuf {
    cache().join(name)
}

/// The folder of the programs, which other runs use again.
fn cache() -> PathBuf {
    // Programs are started in other folders too.
    let absolute = |given: PathBuf| std::path::absolute(&given).unwrap_or(given);
    env::var_os("KUBERNETES_BIN").map_or_else(|| folder().join("bin"), |given| absolute(given.into()))
}

/// Builds what is missing. Returns true if all programs are there.
pub(super) fn build(report: &mut Report) -> bool {
    const NAME: &str = "Kubernetes: build";
    if PROGRAMS.iter().all(|name| program(name).is_file()) {
        return report.step("Kubernetes: cache", || {
            println!("Kubernetes is in {}", cache().display());
            Ok(Tally { passed: 1, failed: 0 })
        });
    }
    let source = match tools::install(&COMPILERS).and_then(|()| source()) {
        Ok(source) => source,
        Err(why) => {
            report.skip(NAME, &why);
            return false;
        }
    };
    report.check(NAME, &mut make(&source)) && report.step("Kubernetes: cache", || keep(&source))
}

/// Fetches the source, to the place where the compiler looks for it.
fn source() -> Result<PathBuf, String> {
    let failed = |error: io::Error| format!("the source of Kubernetes can't be unpacked: {error}");
    let folder = folder().join("build");
    let archive = tools::fetch_source(SUITE, "kubernetes", &folder)?;
    let source = folder.join("go/src/k8s.io/kubernetes");
    if source.exists() {
        fs::remove_dir_all(&source).map_err(failed)?;
    }
    fs::create_dir_all(&source).map_err(failed)?;
    tools::succeeds(Command::new("tar").arg("--extract").arg("--file").arg(archive).arg("--strip-components=1").arg("-C").arg(&source))?;
    // An archive does not know its version.
    let mut parts = VERSION.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let version = format!(
        "KUBE_GIT_COMMIT=debian\nKUBE_GIT_TREE_STATE=archive\nKUBE_GIT_VERSION=v{VERSION}\nKUBE_GIT_MAJOR={major}\nKUBE_GIT_MINOR={minor}\n"
    );
    fs::write(source.join(VERSION_FILE), version).map_err(failed)?;
    Ok(source)
}

/// Returns the command that compiles the programs. Nothing else is fetched: the source has all that it depends on.
fn make(source: &Path) -> Command {
    let programs = PROGRAMS.map(|name| format!("cmd/{name}")).join(" ");
    let mut make = Command::new("nice");
    make.args(["-n", "19", "make", &format!("WHAT={programs}")]).current_dir(source);
    make.env("GOPATH", folder().join("build/go"));
    make.envs([("GO111MODULE", "off"), ("GOPROXY", "off"), ("GOFLAGS", "")]).env("KUBE_GIT_VERSION_FILE", source.join(VERSION_FILE));
    make
}

/// Copies the programs into the cache, and removes the rest: some gigabytes.
fn keep(source: &Path) -> io::Result<Tally> {
    fs::create_dir_all(cache())?;
    for name in PROGRAMS {
        fs::copy(source.join("_output/local/go/bin").join(name), program(name))?;
    }
    fs::remove_dir_all(folder().join("build"))?;
    Ok(Tally { passed: 1, failed: 0 })
}
