// The JavaScript server of Socket.IO on Bun, with its engine for Bun. PORT is the port on 127.0.0.1.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";

const io = new Server();
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);

io.on("connection", (socket) => {
  socket.on("echo", (...args) => {
    const ack = args.at(-1);
    if (typeof ack === "function") ack(...args.slice(0, -1));
    else socket.emit("echo", ...args);
  });
  socket.on("join", (room, done) => {
    socket.join(room);
    done();
  });
  socket.on("broadcast", (room, payload) => io.to(room).emit("msg", payload));
});

// The engine sends a ping every 25 s. Bun must not close a connection before.
Bun.serve({ ...engine.handler(), port: Number(process.env.PORT ?? 3000), hostname: "127.0.0.1", idleTimeout: 60 });
