// The API of the cluster, as the programs beside it use it. The environment has its address, and files with the token and the certificate.

import { readFileSync } from "node:fs";
import https from "node:https";

const { API, API_TOKEN, API_CA } = process.env;
const options = { ca: readFileSync(API_CA), headers: { authorization: `Bearer ${readFileSync(API_TOKEN, "utf8").trim()}` } };

/** Opens a request and resolves with its response. Rejects unless the status is 200. */
function open(path) {
  return new Promise((resolve, reject) => {
    const request = https.get(`${API}${path}`, options, (response) => {
      if (response.statusCode === 200) return resolve(response.setEncoding("utf8"));
      response.resume();
      reject(Object.assign(new Error(`GET ${path}: ${response.statusCode}`), { status: response.statusCode }));
    });
    request.on("error", reject);
  });
}

/** Returns an object or a list. */
export async function get(path) {
  let text = "";
  for await (const part of await open(path)) text += part;
  return JSON.parse(text);
}

/** Calls `changed` with all objects of a list, by namespace and name: at the start, and after each change. */
export async function follow(path, changed) {
  for (;;) {
    try {
      await followOnce(path, changed);
    } catch (error) {
      console.error(`watch failed: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const key = ({ metadata }) => `${metadata.namespace}/${metadata.name}`;

async function followOnce(path, changed) {
  const list = await get(path);
  const objects = new Map(list.items.map((object) => [key(object), object]));
  changed(objects);
  let rest = "";
  for await (const part of await open(`${path}?watch=true&resourceVersion=${list.metadata.resourceVersion}`)) {
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const { type, object } = JSON.parse(line);
      // The server forgot the version: a new list is needed.
      if (type === "ERROR") return;
      if (type === "DELETED") objects.delete(key(object));
      else objects.set(key(object), object);
    }
    changed(objects);
  }
}
