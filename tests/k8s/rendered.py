"""The manifests of `k8s/` as kustomize renders them, with queries.

KUBECTL is the program that renders. Where OUT names a folder, each overlay is written there as JSON: the test of the drain reads it.
"""

import functools
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
#: The folder of each overlay, that of the starter too.
FOLDERS = {path.name: path for path in sorted((K8S / "overlays").iterdir())} | {"starter-rust": ROOT / "examples/starter-rust/k8s"}
OVERLAYS = list(FOLDERS)
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
#: Those that bring a way in: there is one of them at most.
WAYS_IN = {"load-balancer", "ingress", "gateway"}
#: Components that an overlay is not rendered with: those whose settings `sociable-node` alone has, and those that another variant shows.
NOT_FOR = {"starter-rust": {"backend", "tracing"}, "backend": set(COMPONENTS), "dev": {"backend"}}


def included(overlay):
    """The components that an overlay includes."""
    text = (FOLDERS[overlay] / "kustomization.yaml").read_text()
    return {path.rsplit("/", 1)[-1] for path in yaml.safe_load(text).get("components", [])}


def variants():
    """Each overlay, alone and with each further component that is compatible."""
    for overlay in OVERLAYS:
        yield overlay, None
        for component in COMPONENTS:
            has = included(overlay)
            if component not in has | NOT_FOR.get(overlay, set()) and not (component in WAYS_IN and has & WAYS_IN):
                yield overlay, component


def kustomize(folder):
    program = os.environ.get("KUBECTL", "kubectl")
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"kubectl kustomize {folder}: {done.stderr}")
    return done.stdout


@functools.cache
def render(overlay, component=None):
    """The manifests of a variant."""
    folder = FOLDERS[overlay]
    if component is None:
        manifests = Manifests(overlay, yaml.safe_load_all(kustomize(folder)))
        if "OUT" in os.environ:
            out = pathlib.Path(os.environ["OUT"])
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{overlay}.json").write_text(json.dumps(manifests.all, indent=1))
        return manifests
    with tempfile.TemporaryDirectory() as above:
        # Kustomize takes relative paths alone. The system's files may be links.
        above = os.path.realpath(above)
        kustomization = {
            "namespace": yaml.safe_load((folder / "kustomization.yaml").read_text())["namespace"],
            "resources": [os.path.relpath(folder, above)],
            "components": [os.path.relpath(K8S / "components" / component, above)],
        }
        (pathlib.Path(above) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return Manifests(f"{overlay} with {component}", yaml.safe_load_all(kustomize(above)))


class Manifests:
    """All objects of a variant."""

    def __init__(self, name, objects):
        self.name = name
        self.all = [it for it in objects if it]

    def of(self, *kinds):
        return [it for it in self.all if it["kind"] in kinds]

    def get(self, kind, name):
        """The object of this kind and name, or None."""
        return next((it for it in self.of(kind) if name_of(it) == name), None)

    @property
    def workloads(self):
        return self.of("Deployment", "StatefulSet")

    def workload(self, name):
        return next(it for it in self.workloads if name_of(it) == name)

    def selected(self, labels):
        """The workloads whose pods have these labels; an empty selector selects all."""
        return [it for it in self.workloads if labels.items() <= pod_labels(it).items()]

    def replicas(self, workload):
        """The minimum of pods."""
        for scaler in self.of("HorizontalPodAutoscaler"):
            target = scaler["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) == (workload["kind"], name_of(workload)):
                return scaler["spec"]["minReplicas"]
        return workload["spec"]["replicas"]

    def settings(self, workload):
        """The environment of its container: texts, and the sources of values of the cluster."""
        env = {}
        for source in container(workload).get("envFrom", []):
            env |= self.get("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container(workload).get("env", []):
            env[variable["name"]] = variable.get("value", variable.get("valueFrom"))
        return env

    def nats_conf(self):
        """The configuration of the NATS servers as one text."""
        volumes = pod(self.workload("nats"))["volumes"]
        name = next(volume["configMap"]["name"] for volume in volumes if volume["name"] == "config")
        files = self.get("ConfigMap", name)["data"]
        text = files["nats.conf"]
        while (include := re.search(r"^ *include (\S+)$", text, re.M)) is not None:
            text = text.replace(include[0], files[include[1]])
        return re.sub(r"^\s*#.*\n", "", text, flags=re.M)


def has_backend(variant):
    """Whether the nodes send webhooks."""
    overlay, component = variant
    return component == "backend" or "backend" in included(overlay)


def name_of(it):
    return it["metadata"]["name"]


def pod(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def container(workload):
    (only,) = pod(workload)["containers"]
    return only


def ports(workload):
    """The ports of its container by their names."""
    return {port["name"]: port["containerPort"] for port in container(workload)["ports"]}


def for_each_variant(tests):
    """Makes one class of tests for each variant, so that each counts."""
    module = __import__(tests.__module__)
    for overlay, component in variants():
        name = "_".join(filter(None, (tests.__name__, overlay, component))).replace("-", "_")
        body = {"variant": (overlay, component), "__module__": tests.__module__}
        setattr(module, name, type(name, (tests, unittest.TestCase), body))
    return tests


class Variant:
    """The base of such a class."""

    variant: tuple

    @property
    def manifests(self):
        return render(*self.variant)

    looking_at = None

    def each(self, objects):
        """Checks each of these, of which there must be one. A failure names it."""
        objects = list(objects)
        self.assertTrue(objects, "there is something to look at")
        for it in objects:
            self.looking_at = f"{it['kind']} {name_of(it)}"
            yield it
        self.looking_at = None

    def _formatMessage(self, message, standard):
        told = super()._formatMessage(message, standard)
        return f"{self.looking_at}: {told}" if self.looking_at else told
