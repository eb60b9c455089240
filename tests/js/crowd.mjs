// A process with many idle sockets: `fork("crowd.mjs", [count, url, …])`. It sends `ready` to its parent once all are connected.
import { WebSocket } from "ws";

const [count, ...urls] = process.argv.slice(2);

/** A network may refuse a connection now and then: each is tried so often. */
const ATTEMPTS = 5;

/** Opens a socket of the main namespace, and answers its pings. */
const openOnce = (url) => new Promise((resolve, reject) => {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
  socket.on("error", reject).on("close", () => reject(new Error("closed")));
  socket.on("message", (data) => {
    const packet = data.toString();
    if (packet.startsWith("0")) socket.send("40");
    else if (packet === "2") socket.send("3");
    else if (packet.startsWith("40")) resolve();
  });
});

async function open(url) {
  for (let left = ATTEMPTS - 1; ; left--) {
    try {
      return await openOnce(url);
    } catch (error) {
      if (left === 0) throw error;
    }
  }
}

for (let opened = 0; opened < Number(count); opened += 50) {
  await Promise.all(Array.from({ length: Math.min(50, count - opened) }, (_, at) => open(urls[(opened + at) % urls.length])));
}
process.send("ready");
