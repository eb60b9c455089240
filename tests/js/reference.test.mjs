// The server beside the JavaScript one, engine.io 6.6.13 and socket.io 4.8.4: the same bytes go to both, and their answers
// must be alike. A row with `ours` and `why` is an intended difference: it must still differ, in just this way.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Server } from "./lib.mjs";
import { cases as requests } from "./reference-engine.mjs";
import { cases as packets } from "./reference-socket.mjs";
import { cases as upgrades } from "./reference-upgrade.mjs";
import { Talk } from "./talk.mjs";

process.env.REFERENCE = fileURLToPath(new URL("reference-server.mjs", import.meta.url));

function compare(group, flags, base, cases) {
  let servers;
  before(async () => {
    const mine = await Server.start("ACCEPTANCE", flags);
    servers = [await Server.start("REFERENCE", flags), mine];
  });
  after(() => Promise.all((servers ?? []).map((server) => server.stop("SIGKILL"))));
  for (const { name, run, ours, why } of cases) {
    test(`${group}: ${name}${why ? `, differs on purpose: ${why}` : ""}`, async () => {
      const talks = servers.map((server) => new Talk(server, base));
      try {
        await Promise.all(talks.map(run));
      } finally {
        talks.forEach((talk) => talk.close());
      }
      const [theirs, mine] = talks.map((talk) => talk.told);
      assert.ok(theirs.length > 0, "something is compared");
      if (!ours) return assert.deepEqual(mine, theirs);
      assert.notDeepEqual(mine, theirs, "no longer differs");
      assert.deepEqual(mine, ours);
    });
  }
}

for (const { group, flags, cases } of [...requests, ...upgrades]) compare(group, ["--engine", ...flags], "/engine.io/", cases);
for (const { group, flags, cases } of packets) compare(group, flags, "/socket.io/", cases);
