"""`monitoring` gives Prometheus the same rules and names as `deploy/` does with Compose, and so the same dashboard."""

import re
import unittest

import yaml

from rendered import OVERLAYS, ROOT, name_of, render

DEPLOY = ROOT / "deploy"


def read(path):
    return yaml.safe_load((DEPLOY / path).read_text())


class Monitoring(unittest.TestCase):
    def variants(self):
        return [render(overlay, "monitoring") for overlay in OVERLAYS]

    def jobs(self):
        return {job["job_name"] for job in read("prometheus/prometheus.yml")["scrape_configs"]}

    def test_rules_are_those_of_compose(self):
        for manifests in self.variants():
            (rule,) = manifests.of("PrometheusRule")
            self.assertEqual(rule["spec"], {"groups": read("prometheus/alerts.yml")["groups"]}, manifests.name)

    def test_jobs_have_the_names_of_compose(self):
        for manifests in self.variants():
            endpoints = [endpoint for it in manifests.of("ServiceMonitor") for endpoint in it["spec"]["endpoints"]]
            names = [change["replacement"] for it in endpoints for change in it["relabelings"] if change["targetLabel"] == "job"]
            self.assertEqual(len(names), len(endpoints))
            self.assertEqual(set(names), self.jobs())

    def test_rules_and_dashboard_use_these_jobs(self):
        texts = [(DEPLOY / path).read_text() for path in ("prometheus/alerts.yml", "grafana/dashboards/sociable.json")]
        patterns = re.findall(r'job=~?\\?"([^"\\]+)', "".join(texts))
        self.assertGreaterEqual(len(patterns), 2)
        for pattern in patterns:
            self.assertTrue([job for job in self.jobs() if re.fullmatch(pattern, job)], pattern)
        # In Kubernetes others have their targets in the same Prometheus.
        self.assertEqual(re.findall(r"\bup\b(?!\{job=)", "".join(re.findall(r"expr: (.*)", texts[0]))), [])

    def test_one_label_selects_all_objects(self):
        for manifests in self.variants():
            found = manifests.of("ServiceMonitor", "PrometheusRule")
            self.assertEqual(len(found), 3)
            self.assertEqual(len({it["metadata"]["labels"]["release"] for it in found}), 1, [name_of(it) for it in found])
