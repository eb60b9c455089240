// Certificates of a root of our own, by the program `openssl`.
import { execFileSync } from "node:child_process";
import path from "node:path";

/** A certificate that a root of our own has signed, for a name. */
export function certificates(name, folder) {
  const file = (part) => path.join(folder, `${name}-${part}.pem`);
  const openssl = (...args) => execFileSync("openssl", args, { stdio: "pipe" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...curve, "-keyout", file("ca-key"), "-out", file("ca"), "-subj", `/CN=${name} root`);
  const extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", `subjectAltName=DNS:${name}`];
  const signed = ["-CA", file("ca"), "-CAkey", file("ca-key")];
  openssl("req", "-x509", ...signed, ...curve, "-keyout", file("key"), "-out", file("certificate"), "-subj", `/CN=${name}`, ...extensions);
  return { ca: file("ca"), key: file("key"), certificate: file("certificate") };
}
