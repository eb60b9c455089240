"""Properties beyond schemas: names resolve, numbers fit together, and pods are restricted."""

import re

import yaml

from rendered import K8S, ROOT, Variant, container, for_each_variant, has_backend, name_of, pod, pod_labels, ports, render

README = (K8S / "README.md").read_text()
METRICS = (ROOT / "docs/guide/metrics.md").read_text()
#: What a stop may take beyond its parts, in seconds: NATS that can't be reached, a busy machine.
SPARE = 5


def pause_before_stop(workload):
    """The seconds that the hook waits before the stop signal."""
    hook = container(workload).get("lifecycle", {}).get("preStop")
    if hook is None:
        return 0
    if "sleep" in hook:
        return hook["sleep"]["seconds"]
    match hook["exec"]["command"]:
        case ["sleep", seconds]:
            return int(seconds)
        case _:
            return 0


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def size_of(text):
    """Bytes, as Kubernetes and NATS write them."""
    units = {"MB": 10**6, "GB": 10**9, "Mi": 2**20, "Gi": 2**30}
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * units[unit]


@for_each_variant
class References(Variant):
    def test_config_maps_and_secrets_exist_with_their_keys(self):
        def look(kind, name, keys):
            found = self.manifests.get(kind, name)
            if found is None and kind == "Secret":
                self.assertIn(f"`{name}`", README, f"the README tells how to make the Secret {name}")
                for key in keys:
                    self.assertRegex(README, rf"`{name}`.*`{re.escape(key)}`")
                return
            self.assertIsNotNone(found, f"{kind} {name}")
            data = found.get("data", {}) | found.get("stringData", {})
            self.assertLessEqual(set(keys), data.keys(), f"{kind} {name}")

        for workload in self.each(self.manifests.workloads):
            for source in container(workload).get("envFrom", []):
                look("ConfigMap", source["configMapRef"]["name"], [])
            for variable in container(workload)["env"]:
                match variable.get("valueFrom", {}):
                    case {"secretKeyRef": ref}:
                        look("Secret", ref["name"], [ref["key"]])
                    case {"configMapKeyRef": ref}:
                        look("ConfigMap", ref["name"], [ref["key"]])
            for volume in pod(workload).get("volumes", []):
                match volume:
                    case {"secret": source}:
                        look("Secret", source["secretName"], [item["key"] for item in source.get("items", [])])
                    case {"configMap": source}:
                        look("ConfigMap", source["name"], [item["key"] for item in source.get("items", [])])
        for ingress in self.manifests.of("Ingress"):
            for tls in ingress["spec"]["tls"]:
                look("Secret", tls["secretName"], [])

    def test_mounts_and_volumes_match(self):
        for workload in self.each(self.manifests.workloads):
            claims = [name_of(claim) for claim in workload["spec"].get("volumeClaimTemplates", [])]
            volumes = [volume["name"] for volume in pod(workload).get("volumes", [])] + claims
            mounts = [mount["name"] for mount in container(workload).get("volumeMounts", [])]
            self.assertEqual(sorted(volumes), sorted(mounts))

    def test_files_of_settings_are_mounted(self):
        for workload in self.each(self.manifests.of("Deployment")):
            paths, texts = set(), []
            for mount in container(workload).get("volumeMounts", []):
                volume = next(volume for volume in pod(workload)["volumes"] if volume["name"] == mount["name"])
                if "secret" in volume:
                    keys = [item["path"] for item in volume["secret"].get("items", [])] or ["tls.crt", "tls.key"]
                else:
                    data = self.manifests.get("ConfigMap", volume["configMap"]["name"])["data"]
                    keys, texts = list(data), texts + list(data.values())
                paths |= {f"{mount['mountPath']}/{key}" for key in keys}
            named = {value for value in self.manifests.settings(workload).values() if isinstance(value, str) and value.startswith("/")}
            # Settings files name further files.
            named |= {path for text in texts for path in re.findall(r'"(/etc/[^"]+)"', text)}
            self.assertEqual(named, paths)

    def test_selectors_select_their_own_pods(self):
        for workload in self.each(self.manifests.workloads):
            labels = workload["spec"]["selector"]["matchLabels"]
            self.assertEqual(self.manifests.selected(labels), [workload])
            for spread in pod(workload)["topologySpreadConstraints"]:
                self.assertEqual(self.manifests.selected(spread["labelSelector"]["matchLabels"]), [workload])

    def test_services_lead_to_ports_of_pods(self):
        for service in self.each(self.manifests.of("Service")):
            (workload,) = self.manifests.selected(service["spec"]["selector"])
            for port in service["spec"]["ports"]:
                self.assertIn(port["targetPort"], ports(workload))
                if service["spec"].get("clusterIP") == "None":
                    self.assertEqual(port["port"], ports(workload)[port["targetPort"]], "nothing translates ports of a headless service")

    def test_stateful_sets_have_their_service(self):
        for workload in self.each(self.manifests.of("StatefulSet")):
            service = self.manifests.get("Service", workload["spec"]["serviceName"])
            self.assertEqual(service["spec"]["clusterIP"], "None")
            self.assertTrue(service["spec"]["publishNotReadyAddresses"])
            self.assertEqual(self.manifests.selected(service["spec"]["selector"]), [workload])

    def test_every_workload_has_an_account_and_a_budget(self):
        for workload in self.each(self.manifests.workloads):
            self.assertIsNotNone(self.manifests.get("ServiceAccount", pod(workload)["serviceAccountName"]))
            budgets = [it for it in self.manifests.of("PodDisruptionBudget") if self.selects(it, workload)]
            self.assertEqual(len(budgets), 1)
            # Machines can be drained, and not all pods stop at once.
            self.assertEqual(budgets[0]["spec"]["maxUnavailable"], 1)
        for budget in self.each(self.manifests.of("PodDisruptionBudget")):
            self.assertEqual(len(self.manifests.selected(budget["spec"]["selector"]["matchLabels"])), 1)

    def selects(self, it, workload):
        return workload in self.manifests.selected(it["spec"]["selector"]["matchLabels"])

    def test_autoscalers_have_their_targets_and_metrics(self):
        scalers = self.manifests.of("HorizontalPodAutoscaler")
        targets = [(it["spec"]["scaleTargetRef"]["kind"], it["spec"]["scaleTargetRef"]["name"]) for it in scalers]
        if self.variant[0] == "production":
            self.assertEqual(sorted(targets), [("Deployment", "sociable-balancer"), ("Deployment", "sociable-node")])
        for scaler, target in zip(scalers, targets):
            workload = self.manifests.get(*target)
            self.assertNotIn("replicas", workload["spec"], "it would undo what the autoscaler has done")
            self.assertGreaterEqual(scaler["spec"]["minReplicas"], 2)
            self.assertGreater(scaler["spec"]["maxReplicas"], scaler["spec"]["minReplicas"])
            self.assertIn("cpu", container(workload)["resources"]["requests"])
            self.assertIn("cpu", [metric["resource"]["name"] for metric in scaler["spec"]["metrics"] if metric["type"] == "Resource"])
            down = scaler["spec"]["behavior"]["scaleDown"]
            for policy in down["policies"]:
                self.assertGreater(policy["periodSeconds"], pod(workload)["terminationGracePeriodSeconds"], "the one before has gone")

    def test_load_of_clients_scales_pods_with_monitoring(self):
        if self.variant != ("production", "monitoring"):
            return
        bounds = {"sociable-node": "SOCIABLE_MAX_SESSIONS", "sociable-balancer": "SOCIABLE_BALANCER_MAX_CONNECTIONS"}
        names = []
        for scaler in self.each(self.manifests.of("HorizontalPodAutoscaler")):
            workload = self.manifests.workload(name_of(scaler))
            (metric,) = [metric["pods"] for metric in scaler["spec"]["metrics"] if metric["type"] == "Pods"]
            names.append(metric["metric"]["name"])
            # The clients of a failed pod fit into the others, even at the minimum of pods.
            fewest, bound = scaler["spec"]["minReplicas"], int(self.manifests.settings(workload)[bounds[name_of(workload)]])
            self.assertLess(int(metric["target"]["averageValue"]) * fewest, bound * (fewest - 1))
        rules = yaml.safe_load((K8S / "components/monitoring/prometheus-adapter.yaml").read_text())["rules"]["custom"]
        self.assertEqual({rule["name"]["as"] for rule in rules}, set(names))
        for rule in rules:
            name = rule["name"]["as"]
            self.assertTrue(rule["seriesQuery"].startswith(name + "{"))
            self.assertEqual(rule["name"]["matches"], f"^{name}$")
            self.assertIn(f"| `{name.removeprefix('sociable_balancer_')}` | gauge |", METRICS)

    def test_monitors_find_their_service(self):
        for monitor in self.manifests.of("ServiceMonitor"):
            labels = monitor["spec"]["selector"]["matchLabels"]
            services = [it for it in self.manifests.of("Service") if labels.items() <= it["metadata"].get("labels", {}).items()]
            self.assertEqual(len(services), 1, name_of(monitor))
            for endpoint in monitor["spec"]["endpoints"]:
                self.assertIn(endpoint["port"], [port["name"] for port in services[0]["spec"]["ports"]])

    def test_routes_lead_to_the_balancers(self):
        backends = [
            (path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])
            for ingress in self.manifests.of("Ingress")
            for rule in ingress["spec"]["rules"]
            for path in rule["http"]["paths"]
        ] + [
            (backend["name"], backend["port"])
            for route in self.manifests.of("HTTPRoute")
            for rule in route["spec"]["rules"]
            for backend in rule["backendRefs"]
        ]
        self.assertEqual(len(backends), 1 if self.variant[1] in ("ingress", "gateway") else 0)
        for name, port in backends:
            service = self.manifests.get("Service", name)
            self.assertIn(port, [known for it in service["spec"]["ports"] for known in (it["name"], it["port"])])
            self.assertEqual(self.manifests.selected(service["spec"]["selector"]), [self.manifests.workload("sociable-balancer")])

    def test_no_route_is_sticky(self):
        for service in self.each(self.manifests.of("Service")):
            self.assertEqual(service["spec"].get("sessionAffinity", "None"), "None")
        for ingress in self.manifests.of("Ingress"):
            self.assertFalse([key for key in ingress["metadata"]["annotations"] if "affinity" in key or "sticky" in key or "hash" in key])
        for route in self.manifests.of("HTTPRoute"):
            self.assertFalse([rule for rule in route["spec"]["rules"] if "sessionPersistence" in rule])

    def test_route_timeouts_exceed_silence_of_clients(self):
        silence = 25 + 20
        for ingress in self.manifests.of("Ingress"):
            for which in ("read", "send"):
                self.assertGreater(int(ingress["metadata"]["annotations"][f"nginx.ingress.kubernetes.io/proxy-{which}-timeout"]), silence)
        for route in self.manifests.of("HTTPRoute"):
            for rule in route["spec"]["rules"]:
                self.assertEqual(rule["timeouts"], {"request": "0s", "backendRequest": "0s"})


@for_each_variant
class Labels(Variant):
    PREFIX = "app.kubernetes.io/"

    def recommended(self, labels):
        return {name.removeprefix(self.PREFIX): value for name, value in labels.items() if name.startswith(self.PREFIX)}

    def test_every_object_has_the_recommended_labels(self):
        for it in self.each(self.manifests.all):
            labels = self.recommended(it["metadata"].get("labels", {}))
            self.assertEqual(labels.keys() - {"version"}, {"name", "instance", "component", "part-of", "managed-by"})
            self.assertEqual((labels["instance"], labels["part-of"], labels["managed-by"]), ("sociable", "sociable", "kustomize"))

    def test_workloads_and_pods_have_the_version_of_their_image(self):
        for workload in self.each(self.manifests.workloads):
            _, _, tag = container(workload)["image"].rpartition(":")
            labels = self.recommended(workload["metadata"]["labels"])
            self.assertEqual(labels["version"], tag)
            self.assertEqual(labels, self.recommended(pod_labels(workload)))
            self.assertEqual(labels["name"], name_of(workload))

    def test_selectors_name_the_labels_that_never_change(self):
        stable = {f"{self.PREFIX}{name}" for name in ("name", "instance", "component")}

        def selectors(it):
            """All selectors of labels within an object."""
            if isinstance(it, list):
                for each in it:
                    yield from selectors(each)
            elif isinstance(it, dict):
                for key, value in it.items():
                    if key == "matchLabels" or (key == "selector" and isinstance(value, dict) and "matchLabels" not in value):
                        yield value
                    else:
                        yield from selectors(value)

        ours = {name_of(workload) for workload in self.manifests.workloads}
        found = [labels for it in self.each(self.manifests.all) for labels in selectors(it.get("spec", {}))]
        found = [labels for labels in found if labels.get(f"{self.PREFIX}name") in ours]
        self.assertGreater(len(found), 10)
        for labels in found:
            self.assertEqual(labels.keys(), stable)


@for_each_variant
class Settings(Variant):
    def node(self):
        workload = self.manifests.workload("sociable-node")
        return workload, self.manifests.settings(workload)

    def balancer(self):
        workload = self.manifests.workload("sociable-balancer")
        return workload, self.manifests.settings(workload)

    def test_programs_accept_all_variables(self):
        common = ROOT / "programs/common"
        for workload, settings in (self.node(), self.balancer()):
            image = container(workload)["image"].split(":")[0]
            folders = {
                "sociable-node": (ROOT / "programs/node", common),
                "sociable-balancer": (ROOT / "programs/balancer", common),
                "starter": (ROOT / "examples/starter-rust/src",),
            }[image]
            code = "".join(path.read_text() for folder in folders for path in folder.rglob("*.rs"))
            for name in settings:
                if name != "POD_IP":
                    self.assertIn(f'"{name}"', code, f"{name_of(workload)} is given {name}")

    def test_ports_match_the_listeners(self):
        workload, settings = self.node()
        wanted = {"http": int(settings["SOCIABLE_PORT"]), "admin": port_of(settings["SOCIABLE_ADMIN_ADDR"])}
        if has_backend(self.variant):
            wanted["api"] = port_of(settings["SOCIABLE_API_ADDR"])
        self.assertEqual(ports(workload), wanted)
        self.assertEqual(settings["SOCIABLE_HOST"], "0.0.0.0")

        workload, settings = self.balancer()
        wanted = {"http": "LISTEN", "https": "TLS_LISTEN", "admin": "ADMIN_ADDR"}
        wanted = {name: settings.get(f"SOCIABLE_BALANCER_{key}") for name, key in wanted.items()}
        self.assertEqual(ports(workload), {name: port_of(address) for name, address in wanted.items() if address})

        conf = self.manifests.nats_conf()
        listens = dict(re.findall(r'(?m)^\s*(listen|http): "0\.0\.0\.0:(\d+)"$', conf.split("cluster {")[0]))
        wanted = {"client": int(listens["listen"]), "monitor": int(listens["http"]), "routes": 6222}
        self.assertEqual(ports(self.manifests.workload("nats")), wanted)
        routed = re.findall(r'cluster \{[^}]*listen: "0\.0\.0\.0:(\d+)"', conf)
        many = self.manifests.replicas(self.manifests.workload("nats")) > 1
        self.assertEqual(routed, ["6222"] if many else [])

    def test_node_announces_its_listening_port(self):
        workload, settings = self.node()
        self.assertEqual(settings["SOCIABLE_ADVERTISE"], f"$(POD_IP):{settings['SOCIABLE_PORT']}")
        names = [variable["name"] for variable in container(workload)["env"]]
        self.assertLess(names.index("POD_IP"), names.index("SOCIABLE_ADVERTISE"), "a variable is known to those behind it")
        self.assertEqual(settings["POD_IP"], {"fieldRef": {"fieldPath": "status.podIP"}})

    def test_client_limits_fit_into_memory(self):
        # Bytes of an idle client with TLS, and the process's own: a node stores events, a balancer has buffers.
        costs = {
            "sociable-node": ("SOCIABLE_MAX_SESSIONS", 2_211, 384 * 2**20),
            "sociable-balancer": ("SOCIABLE_BALANCER_MAX_CONNECTIONS", 7_300, 128 * 2**20),
        }
        for workload, settings in (self.node(), self.balancer()):
            setting, each, besides = costs[name_of(workload)]
            self.assertLess(int(settings[setting]) * each + besides, size_of(container(workload)["resources"]["limits"]["memory"]))

    def test_nodes_and_balancers_find_each_other(self):
        (_, node), (_, balancer) = self.node(), self.balancer()
        for name in ("SOCIABLE_NATS", "SOCIABLE_CLUSTER", "SOCIABLE_NATS_CA"):
            self.assertEqual(node.get(name), balancer.get(name))
        host, port = re.fullmatch(r"dns://([a-z-]+):(\d+)", balancer["SOCIABLE_BALANCER_NODES"]).groups()
        service = self.manifests.get("Service", host)
        self.assertEqual(service["spec"]["clusterIP"], "None", "its name stands for all nodes")
        self.assertEqual(self.manifests.selected(service["spec"]["selector"]), [self.manifests.workload("sociable-node")])
        self.assertEqual(port, node["SOCIABLE_PORT"])

    def test_settings_name_exactly_the_nats_servers(self):
        nats = self.manifests.workload("nats")
        count, service = self.manifests.replicas(nats), nats["spec"]["serviceName"]
        client, routes = ports(nats)["client"], ports(nats)["routes"]
        wanted = [f"nats://nats-{n}.{service}:" for n in range(count)]
        self.assertEqual(self.node()[1]["SOCIABLE_NATS"].split(","), [f"{address}{client}" for address in wanted])
        named = re.findall(r'nats://[^"]+', self.manifests.nats_conf())
        self.assertEqual(named, [f"{address}{routes}" for address in wanted] if count > 1 else [])

    def test_nats_has_users_and_permissions(self):
        conf = self.manifests.nats_conf()
        for _, settings in (self.node(), self.balancer()):
            user = settings["SOCIABLE_NATS_USER"]
            self.assertRegex(conf, rf"user: {user}\b")
            # Both sides read the same key of the same Secret.
            nats = self.manifests.settings(self.manifests.workload("nats"))
            self.assertEqual(nats[f"{user.upper()}_PASSWORD"], settings["SOCIABLE_NATS_PASSWORD"])
            self.assertIn(f"${user.upper()}_PASSWORD", conf)
        subjects = re.findall(r'"(sociable\.[^"]+|\$KV\.[^"]+)"', conf)
        cluster = self.node()[1]["SOCIABLE_CLUSTER"]
        self.assertTrue(subjects)
        for subject in subjects:
            self.assertTrue(subject.startswith((f"sociable.{cluster}.", *(f"$KV.sociable-{cluster}-{bucket}." for bucket in ("sessions", "idempotency")))), subject)

    def test_traces_are_sampled_with_a_collector(self):
        if self.variant[1] != "tracing":
            return
        _, settings = self.node()
        self.assertTrue(0 < float(settings["SOCIABLE_OTLP_SHARE"]) <= 1)
        # All other settings of nodes stay the same.
        without = render(self.variant[0])
        before = without.settings(without.workload("sociable-node"))
        self.assertEqual({name for name in settings if settings[name] != before.get(name)}, {"SOCIABLE_OTLP_ENDPOINT", "SOCIABLE_OTLP_SHARE"})

    def test_nats_store_fits_on_its_disk(self):
        (claim,) = self.manifests.workload("nats")["spec"]["volumeClaimTemplates"]
        kept = size_of(re.search(r"max_file_store: (\w+)", self.manifests.nats_conf())[1])
        self.assertLess(kept, size_of(claim["spec"]["resources"]["requests"]["storage"]))
        self.assertGreater(kept, 2**30, "a history reserves a gibibyte")
        # The folders that the configuration writes to are mounted.
        mounts = [mount["mountPath"] for mount in container(self.manifests.workload("nats"))["volumeMounts"]]
        for path in re.findall(r'(?:store_dir|pid_file|_file): "([^"]+)"', self.manifests.nats_conf()):
            self.assertTrue([mount for mount in mounts if path == mount or path.startswith(mount + "/")], path)


@for_each_variant
class Life(Variant):
    def test_grace_period_exceeds_the_stop(self):
        stops = {}
        for workload in self.each(self.manifests.workloads):
            settings = self.manifests.settings(workload)
            match name_of(workload):
                case "sociable-node":
                    takes = int(settings["SOCIABLE_DRAIN_TIME"]) + int(settings["SOCIABLE_SHUTDOWN_TIMEOUT"])
                case "sociable-balancer":
                    takes = int(settings["SOCIABLE_BALANCER_DRAIN_TIME"])
                case "nats":
                    conf = self.manifests.nats_conf()
                    takes = sum(int(seconds) for seconds in re.findall(r'lame_duck_\w+: "(\d+)s"', conf))
            stops[name_of(workload)] = pause_before_stop(workload) + takes
            self.assertGreaterEqual(pod(workload)["terminationGracePeriodSeconds"], stops[name_of(workload)] + SPARE)
        self.assertGreater(min(stops.values()), 10, "all of them were told a time")

    def test_balancer_stops_after_its_removal_from_services(self):
        self.assertGreaterEqual(pause_before_stop(self.manifests.workload("sociable-balancer")), 5)
        self.assertGreater(pause_before_stop(self.manifests.workload("sociable-node")), 0)

    def test_nats_enters_lame_duck_mode_if_its_clients_can_move(self):
        nats = self.manifests.workload("nats")
        if nats["spec"]["replicas"] == 1:
            return self.assertNotIn("lifecycle", container(nats))
        pid_file = re.search(r'pid_file: "([^"]+)"', self.manifests.nats_conf())[1]
        self.assertEqual(container(nats)["lifecycle"]["preStop"]["exec"]["command"], ["nats-server", "--signal", f"ldm={pid_file}"])

    def test_probes_differ_and_use_existing_ports(self):
        for workload in self.each(self.manifests.workloads):
            start, live, ready = (container(workload)[f"{which}Probe"] for which in ("startup", "liveness", "readiness"))
            for probe in (start, live, ready):
                self.assertIn(probe["httpGet"]["port"], ports(workload))
            self.assertNotEqual(live["httpGet"]["path"], ready["httpGet"]["path"], "who is not ready is not killed")
            self.assertGreaterEqual(start["periodSeconds"] * start["failureThreshold"], 60, "a start may take long")
            self.assertGreaterEqual(live["periodSeconds"] * live["failureThreshold"], 30, "a short pause is no death")
            self.assertLessEqual(ready["periodSeconds"] * ready["failureThreshold"], 15, "who is not ready is soon known to be not")

    def test_rollout_keeps_all_pods_available(self):
        for workload in self.each(self.manifests.of("Deployment")):
            self.assertEqual(workload["spec"]["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})
            self.assertGreater(workload["spec"]["progressDeadlineSeconds"], pod(workload)["terminationGracePeriodSeconds"])

    def test_pods_are_spread(self):
        for workload in self.each(self.manifests.workloads):
            keys = [spread["topologyKey"] for spread in pod(workload)["topologySpreadConstraints"]]
            self.assertEqual(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"])

    def test_images_have_a_version(self):
        for workload in self.each(self.manifests.workloads):
            image, _, tag = container(workload)["image"].rpartition(":")
            self.assertTrue(image)
            self.assertRegex(tag, r"^(dev|\d[\w.-]*)$")
            if self.variant[0] == "production":
                self.assertRegex(tag, r"^\d+\.\d+\.\d+$", "a whole version: others move")

    def test_containers_have_requests_and_limits(self):
        for workload in self.each(self.manifests.workloads):
            resources = container(workload)["resources"]
            self.assertEqual(resources["requests"].keys(), {"cpu", "memory"})
            self.assertEqual(resources["limits"].keys(), {"memory"}, "a limit of CPU stops all clients at once")


@for_each_variant
class Security(Variant):
    def test_pods_have_least_privileges(self):
        for workload in self.each(self.manifests.workloads):
            user = pod(workload)["securityContext"]
            self.assertIs(user["runAsNonRoot"], True)
            self.assertEqual((user["runAsUser"], user["runAsGroup"]), (65532, 65532))
            self.assertEqual(user["seccompProfile"], {"type": "RuntimeDefault"})
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            self.assertEqual(container(workload)["securityContext"], wanted)
            for key in ("hostNetwork", "hostPID", "hostIPC"):
                self.assertNotIn(key, pod(workload))
            self.assertFalse([volume for volume in pod(workload).get("volumes", []) if "hostPath" in volume])

    def test_pods_have_no_token_and_no_service_variables(self):
        for workload in self.each(self.manifests.workloads):
            self.assertIs(pod(workload)["automountServiceAccountToken"], False)
            self.assertIs(pod(workload)["enableServiceLinks"], False)
        for account in self.each(self.manifests.of("ServiceAccount")):
            self.assertIs(account["automountServiceAccountToken"], False)

    def test_namespace_enforces_restricted_pods(self):
        for namespace in self.each(self.manifests.of("Namespace")):
            self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")

    def test_production_files_contain_no_secret(self):
        if self.variant[0] == "production":
            self.assertEqual(self.manifests.of("Secret"), [])

    def test_administration_ports_are_on_no_client_service(self):
        for service in self.each(self.manifests.of("Service")):
            if name_of(service).endswith("-admin"):
                self.assertEqual(service["spec"]["clusterIP"], "None")
            else:
                self.assertNotIn("admin", [port["targetPort"] for port in service["spec"]["ports"]])
                self.assertNotIn("monitor", [port["targetPort"] for port in service["spec"]["ports"]])
