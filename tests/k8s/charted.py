"""The chart of `k8s/chart` as Helm's own engine renders it, and as it compares with kustomize."""

import base64
import functools
import json
import re

import yaml
from helm_python import chart

from rendered import K8S, Manifests, name_of

CHART = K8S / "chart"
#: The files of values of each overlay, in their order.
VALUES = {
    "dev": ["dev"],
    "backend": ["dev", "backend"],
    "production": ["production"],
    "starter-rust": ["dev", "starter-rust"],
}
#: The values that stand for a component of kustomize.
COMPONENT_VALUES = {
    "load-balancer": {"clients": {"by": "load-balancer"}},
    "ingress": {"clients": {"by": "ingress"}},
    "gateway": {"clients": {"by": "gateway"}},
    "backend": {"backend": {"enabled": True}},
    "monitoring": {"monitoring": {"enabled": True}},
    "tracing": {"tracing": {"enabled": True}},
    "nats-tls": {"nats": {"tls": True}},
    "sleep-action": {"sleepAction": True},
}
MANAGED_BY = "app.kubernetes.io/managed-by"


def merged(below, above):
    """The values `above` over those `below`, as Helm merges its files."""
    both = dict(below)
    for key, value in above.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def values(overlay, component=None):
    """The values of a variant."""
    files = [yaml.safe_load((CHART / "values" / f"{name}.yaml").read_text()) for name in VALUES[overlay]]
    return functools.reduce(merged, files + ([COMPONENT_VALUES[component]] if component else []), {})


@functools.cache
def loaded(path):
    """The chart of a folder or package. Helm logs each linked file when it loads a folder."""
    return chart.Chart.load(path)


def text(given, namespace="sociable", name="sociable", path=CHART):
    """The rendered files of the chart by their names."""
    return loaded(path).render(values=given, name=name, namespace=namespace)


def objects(given, **options):
    """The objects of the chart with these values."""
    files = text(given, **options)
    return Manifests("chart", [it for file in files if file.endswith(".yaml") for it in yaml.safe_load_all(files[file])])


def comparable(manifests):
    """Objects by version, kind and name, without what differs by design.

    Helm replaces the label `managed-by`. Kustomize wraps the text of Secrets, and its hash covers the lines.
    """
    everything = json.dumps(manifests.all)
    everything = everything.replace(f'"{MANAGED_BY}": "Helm"', f'"{MANAGED_BY}": "kustomize"')
    for secret in manifests.of("Secret"):
        everything = everything.replace(name_of(secret), re.sub(r"-[a-z0-9]{10}$", "-HASH", name_of(secret)))
    compared = {}
    for it in json.loads(everything):
        if it["kind"] == "Secret":
            it["data"] = {key: base64.b64decode(data).decode() for key, data in it["data"].items()}
        compared[(it["apiVersion"], it["kind"], name_of(it))] = it
    return compared
