"""The overlays of the starters in `examples/`: Kubernetes accepts them, and their parts find each other."""

import functools
import json
import unittest

import yaml

from rendered import ROOT, Manifests, container, kustomize, name_of, pod, ports
from test_schema import VERSIONS, complaint

#: The folders with an overlay: the project or its folder `k8s`.
FOLDERS = sorted(path.parent for pattern in ("*", "*/k8s") for path in (ROOT / "examples").glob(f"{pattern}/kustomization.yaml"))
PYTHON = ROOT / "examples/starter-python"


@functools.cache
def render(folder):
    return Manifests(str(folder.relative_to(ROOT)), [it for it in yaml.safe_load_all(kustomize(folder)) if it])


class Starters(unittest.TestCase):
    def test_every_version_accepts_every_object(self):
        self.assertIn(PYTHON, FOLDERS)
        for folder in FOLDERS:
            for it in render(folder).all:
                for version in VERSIONS:
                    self.assertIsNone(complaint(json.dumps(it, sort_keys=True), version), f"{folder.name}, {it['kind']} {name_of(it)}")

    def test_volumes_have_their_files_and_mounts(self):
        for folder in FOLDERS:
            manifests = render(folder)
            for workload in manifests.workloads:
                volumes = {volume["name"]: volume for volume in pod(workload).get("volumes", [])}
                mounts = {mount["name"] for mount in container(workload).get("volumeMounts", [])}
                claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
                self.assertEqual(mounts, set(volumes) | claims, f"{folder.name}, {name_of(workload)}")
                for volume in volumes.values():
                    if "configMap" in volume:
                        self.assertIsNotNone(manifests.get("ConfigMap", volume["configMap"]["name"]), volume)
                    if "secret" in volume:
                        data = manifests.get("Secret", volume["secret"]["secretName"])["data"]
                        self.assertLessEqual({item["key"] for item in volume["secret"].get("items", [])}, set(data), volume)

    def test_pods_have_least_privileges(self):
        for folder in FOLDERS:
            for workload in render(folder).workloads:
                context = container(workload)["securityContext"]
                self.assertTrue(pod(workload)["securityContext"]["runAsNonRoot"], name_of(workload))
                self.assertEqual((context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]), (False, True), name_of(workload))


class Python(unittest.TestCase):
    def setUp(self):
        self.manifests = render(PYTHON)
        self.node, self.backend = self.manifests.workload("sociable-node"), self.manifests.workload("backend")

    def test_services_lead_to_the_backend_and_the_api(self):
        for name, workload, port in [("backend", self.backend, 8000), ("sociable-api", self.node, 3002)]:
            service = self.manifests.get("Service", name)
            self.assertEqual(self.manifests.selected(service["spec"]["selector"]), [workload])
            (exposed,) = service["spec"]["ports"]
            self.assertEqual((exposed["port"], ports(workload)[exposed["targetPort"]]), (port, port))

    def test_policies_let_backend_and_nodes_call_each_other(self):
        for caller, callee, port in [(self.node, self.backend, 8000), (self.backend, self.node, 3002)]:
            self.assertTrue(self.allows("egress", caller, callee, port), f"egress of {name_of(caller)}")
            self.assertTrue(self.allows("ingress", callee, caller, port), f"ingress of {name_of(callee)}")
        balancer = self.manifests.workload("sociable-balancer")
        self.assertFalse(self.allows("ingress", self.node, balancer, 3002), "balancers do not reach the API")
        self.assertFalse(self.allows("egress", self.backend, self.manifests.workload("nats"), 4222), "backends do not reach NATS")

    def allows(self, direction, mine, other, port):
        """Returns whether a policy of these pods allows the connection."""
        for policy in self.manifests.of("NetworkPolicy"):
            if mine not in self.manifests.selected(policy["spec"]["podSelector"].get("matchLabels", {})):
                continue
            for rule in policy["spec"].get(direction, []):
                peers = rule.get("from" if direction == "ingress" else "to")
                reached = peers is None or any(other in self.peers(peer) for peer in peers)
                if reached and any(allowed["port"] == port for allowed in rule["ports"]):
                    return True
        return False

    def peers(self, peer):
        """The workloads of this namespace that a peer of a policy stands for."""
        return [] if "namespaceSelector" in peer else self.manifests.selected(peer["podSelector"]["matchLabels"])

    def test_node_gets_no_secret_but_that_of_webhooks(self):
        (secret,) = [volume["secret"] for volume in pod(self.node)["volumes"] if "secret" in volume]
        self.assertEqual([item["key"] for item in secret["items"]], ["webhook_secret"])
