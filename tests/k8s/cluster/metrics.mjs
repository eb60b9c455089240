// The metrics API of the cluster, for autoscalers. The test says how much CPU pods use, instead of a measurement.
//
//   node metrics.mjs PORT CERTIFICATE KEY
//
// The ConfigMap `metrics-stand-in` in `kube-system` has an entry for each kind of pod: the label `app.kubernetes.io/name`, and
// the CPU that each container of such a pod uses, like `900m`. Containers without an entry use 10m.

import { readFileSync } from "node:fs";
import https from "node:https";

import { get } from "./api.mjs";

const GROUP = "/apis/metrics.k8s.io/v1beta1";
const [port, certificate, key] = process.argv.slice(2);

const resources = {
  kind: "APIResourceList",
  apiVersion: "v1",
  groupVersion: "metrics.k8s.io/v1beta1",
  resources: [{ name: "pods", singularName: "", namespaced: true, kind: "PodMetrics", verbs: ["get", "list"] }],
};

/** Returns the CPU of pods, by their label. */
async function chosen() {
  try {
    return (await get("/api/v1/namespaces/kube-system/configmaps/metrics-stand-in")).data ?? {};
  } catch (error) {
    if (error.status === 404) return {};
    throw error;
  }
}

/** Returns the metrics of the running pods of a namespace, or of all. */
async function metrics(namespace, query) {
  const scope = namespace ? `/namespaces/${namespace}` : "";
  const [cpu, pods] = await Promise.all([chosen(), get(`/api/v1${scope}/pods?${query}`)]);
  const timestamp = new Date().toISOString();
  const items = pods.items.filter(({ status }) => status.phase === "Running").map(({ metadata, spec }) => ({
    metadata: { name: metadata.name, namespace: metadata.namespace, labels: metadata.labels, creationTimestamp: timestamp },
    timestamp,
    window: "10s",
    containers: spec.containers.map(({ name }) => ({
      name,
      usage: { cpu: cpu[metadata.labels?.["app.kubernetes.io/name"]] ?? "10m", memory: "64Mi" },
    })),
  }));
  return { kind: "PodMetricsList", apiVersion: "metrics.k8s.io/v1beta1", metadata: {}, items };
}

async function answer(url) {
  if (url.pathname === GROUP) return resources;
  const path = new RegExp(`^${GROUP}(?:/namespaces/([^/]+))?/pods$`).exec(url.pathname);
  return path && metrics(path[1], url.searchParams);
}

https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, async (request, response) => {
  let status = 200;
  let body;
  try {
    body = await answer(new URL(request.url, "https://localhost"));
    if (!body) status = 404;
  } catch (error) {
    console.error(`${request.url}: ${error.message}`);
    status = 500;
  }
  body ??= { kind: "Status", apiVersion: "v1", status: "Failure", code: status };
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}).listen(Number(port), "127.0.0.1");
