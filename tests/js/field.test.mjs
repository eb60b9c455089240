// Bytes of clients in other languages, and faults of production servers, at a node and at its balancer. The
// tests send raw bytes, because the JavaScript client sends none of this.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { pause } from "./cluster.mjs";
import { RawPolling, RawSocket, Server, freshApp, rawClient, request, within } from "./lib.mjs";

class Balancer extends Server {
  at(port) {
    return ["--listen", `127.0.0.1:${port}`];
  }
}

/** A node, alone or behind a balancer. `app` is where clients go. */
const places = {
  "at a node": async (t, ...flags) => {
    const node = await freshApp(t, ...flags);
    return { node, app: node };
  },
  "behind a balancer": async (t, ...flags) => {
    const node = await freshApp(t, ...flags);
    const app = await Balancer.start("SOCIABLE_BALANCER", ["--nodes", `127.0.0.1:${node.port}`]);
    t.after(() => app.stop("SIGKILL"));
    return { node, app };
  },
};

/** The packets of polls up to one that fits. */
async function polled(polling, fits) {
  for (;;) {
    const { status, text } = await polling.get();
    assert.equal(status, 200, text);
    const found = text.split("\x1e").find(fits);
    if (found) return found;
  }
}

for (const [place, start] of Object.entries(places)) {
  describe(place, () => {
    test("base64 with line breaks is read", async (t) => {
      const { app } = await start(t);
      const polling = await RawPolling.open(app);
      await polling.connect();
      for (const sent of ["AQID\n", "AQ\r\nID\r\n", " AQ ID", "AQID=="]) {
        const body = `451-/api,["echo",{"num":0,"_placeholder":true}]\x1eb${sent}`;
        assert.deepEqual(await polling.post(body), { status: 200, text: "ok" });
        assert.equal(await polled(polling, (packet) => packet[0] === "b"), "bAQID");
      }
    });

    test("invalid UTF-8 is replaced in a poll", async (t) => {
      const { app } = await start(t);
      const polling = await RawPolling.open(app);
      await polling.connect();
      const body = Buffer.concat([Buffer.from('42/api,7["echo","'), Buffer.from([0xff, 0xe2, 0x82]), Buffer.from('"]')]);
      assert.deepEqual(await polling.post(body), { status: 200, text: "ok" });
      assert.equal(await polled(polling, (packet) => packet.startsWith("43/api,7")), '43/api,7["\ufffd\ufffd"]');
    });

    test("half a surrogate pair is handled and forwarded unchanged", async (t) => {
      const { app } = await start(t);
      const raw = await rawClient(t, app);
      raw.send('42/api,1["op",{"do":"setData","data":"a\\ud800"}]');
      assert.match(await raw.next(), /^43\/api,1\[\{"ok":true/);
      raw.send('42/api,2["join","\\udc00"]');
      assert.match(await raw.next(), /^43\/api,2\[/);
      raw.send('42/api,3["op",{"do":"rooms"}]');
      assert.ok((await raw.next()).includes("\ufffd"));
      raw.send('42/api,["broadcast","\\udc00","\\ud83d"]');
      assert.equal(await raw.next(), '42/api,["msg","\\ud83d"]');
    });

    test("the .NET client upgrades without a probe", async (t) => {
      const { app } = await start(t);
      const polling = await RawPolling.open(app);
      const raw = new RawSocket(app, { sid: polling.sid });
      t.after(() => raw.terminate());
      await within(raw.opened, "the websocket opens");
      raw.send("5", "40/api,");
      assert.match(await raw.next(), /^40\/api,\{/);
      raw.send('42/api,1["echo","upgraded"]');
      assert.equal(await raw.next(), '43/api,1["upgraded"]');
    });

    describe("a server that stands still for longer than the ping timeout", () => {
      const flags = ["--ping-interval", "300", "--ping-timeout", "500"];

      async function standStill({ child }) {
        child.kill("SIGSTOP");
        await pause(1500);
        child.kill("SIGCONT");
      }

      test("pings websocket clients and keeps them", async (t) => {
        const { node, app } = await start(t, ...flags);
        const raw = await rawClient(t, app, "/api", { manual: true });
        await standStill(node);
        for (let pings = 0; pings < 3; pings++) {
          assert.equal(await raw.next("a ping"), "2");
          raw.send("3");
        }
        raw.send('42/api,1["echo",1]');
        let packet;
        do packet = await raw.next(); while (packet === "2");
        assert.equal(packet, "43/api,1[1]");
      });

      test("pings polling clients and keeps them", async (t) => {
        const { node, app } = await start(t, ...flags);
        const polling = await RawPolling.open(app);
        await polling.connect();
        const poll = polled(polling, (packet) => packet === "2");
        await standStill(node);
        await poll;
        for (let pings = 0; pings < 3; pings++) {
          assert.deepEqual(await polling.post("3"), { status: 200, text: "ok" });
          await polled(polling, (packet) => packet === "2");
        }
      });

      test("accepts a pong that came meanwhile", async (t) => {
        const { node, app } = await start(t, ...flags);
        const polling = await RawPolling.open(app);
        await polling.connect();
        await polled(polling, (packet) => packet === "2");
        node.child.kill("SIGSTOP");
        const pong = request(`${app.url}/socket.io/?EIO=4&transport=polling&sid=${polling.sid}`, { method: "POST", body: "3" });
        await pause(1500);
        node.child.kill("SIGCONT");
        assert.deepEqual(await pong, { status: 200, text: "ok" });
        await polled(polling, (packet) => packet === "2");
      });
    });
  });
}
