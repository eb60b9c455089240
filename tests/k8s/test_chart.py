"""The chart renders what kustomize renders, and refuses values that it does not know."""

import json
import pathlib
import re
import shutil
import tempfile
import unittest

import yaml
from helm_python import chart, errors

from charted import CHART, COMPONENT_VALUES, MANAGED_BY, VALUES, comparable, merged, objects, text, values
from rendered import COMPONENTS, K8S, OVERLAYS, Manifests, Variant, container, for_each_variant, kustomize, name_of, pod
from test_schema import DEFINED_ELSEWHERE, VERSIONS, complaint, number

#: Values that no overlay has.
FURTHER = {
    "outside NATS": {"nats": {"enabled": False, "outside": {"url": "tls://nats.example.com:4222", "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}}},
    "outside NATS anywhere": {"nats": {"enabled": False, "tls": False, "outside": {"url": "nats://nats.example.com:4222", "port": 4333}}},
    "fast disks": {"nats": {"storage": {"size": "20Gi", "class": "fast"}, "spread": "ScheduleAnyway"}},
    "everything": {name: {"enabled": True} for name in ("backend", "monitoring", "tracing")} | {"clients": {"by": "ingress", "host": "chat.example.com"}},
    "nothing scales": {part: {"autoscaling": {"enabled": False}} for part in ("node", "balancer")},
}
#: Values that the schema refuses, and what its message names.
REFUSED = {
    "repliacs": {"node": {"repliacs": 4}},
    "nodes": {"nodes": {}},
    "SOCIABLE_MAX_SESSIONS": {"node": {"settings": {"SOCIABLE_MAX_SESSIONS": 100000}}},
    "servers": {"nats": {"servers": 2}},
    "by": {"clients": {"by": "carrier-pigeon"}},
    "url": {"nats": {"enabled": False}},
    "tag": {"nats": {"image": {"tag": 2}}},
    "cpu": {"node": {"resources": {"requests": {"cpu": 1}}}},
    "share": {"tracing": {"share": 0.01}},
    "port": {"backend": {"port": 70000}},
    "nats.config": {"nats": {"files": {"nats.config": "port: 4222"}}},
}


@for_each_variant
class Equality(Variant):
    def test_chart_renders_what_kustomize_renders(self):
        (namespace,) = self.manifests.of("Namespace")
        expected = comparable(self.manifests)
        # Helm stores the release in the namespace, so that exists before the chart.
        del expected[("v1", "Namespace", name_of(namespace))]
        found = comparable(objects(values(*self.variant), namespace=name_of(namespace)))
        self.assertEqual(sorted(expected), sorted(found))
        self.maxDiff = None
        for key, it in expected.items():
            self.assertEqual(it, found[key], " ".join(key))


class Comparison(unittest.TestCase):
    """The test of equality finds what it should."""

    def changed(self, file, before, after):
        """The objects of the chart that a change of one file of kustomize makes unequal."""
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder).resolve() / "k8s"
            shutil.copytree(K8S, copy)
            text = (copy / file).read_text()
            self.assertIn(before, text)
            (copy / file).write_text(text.replace(before, after))
            expected = comparable(Manifests("changed", yaml.safe_load_all(kustomize(copy / "overlays/dev"))))
        found = comparable(objects(values("dev"), namespace="sociable-dev"))
        return sorted({key[1:] for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)} - {("Namespace", "sociable-dev")})

    def test_unchanged_base_is_equal(self):
        self.assertEqual(self.changed("base/node/deployment.yaml", "minReadySeconds: 20", "minReadySeconds: 20"), [])

    def test_changed_object_of_the_base_is_found(self):
        self.assertEqual(self.changed("base/node/deployment.yaml", "minReadySeconds: 20", "minReadySeconds: 21"), [("Deployment", "sociable-node")])

    def test_new_object_of_the_base_is_found(self):
        again = "\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: another\n"
        file = "base/nats/serviceaccount.yaml"
        self.assertEqual(self.changed(file, "Token: false\n", f"Token: false\n{again}"), [("ServiceAccount", "another")])

    def test_changed_secret_of_an_overlay_is_found(self):
        found = self.changed("overlays/dev/nats-passwords.example.env", "node=example", "node=other")
        self.assertEqual(found, [("Secret", "nats-passwords-HASH")])


class Chart(unittest.TestCase):
    def variants(self):
        """All values that the tests know, with a name."""
        yield from ((overlay, values(overlay)) for overlay in OVERLAYS)
        yield from ((f"production with {name}", merged(values("production"), it)) for name, it in [*COMPONENT_VALUES.items(), *FURTHER.items()])

    def test_every_overlay_and_component_has_values(self):
        self.assertEqual(sorted(VALUES), sorted(OVERLAYS))
        self.assertEqual(sorted(COMPONENT_VALUES), COMPONENTS)
        named = {name for files in VALUES.values() for name in files}
        self.assertEqual(named, {path.stem for path in (CHART / "values").iterdir()})

    def test_every_version_accepts_every_object(self):
        for name, given in self.variants():
            since = (1, 30) if given.get("sleepAction") else number(VERSIONS[0])
            for it in objects(given).all:
                if (it["apiVersion"], it["kind"]) in DEFINED_ELSEWHERE:
                    continue
                for version in VERSIONS:
                    if number(version) >= since:
                        self.assertIsNone(complaint(json.dumps(it, sort_keys=True), version), f"{name}, {it['kind']} {name_of(it)}, {version}")

    def test_objects_are_unique_and_managed_by_helm(self):
        for name, given in self.variants():
            found = objects(given, namespace="elsewhere").all
            self.assertEqual(len({(it["kind"], name_of(it)) for it in found}), len(found), name)
            for it in found:
                self.assertEqual((it["metadata"]["namespace"], it["metadata"]["labels"][MANAGED_BY]), ("elsewhere", "Helm"), name)

    def test_lint_finds_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            # Of the package, because Helm logs each link of a folder.
            archive = chart.package(CHART, destination=folder)
            for name, given in self.variants():
                report = chart.lint(archive, given, strict=True)
                # The one remark below a warning: the chart has no icon.
                found = [it["error"] for it in report["messages"] if it["severity"] > 1]
                self.assertEqual((report["total_charts_linted"], found, report["errors"]), (1, [], []), name)

    def test_lint_finds_an_error(self):
        self.assertTrue(chart.lint(CHART, {"nats": {"servers": 2}}, strict=True)["errors"])

    def test_schema_refuses_unknown_values(self):
        for word, given in REFUSED.items():
            with self.assertRaises(errors.HelmError, msg=str(given)) as raised:
                text(given)
            self.assertIn(word, str(raised.exception))

    def test_schema_knows_every_default(self):
        def look(schema, value, at):
            while "$ref" in schema:
                schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
            for key, inner in (value.items() if isinstance(value, dict) else []):
                if "properties" in schema:
                    self.assertIn(key, schema["properties"], f"{at}.{key}")
                    look(schema["properties"][key], inner, f"{at}.{key}")

        schema = json.loads((CHART / "values.schema.json").read_text())
        definitions = schema["definitions"]
        look(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "values")

    def test_schema_is_closed_everywhere(self):
        def look(part, at):
            if isinstance(part, dict):
                if "properties" in part and at[-1:] not in (["if"], ["then"]) and "then" not in at:
                    self.assertIs(part.get("additionalProperties"), False, "/".join(at))
                for key, inner in part.items():
                    look(inner, [*at, key])

        look(json.loads((CHART / "values.schema.json").read_text()), [])

    def test_package_has_the_linked_files(self):
        with tempfile.TemporaryDirectory() as folder:
            archive = chart.package(CHART, destination=folder)
            self.assertTrue(pathlib.Path(archive).name.startswith("sociable-"))
            self.assertEqual(text({}, path=archive), text({}))

    def test_version_is_that_of_the_images(self):
        about, defaults = (yaml.safe_load((CHART / name).read_text()) for name in ("Chart.yaml", "values.yaml"))
        tags = {defaults[part]["image"]["tag"] for part in ("node", "balancer")}
        self.assertEqual({about["version"], about["appVersion"]}, tags)


class Values(unittest.TestCase):
    def test_outside_nats_replaces_all_objects_of_nats(self):
        found = objects(FURTHER["outside NATS"])
        self.assertEqual([it for it in found.all if it["metadata"]["labels"]["app.kubernetes.io/name"] == "nats"], [])
        for name in ("sociable-node", "sociable-balancer"):
            self.assertEqual(found.settings(found.workload(name))["SOCIABLE_NATS"], "tls://nats.example.com:4222")
            rule = found.get("NetworkPolicy", name)["spec"]["egress"][-1]
            self.assertEqual(rule, {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 4222}]})

    def test_outside_nats_without_peers_is_reached_anywhere(self):
        found = objects(FURTHER["outside NATS anywhere"])
        self.assertEqual(found.get("NetworkPolicy", "sociable-node")["spec"]["egress"], [{"to": [], "ports": [{"port": 4333}]}])
        self.assertNotIn("volumes", pod(found.workload("sociable-node")))

    def test_changed_setting_renames_its_config_map_alone(self):
        def names(given):
            return {name_of(it).rsplit("-", 1)[0]: name_of(it) for it in objects(given).of("ConfigMap")}

        before, after = names({}), names({"node": {"settings": {"SOCIABLE_CORS_ORIGIN": "https://shop.example.com"}}})
        self.assertEqual({name for name in before if before[name] != after[name]}, {"sociable-node"})

    def test_users_settings_win(self):
        found = objects({"node": {"settings": {"SOCIABLE_LOG": "warn"}}, "cluster": {"settings": {"SOCIABLE_CLUSTER": "shop"}}})
        settings = found.settings(found.workload("sociable-node"))
        self.assertEqual((settings["SOCIABLE_LOG"], settings["SOCIABLE_CLUSTER"]), ("warn", "shop"))

    def test_files_and_settings_of_the_user_are_mounted(self):
        given = {"nats": {"files": {"nats.conf": "port: 4222\n"}}, "backend": {"enabled": True, "settings": 'demo = "off"\n'}}
        data = {key: text for it in objects(given).of("ConfigMap") for key, text in it["data"].items()}
        self.assertEqual((data["nats.conf"], data["settings.toml"]), ("port: 4222\n", 'demo = "off"\n'))

    def test_large_numbers_are_written_in_full(self):
        scaled = objects({"monitoring": {"enabled": True, "sessions": 2000000, "connections": 1000000}}).of("HorizontalPodAutoscaler")
        self.assertEqual({it["spec"]["metrics"][1]["pods"]["target"]["averageValue"] for it in scaled}, {"2000000", "1000000"})

    def test_own_image_has_its_registry_and_version(self):
        node = objects({"node": {"image": {"repository": "registry.example.com/chat", "tag": "7.1"}}}).workload("sociable-node")
        self.assertEqual(container(node)["image"], "registry.example.com/chat:7.1")
        self.assertEqual(node["metadata"]["labels"]["app.kubernetes.io/version"], "7.1")

    def test_instance_is_the_release(self):
        found = objects({}, name="chat")
        for workload in found.workloads:
            selector = workload["spec"]["selector"]["matchLabels"]
            self.assertEqual(selector["app.kubernetes.io/instance"], "chat")
            self.assertEqual(found.selected(selector), [workload])

    def test_example_of_the_readme_is_valid(self):
        (example,) = re.findall(r"```yaml\n(node:.*?)```", (K8S / "README.md").read_text(), re.S)
        found = objects(yaml.safe_load(example))
        settings = found.settings(found.workload("sociable-node"))
        self.assertEqual((settings["SOCIABLE_CORS_ORIGIN"], settings["SOCIABLE_MAX_SESSIONS"]), ("https://shop.example.com", "50000"))
        self.assertIsNotNone(found.get("HTTPRoute", "sociable"))

    def test_notes_name_the_missing_secrets(self):
        def notes(given):
            return text(given)["sociable/templates/NOTES.txt"]

        self.assertIn("create: nats-passwords, nats-tls, sociable-tls.", notes({}))
        self.assertNotIn("Secrets", notes(values("backend")))
        self.assertIn("https://chat.example.com", notes(FURTHER["everything"]))
        self.assertIn("sociable-api-keys, sociable-webhooks.", notes(FURTHER["everything"]))
