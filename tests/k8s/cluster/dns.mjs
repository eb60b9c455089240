// The DNS server of the cluster: dnsmasq, with a file of names that follows the services and endpoints.
//
//   node dns.mjs ADDRESS FOLDER
//
// Has A records of services, of the pods behind headless services, and of pods with a hostname, as those of a StatefulSet.

import { spawn } from "node:child_process";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";

import { follow } from "./api.mjs";

const [address, folder] = process.argv.slice(2);
const hosts = `${folder}/hosts`;
mkdirSync(folder, { recursive: true });
writeFileSync(hosts, "");

const server = spawn("dnsmasq", [
  "--keep-in-foreground", "--user=root", "--pid-file=", "--conf-file=/dev/null", "--log-facility=-",
  "--bind-interfaces", `--listen-address=${address}`, "--except-interface=lo",
  // No names but those of the cluster, and nobody remembers them for long.
  "--no-hosts", "--no-resolv", "--local=/cluster.local/", "--local-ttl=1", `--addn-hosts=${hosts}`,
], { stdio: "inherit" });
server.on("exit", (code) => process.exit(code ?? 1));
process.on("SIGTERM", () => server.kill());

/** The lines for one service. */
function records(service, endpoints) {
  const { name, namespace } = service.metadata;
  const { clusterIP } = service.spec;
  const domain = `${name}.${namespace}.svc.cluster.local`;
  const pods = (endpoints?.subsets ?? []).flatMap(({ addresses = [] }) => addresses);
  const named = pods.filter(({ hostname }) => hostname).map(({ ip, hostname }) => `${ip} ${hostname}.${domain}`);
  if (clusterIP === "None") return [...pods.map(({ ip }) => `${ip} ${domain}`), ...named];
  return clusterIP ? [`${clusterIP} ${domain}`, ...named] : named;
}

const known = { services: new Map(), endpoints: new Map() };
let written = "";

function write() {
  const lines = [...known.services].flatMap(([key, service]) => records(service, known.endpoints.get(key)));
  const text = [...new Set(lines)].sort().join("\n") + "\n";
  if (text === written) return;
  writeFileSync(`${hosts}.new`, text);
  renameSync(`${hosts}.new`, hosts);
  server.kill("SIGHUP");
  written = text;
}

for (const kind of Object.keys(known)) {
  follow(`/api/v1/${kind}`, (objects) => {
    known[kind] = objects;
    write();
  });
}
