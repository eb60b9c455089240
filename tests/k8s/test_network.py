"""The network policies allow the needed connections, and no others."""

import re

from rendered import Variant, for_each_variant, has_backend, name_of, ports

#: Pods and clients outside of the namespace.
OUTSIDE = "outside"
PROMETHEUS = "prometheus"
DNS = "dns"
COLLECTOR = "collector"
BACKEND = "backend"
ELSEWHERE = {"monitoring": PROMETHEUS, "kube-system": DNS, "observability": COLLECTOR, "backend": BACKEND}


@for_each_variant
class Network(Variant):
    def policies(self, direction):
        """The selected pods, the peers, and the ports."""
        for policy in self.manifests.of("NetworkPolicy"):
            for rule in policy["spec"].get(direction.lower(), []):
                self.assertTrue(rule["ports"], f"{name_of(policy)} names ports")
                peers = rule.get("from" if direction == "Ingress" else "to")
                others = [OUTSIDE] if peers is None else [one for peer in peers for one in self.peers(peer)]
                for port in rule["ports"]:
                    for mine in self.selected(policy):
                        for other in others:
                            yield mine, other, (port["port"], port.get("protocol", "TCP"))

    def selected(self, policy):
        found = [name_of(it) for it in self.manifests.selected(policy["spec"]["podSelector"].get("matchLabels", {}))]
        self.assertTrue(found, f"{name_of(policy)} selects pods")
        return found

    def peers(self, peer):
        if "namespaceSelector" in peer:
            self.assertIn("podSelector", peer, "not all pods of another namespace")
            return [ELSEWHERE[peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]]]
        found = [name_of(it) for it in self.manifests.selected(peer["podSelector"]["matchLabels"])]
        self.assertTrue(found, "peers exist")
        return found

    def port(self, workload, name):
        return ports(self.manifests.workload(workload))[name], "TCP"

    def within(self):
        """The connections between pods of the namespace."""
        return {
            ("sociable-balancer", "sociable-node", self.port("sociable-node", "http")),
            ("sociable-balancer", "nats", self.port("nats", "client")),
            ("sociable-node", "nats", self.port("nats", "client")),
            ("nats", "nats", self.port("nats", "routes")),
        }

    def test_default_policy_denies_both_directions(self):
        (policy,) = [it for it in self.manifests.of("NetworkPolicy") if it["spec"]["podSelector"] == {} and len(it["spec"]["policyTypes"]) == 2]
        self.assertNotIn("ingress", policy["spec"])
        self.assertNotIn("egress", policy["spec"])

    def test_egress_is_minimal(self):
        lookups = {(name_of(it), DNS, (53, protocol)) for it in self.manifests.workloads for protocol in ("UDP", "TCP")}
        self.assertEqual(set(self.policies("Egress")), self.within() | lookups | self.traces() | self.webhooks())

    def webhooks(self):
        """The connections of nodes to their backend."""
        if not has_backend(self.variant):
            return set()
        node = self.manifests.workload("sociable-node")
        (volume,) = [volume for volume in node["spec"]["template"]["spec"]["volumes"] if "configMap" in volume]
        text = self.manifests.get("ConfigMap", volume["configMap"]["name"])["data"]["settings.toml"]
        # A name of one part would be resolved in the nodes' namespace.
        urls = set(re.findall(r'"http://[a-z-]+\.([a-z-]+):(\d+)/', text))
        self.assertTrue(urls)
        return {("sociable-node", ELSEWHERE[namespace], (int(port), "TCP")) for namespace, port in urls}

    def traces(self):
        """The connection of nodes to their collector."""
        endpoint = self.manifests.settings(self.manifests.workload("sociable-node")).get("SOCIABLE_OTLP_ENDPOINT")
        self.assertEqual(endpoint is not None, self.variant[1] == "tracing")
        if endpoint is None:
            return set()
        # Nodes refuse https. The name has a Service and its namespace: a name of one part would be resolved in the nodes' namespace.
        _, namespace, port = re.fullmatch(r"http://([a-z-]+)\.([a-z-]+):(\d+)", endpoint).groups()
        return {("sociable-node", ELSEWHERE[namespace], (int(port), "TCP"))}

    def test_ingress_is_minimal(self):
        allowed = {(source, target, port) for target, source, port in self.policies("Ingress")}
        balancer = self.manifests.workload("sociable-balancer")
        # The ports of the balancer that services for clients lead to.
        doors = {
            (OUTSIDE, "sociable-balancer", self.port("sociable-balancer", port["targetPort"]))
            for service in self.manifests.of("Service")
            if self.manifests.selected(service["spec"]["selector"]) == [balancer] and not name_of(service).endswith("-admin")
            for port in service["spec"]["ports"]
        }
        self.assertTrue(doors)
        asked = set()
        for service in self.manifests.of("Service"):
            if name_of(service).endswith("-admin"):
                (workload,) = self.manifests.selected(service["spec"]["selector"])
                asked.add((PROMETHEUS, name_of(workload), self.port(name_of(workload), "admin")))
        self.assertEqual(len(asked), 2 if self.variant[1] == "monitoring" else 0)
        calls = {(BACKEND, "sociable-node", self.port("sociable-node", "api"))} if has_backend(self.variant) else set()
        self.assertEqual(allowed, self.within() | doors | asked | calls)

    def test_policy_types_match_their_rules(self):
        for policy in self.each(self.manifests.of("NetworkPolicy")):
            for direction in ("Ingress", "Egress"):
                if direction.lower() in policy["spec"]:
                    self.assertIn(direction, policy["spec"]["policyTypes"])
