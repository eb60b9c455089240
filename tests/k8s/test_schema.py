"""Kubernetes accepts the manifests by its schemas, strictly, in every version of the validator."""

import copy
import functools
import json
import re
import unittest

import kubernetes_validate
import kubernetes_validate.utils as validator

from rendered import K8S, Variant, for_each_variant, name_of, render

OLDEST = (1, 25)
#: Kinds of other projects, which have no schema in Kubernetes.
DEFINED_ELSEWHERE = {
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
}
#: The oldest version with the fields of a component.
SINCE = {"sleep-action": (1, 30)}

# Megabytes that are read for each object otherwise.
validator.schema_contents = functools.cache(validator.schema_contents)


def number(version):
    return tuple(int(part) for part in version.split(".")[:2])


VERSIONS = [version for version in validator.all_versions() if number(version) >= OLDEST]
VERSIONS = list(dict.fromkeys(VERSIONS))


@functools.cache
def complaint(text, version):
    """The errors of an object. Most objects are the same in many variants."""
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return error.message
    return None


@for_each_variant
class Schemas(Variant):
    def test_every_version_accepts_every_object(self):
        since = SINCE.get(self.variant[1], OLDEST)
        versions = [version for version in VERSIONS if number(version) >= since]
        for it in self.each(self.manifests.all):
            if (it["apiVersion"], it["kind"]) in DEFINED_ELSEWHERE:
                continue
            for version in versions:
                self.assertIsNone(complaint(json.dumps(it, sort_keys=True), version), f"{it['kind']} {name_of(it)}, Kubernetes {version}")

    def test_objects_are_unique(self):
        names = [(it["apiVersion"], it["kind"], name_of(it)) for it in self.manifests.all]
        self.assertEqual(len(names), len(set(names)))

    def test_all_objects_are_in_one_namespace(self):
        (namespace,) = self.manifests.of("Namespace")
        for it in self.manifests.all:
            if it is not namespace:
                self.assertEqual(it["metadata"]["namespace"], name_of(namespace), f"{it['kind']} {name_of(it)}")


class Strictness(unittest.TestCase):
    """The validator finds the errors that it should."""

    def setUp(self):
        self.deployment = copy.deepcopy(render("production").of("Deployment")[0])

    def check(self, version=VERSIONS[-1]):
        return complaint(json.dumps(self.deployment, sort_keys=True), version)

    def test_validator_has_the_oldest_and_newer_versions(self):
        self.assertEqual(number(VERSIONS[0]), OLDEST)
        self.assertGreater(len(VERSIONS), 10)

    def test_unknown_field_is_refused(self):
        self.assertIsNone(self.check())
        self.deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
        self.assertIn("terminationGracePeriod", self.check())

    def test_wrong_type_is_refused(self):
        self.deployment["spec"]["minReadySeconds"] = "20 s"
        self.assertIn("20 s", self.check())

    def test_unknown_kind_is_refused(self):
        self.deployment["kind"] = "Deploymint"
        self.assertIn("Couldn't find schema", self.check())

    def test_newer_field_is_refused_by_an_older_version(self):
        node = render("production", "sleep-action").workload("sociable-node")
        self.assertIn("sleep", complaint(json.dumps(node, sort_keys=True), VERSIONS[0]))

    def test_every_setting_has_a_comment_before_it(self):
        """In files of settings each line has its own comment."""
        for path in [*K8S.rglob("*.env")]:
            if path.name.endswith(".example.env"):
                continue
            lines = path.read_text().splitlines()
            for above, line in zip(["", *lines], lines):
                if re.match(r"[A-Z_]+=", line):
                    self.assertTrue(above.startswith("# "), f"{path.name}: {line}")
