// An Express app with the JavaScript server of Socket.IO, and the API and the webhook that a team would write on it.
//
// PORT is the port on 127.0.0.1. WEBHOOK is the URL of the backend that acknowledges events.
import { createServer } from "node:http";
import { timingSafeEqual } from "node:crypto";
import express from "express";
import { Server } from "socket.io";

const { PORT = "3000", WEBHOOK } = process.env;
const KEY = Buffer.from("Bearer the-key-of-the-load-generator-0001");

const app = express();
const http = createServer(app);
const io = new Server(http, { serveClient: false });

app.use("/api", (request, response, next) => {
  const key = Buffer.from(request.headers.authorization ?? "");
  if (key.length === KEY.length && timingSafeEqual(key, KEY)) next();
  else response.sendStatus(401);
});

app.post("/api/v1/emit", express.json(), (request, response) => {
  const { rooms, event, args } = request.body;
  io.to(rooms).emit(event, ...args);
  response.json({});
});

io.on("connection", (socket) => {
  socket.on("join", async (room, done) => {
    await socket.join(room);
    done();
  });
  socket.on("echo", async (...args) => {
    const done = args.pop();
    const body = JSON.stringify({ namespace: "/", socket: socket.id, event: "echo", args, ack: true });
    const answer = await fetch(WEBHOOK, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { ack } = await answer.json();
    done(...ack);
  });
});

http.listen({ port: Number(PORT), host: "127.0.0.1", backlog: 65535 });
