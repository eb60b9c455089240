//! The overlays of `k8s/` as the cluster takes them, with what they need: secrets, volumes and images.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::{Cluster, asset, control, write};
use crate::compose::{self, bases};
use crate::{tools, workspace};

/// The API versions of the overlays that Kubernetes 1.20 has under an older name.
const OLD_VERSIONS: [(&str, &str); 2] = [("policy/v1", "policy/v1beta1"), ("autoscaling/v2", "autoscaling/v2beta2")];

/// The number of volumes: one for each claim of NATS servers, and some more for claims that are made anew.
const VOLUMES: u8 = 16;

/// The tag of images for an update. They are the same as those before.
const NEXT: &str = "next";

/// An overlay of `tests/k8s/cluster`, and its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlay {
    pub(super) name: &'static str,
    pub(super) scheme: &'static str,
    /// The port of the load balancer.
    pub(super) port: u16,
    /// The port of the Service on each node.
    pub(super) node_port: u16,
    /// The port on which a node tells whether it has a pod of the Service.
    pub(super) health_port: Option<u16>,
}

impl Overlay {
    pub(super) const ALL: [Self; 2] = [
        Self { name: "dev", scheme: "http", port: 18080, node_port: 30080, health_port: None },
        Self { name: "production", scheme: "https", port: 18443, node_port: 30443, health_port: Some(30444) },
    ];

    fn file(self, cluster: &Cluster) -> PathBuf {
        folder(cluster).join(format!("{}.yaml", self.name))
    }
}

/// Returns the folder of the rendered overlays.
pub(super) fn folder(cluster: &Cluster) -> PathBuf {
    cluster.path("overlays")
}

/// Renders each overlay into a file.
pub(super) fn render(cluster: &Cluster) -> Result<(), String> {
    for overlay in Overlay::ALL {
        let mut kustomize = Command::new(tools::kubectl());
        kustomize.arg("kustomize").arg(asset(overlay.name));
        let mut text = for_old_api(&output(&mut kustomize)?);
        if overlay.name == "production" {
            text += &secrets(cluster)?;
        }
        write(&overlay.file(cluster), text)?;
    }
    Ok(())
}

fn for_old_api(manifests: &str) -> String {
    let line = |line: &str| match line.split_once("apiVersion: ") {
        Some((indent, version)) => {
            let old = OLD_VERSIONS.iter().find(|(new, _)| *new == version).map_or(version, |(_, old)| old);
            format!("{indent}apiVersion: {old}\n")
        }
        None => format!("{line}\n"),
    };
    manifests.lines().map(line).collect()
}

/// Returns the Secrets of production, made by the script for operators.
fn secrets(cluster: &Cluster) -> Result<String, String> {
    let script = workspace::root().join("k8s/secrets.sh");
    let commands = output(Command::new("sh").arg(script).arg(cluster.path("secrets")))?;
    let clients = control::certificate(cluster, "clients")?;
    let tls = format!(
        "kubectl -n sociable create secret tls sociable-tls --cert={} --key={}",
        clients.certificate.display(),
        clients.key.display()
    );
    let mut text = String::new();
    for command in commands.lines().chain([tls.as_str()]) {
        let args = command.strip_prefix("kubectl ").ok_or_else(|| format!("k8s/secrets.sh printed no command of kubectl: {command}"))?;
        text += "---\n";
        text += &output(Command::new(tools::kubectl()).args(args.split_whitespace()).args(["--dry-run=client", "--output=yaml"]))?;
    }
    Ok(text)
}

/// Makes a volume for each claim. All nodes see its folder, as they would see a disk of the network.
pub(super) fn make_volumes(cluster: &Cluster) -> Result<(), String> {
    let mut text = String::new();
    for number in 1..=VOLUMES {
        let folder = cluster.path(&format!("volumes/{number}"));
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        // Kubernetes gives no such folder to the user of a pod.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).map_err(failed)?;
        text += &format!(
            "---\napiVersion: v1\nkind: PersistentVolume\nmetadata:\n  name: volume-{number}\nspec:\n  capacity:\n    storage: 2Gi\n  accessModes: [ReadWriteOnce]\n  \
             persistentVolumeReclaimPolicy: Retain\n  hostPath:\n    path: '{}'\n",
            folder.display()
        );
    }
    let file = cluster.path("volumes.yaml");
    write(&file, text)?;
    tools::succeeds(cluster.kubectl().args(["apply", "--validate=false", "--filename"]).arg(file))
}

/// An image, by the name that it was built under, and the name that an overlay has for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) built: String,
    pub(super) wanted: String,
}

/// Returns the images of all overlays, each also with the tag for an update.
pub(super) fn images(cluster: &Cluster) -> Result<Vec<Image>, String> {
    let mut names = BTreeSet::new();
    for overlay in Overlay::ALL {
        let file = overlay.file(cluster);
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        names.extend(images_in(&text));
    }
    let next: Vec<_> = names.iter().map(|name| format!("{}:{NEXT}", repository(name))).collect();
    names.extend(next);
    names.into_iter().map(|wanted| Ok(Image { built: built_as(&wanted)?, wanted })).collect()
}

fn images_in(manifests: &str) -> impl Iterator<Item = String> {
    let values = manifests.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("image: "));
    values.map(|name| name.trim_matches('"').to_owned())
}

fn repository(image: &str) -> &str {
    image.split(':').next().unwrap_or(image)
}

fn built_as(image: &str) -> Result<String, String> {
    match repository(image) {
        "nats" => Ok(bases::NATS.into()),
        ours => compose::IMAGES
            .iter()
            .find(|name| ours.strip_prefix("sociable-") == Some(**name))
            .map(|name| compose::tag(name))
            .ok_or_else(|| format!("an overlay wants {image}, which is not built here")),
    }
}

/// Returns the output of a command that succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !done.status.success() {
        return Err(format!("{program} failed: {}", String::from_utf8_lossy(&done.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_versions_are_replaced() {
        let manifests =
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\n---\napiVersion: networking.k8s.io/v1\n    apiVersion: apps/v1\n";
        let old = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\n---\napiVersion: networking.k8s.io/v1\n    apiVersion: apps/v1\n";
        assert_eq!(for_old_api(manifests), old);
    }

    #[test]
    fn images_are_found_in_manifests() {
        let manifests = "      - image: nats:2\n        image: sociable-node:dev\n        imagePullPolicy: Never\n";
        assert_eq!(images_in(manifests).collect::<Vec<_>>(), ["nats:2", "sociable-node:dev"]);
    }

    #[test]
    fn unknown_image_is_refused() {
        assert_eq!(built_as("nats:2.15.1").as_deref(), Ok("nats:2"));
        assert_eq!(built_as("sociable-balancer:0.1.0"), Ok(compose::tag("balancer")));
        assert!(built_as("redis:7").is_err());
    }
}
