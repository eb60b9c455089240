//! The images of the cluster as one archive. Its engines reach no registry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::folder;
use crate::compose::engine::Engine;
use crate::compose::{self, bases};
use crate::report::Report;
use crate::tools::{self, succeeds};

/// The image of the container that keeps the network of a pod.
pub(super) const PAUSE: &str = "sociable-pause:k8s-cluster";

/// Builds the images with the engine of this machine, and returns their archive.
pub(super) fn build(report: &mut Report, programs: Option<&Path>) -> Result<PathBuf, String> {
    tools::ensure_node()?;
    let _engine = Engine::ensure()?;
    bases::ensure()?;
    if !compose::build_images(report, "images for Kubernetes", programs) {
        return Err("the images can't be built".into());
    }
    build_pause()?;
    let archive = folder().join("images.tar");
    let names = compose::IMAGES.map(compose::tag);
    succeeds(Command::new("docker").args(["save", "--output"]).arg(&archive).args(names).args([bases::NATS, PAUSE]))?;
    Ok(archive)
}

/// Builds it of the image of a node, which has `sleep`. A sleeper that is the first process ignores the usual stop signal.
fn build_pause() -> Result<(), String> {
    let context = folder().join("pause");
    let failed = |error: io::Error| format!("{}: {error}", context.display());
    fs::create_dir_all(&context).map_err(failed)?;
    let dockerfile = format!("FROM {}\nHEALTHCHECK NONE\nSTOPSIGNAL SIGKILL\nENTRYPOINT [\"sleep\", \"infinity\"]\n", compose::tag("node"));
    fs::write(context.join("Dockerfile"), dockerfile).map_err(failed)?;
    succeeds(Command::new("docker").args(["build", "--quiet", "--tag", PAUSE]).arg(&context))
}
