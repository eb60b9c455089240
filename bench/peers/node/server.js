// The JavaScript server of Socket.IO on Node.js.
//
// PORT is the port on 127.0.0.1. ADAPTER makes it a node of a cluster over the Redis at REDIS_URL: pubsub, sharded or streams.
// RECOVERY=1 enables connection state recovery.
import { createServer } from "node:http";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const { PORT = "3000", ADAPTER, RECOVERY, REDIS_URL } = process.env;

async function redisClient() {
  const client = createClient({ url: REDIS_URL });
  await client.connect();
  return client;
}

const adapters = {
  pubsub: async () => createAdapter(await redisClient(), await redisClient()),
  sharded: async () => createShardedAdapter(await redisClient(), await redisClient()),
  streams: async () => createStreamsAdapter(await redisClient()),
};

const http = createServer();
const io = new Server(http, {
  serveClient: false,
  adapter: ADAPTER && (await adapters[ADAPTER]()),
  connectionStateRecovery: RECOVERY && {},
});

io.on("connection", (socket) => {
  socket.on("echo", (...args) => {
    const ack = args.at(-1);
    if (typeof ack === "function") ack(...args.slice(0, -1));
    else socket.emit("echo", ...args);
  });
  socket.on("join", async (room, done) => {
    await socket.join(room);
    done();
  });
  socket.on("broadcast", (room, payload) => io.to(room).emit("msg", payload));
});

// The default backlog is too short for 5,000 clients at once.
http.listen({ port: Number(PORT), host: "127.0.0.1", backlog: 65535 });
