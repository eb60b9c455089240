// permessage-deflate with clients of others: `ws` with every combination of parameters, the real client, and hostile messages.
import { test } from "node:test";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { WebSocket } from "ws";
import { ask, client, collect, connect, connected, done, freshApp, once, ownNamespace, settle, within } from "./lib.mjs";

const WINDOWS = [undefined, 8, 9, 10, 11, 12, 13, 14, 15];
const BOTH = [false, true];
/** Whether a client asks for it. With `false`, `ws` refuses a server that asks. */
const ASKS = [undefined, true];

/** Lengths around the threshold and around every window. */
const LENGTHS = [5, 1_500, 20_000];

const json = (length) => {
  let text = "";
  for (let n = 1; text.length < length; n++) text += `{"id":${(n * 2_654_435_761) % 1_000_003},"room":"red"},`;
  return text.slice(0, length);
};

/** A session of the engine, opened with these options of `ws`. Its messages are echoed. */
async function open(t, app, perMessageDeflate) {
  const socket = new WebSocket(`${app.url.replace("http", "ws")}/engine.io/?EIO=4&transport=websocket`, { perMessageDeflate });
  t.after(() => socket.terminate());
  const [packet] = await once(socket, "message");
  assert.equal(packet.toString()[0], "0");
  return socket;
}

async function echo(socket, message, options) {
  const answer = once(socket, "message");
  socket.send(message, options);
  const [data, isBinary] = await answer;
  return isBinary ? data : data.toString();
}

for (const takeover of BOTH) {
  test(`every combination of parameters works ${takeover ? "with" : "without"} takeover by the server`, async (t) => {
    const app = await freshApp(t, "--engine", "--per-message-deflate", ...(takeover ? ["--takeover"] : []));
    const combinations = WINDOWS.flatMap((serverMaxWindowBits) => WINDOWS.flatMap((clientMaxWindowBits) =>
      ASKS.flatMap((serverNoContextTakeover) => ASKS.map((clientNoContextTakeover) =>
        ({ serverMaxWindowBits, clientMaxWindowBits, serverNoContextTakeover, clientNoContextTakeover })))));
    assert.equal(combinations.length, 324);
    const check = async (options) => {
      const named = JSON.stringify(options);
      const socket = await open(t, app, { ...options, threshold: 0 });
      assert.equal(socket.extensions, "permessage-deflate", named);
      const before = socket._socket.bytesRead;
      let plain = 0;
      for (const length of LENGTHS) {
        const message = `4${json(length)}`;
        // Twice: the second refers to the first, if it may.
        for (let twice = 0; twice < 2; twice++) {
          assert.ok((await echo(socket, message)) === message, `${named}, ${length}`);
          plain += message.length;
        }
      }
      assert.ok(socket._socket.bytesRead - before < plain * 0.8, `${named}: ${socket._socket.bytesRead - before} of ${plain}`);
      const noise = randomBytes(3_000);
      assert.deepEqual(await echo(socket, noise), noise, named);
      socket.terminate();
    };
    while (combinations.length) await Promise.all(combinations.splice(0, 12).map(check));
  });
}

test("offers beyond the settings of the server are answered as by ws, or declined", async (t) => {
  const app = await freshApp(t, "--engine", "--per-message-deflate", "--takeover", "--server-bits", "12", "--client-bits", "10");
  const answer = async (perMessageDeflate) => {
    const socket = new WebSocket(`${app.url.replace("http", "ws")}/engine.io/?EIO=4&transport=websocket`, { perMessageDeflate });
    t.after(() => socket.terminate());
    const [[response]] = await Promise.all([once(socket, "upgrade"), once(socket, "open")]);
    return response.headers["sec-websocket-extensions"];
  };
  const both = "permessage-deflate; client_max_window_bits=10; server_max_window_bits=12";
  assert.equal(await answer({}), both);
  // `ws` refuses these two with status 400.
  assert.equal(await answer({ serverMaxWindowBits: 9, clientMaxWindowBits: 10 }), "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10");
  assert.equal(await answer({ clientMaxWindowBits: false }), undefined);
  assert.equal(await answer(false), undefined);
});

test("compressed messages beyond the limit close the session with 1009, and garbage with 1007", async (t) => {
  const app = await freshApp(t, "--engine", "--per-message-deflate", "--max-payload", "100000");
  const bomb = await open(t, app, { threshold: 0 });
  bomb.send(Buffer.alloc(10_000_000));
  assert.equal((await once(bomb, "close"))[0], 1009);

  const garbage = await open(t, app, { threshold: 0 });
  garbage._socket.write(Buffer.from([0xc1, 0x83, 0, 0, 0, 0, 0xff, 0xff, 0xff]));
  assert.equal((await once(garbage, "close"))[0], 1007);

  const unasked = await open(t, app, false);
  unasked._socket.write(Buffer.from([0xc1, 0x83, 0, 0, 0, 0, 0xca, 0x04, 0x00]));
  assert.equal((await once(unasked, "close"))[0], 1002);
});

for (const transports of [["websocket"], ["polling", "websocket"]]) {
  test(`socket.io-client sends and gets compressed events by ${transports.join(" and ")}`, async (t) => {
    const app = await freshApp(t, "--per-message-deflate", "--takeover");
    const socket = client(t, app, "/api", { transports, perMessageDeflate: { threshold: 100 } });
    const upgraded = transports.length > 1 && once(socket.io, "open").then(() => once(socket.io.engine, "upgrade"));
    socket.connect();
    await connected(socket);
    if (upgraded) await upgraded;
    assert.equal(socket.io.engine.transport.ws.extensions, "permessage-deflate");
    for (const length of LENGTHS) {
      const [text, bytes] = [json(length), Buffer.from(json(length))];
      assert.deepEqual(await ask(socket, "echo", { text, bytes }), { text, bytes });
    }
  });
}

test("a broadcast reaches clients with compression, without it, and by polling", async (t) => {
  const app = await freshApp(t, "--per-message-deflate");
  const nsp = ownNamespace();
  const options = [{ perMessageDeflate: {} }, { perMessageDeflate: false }, { perMessageDeflate: { serverMaxWindowBits: 9 } }, { transports: ["polling"] }];
  const sockets = await Promise.all([...options, ...options].map((each) => connect(t, app, nsp, each)));
  const heard = sockets.map((socket) => collect(socket, "news"));
  const sent = [json(5_000), json(300), json(200_000)];
  for (const news of sent) await done(sockets[0], { do: "emit", event: "news", args: [news] });
  await done(sockets[0], { do: "emit", compress: false, event: "news", args: ["plain"] });
  await settle(...sockets);
  for (const each of heard) assert.deepEqual(each, [...sent, "plain"]);
  assert.equal(sockets[0].io.engine.transport.ws.extensions, "permessage-deflate");
  assert.equal(sockets[1].io.engine.transport.ws.extensions, "");
});

test("close codes of ws are answered with compression too", async (t) => {
  const app = await freshApp(t, "--engine", "--per-message-deflate");
  for (const code of [1000, 1001, 3000, 4999]) {
    const socket = await open(t, app, {});
    socket.close(code, "bye");
    assert.equal((await within(once(socket, "close"), "the close"))[0], code);
  }
});
