// Clients of the page in its rooms, which disconnect and recover.
import assert from "node:assert/strict";
import { Manager } from "socket.io-client";
import { ask, connected } from "../lib.mjs";

/** A client of the page, in a room. */
export async function member(t, node, room) {
  const manager = new Manager(node.url, { transports: ["websocket"], reconnection: false });
  t.after(() => manager._close());
  const socket = manager.socket("/");
  const heard = [];
  // Behind an event stands its place in the history.
  socket.on("said", (said) => heard.push(said));
  await connected(socket);
  const answer = await ask(socket, "join", room, "m");
  assert.equal(answer.room, room, JSON.stringify(answer));
  return { manager, socket, heard, room, id: socket.id };
}

/** Ends the connection of a client without a word. */
export async function lose({ manager, socket }) {
  const lost = new Promise((resolve) => socket.once("disconnect", resolve));
  manager.engine.transport.ws.terminate();
  await lost;
}

/** Reconnects a lost client to a node. */
export async function comeBack({ manager, socket }, node) {
  manager.uri = node.url;
  socket.connect();
  await connected(socket);
}
