// The JavaScript server with what the acceptance app has for the differential test: the same flags, the same events.
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { attach } from "engine.io";
import { Server } from "socket.io";

const text = { type: "string" };
const { values: flags } = parseArgs({
  options: {
    port: text, engine: { type: "boolean" }, eio3: { type: "boolean" }, recovery: text,
    "max-payload": text, "http-request-body-timeout": text, "upgrade-timeout": text, "ping-interval": text, "ping-timeout": text,
    cookie: text, "cors-origin": { type: "string", default: "*" },
  },
});
const number = (name) => flags[name] !== undefined && Number(flags[name]);
const options = {
  allowEIO3: flags.eio3 ?? false,
  cors: { origin: flags["cors-origin"] },
  serveClient: false,
  ...(number("max-payload") && { maxHttpBufferSize: number("max-payload") }),
  ...(number("http-request-body-timeout") && { httpRequestBodyTimeout: number("http-request-body-timeout") }),
  ...(number("upgrade-timeout") && { upgradeTimeout: number("upgrade-timeout") }),
  ...(number("ping-interval") && { pingInterval: number("ping-interval") }),
  ...(number("ping-timeout") && { pingTimeout: number("ping-timeout") }),
  ...(flags.cookie && { cookie: { name: flags.cookie } }),
  allowRequest: (request, decide) => {
    const { deny } = request._query;
    decide(deny || null, deny === undefined);
  },
};

const http = createServer((_, response) => response.writeHead(404).end());
if (flags.engine) {
  const engine = attach(http, options);
  engine.use((request, response, next) => next(request._query.fail === undefined ? undefined : new Error("fail")));
  engine.on("connection", (session) => {
    session.on("message", (message) => session.send(message));
    session.on("close", (reason) => console.log(`closed ${session.id}: ${reason}`));
  });
} else {
  const recovery = flags.recovery && { connectionStateRecovery: { maxDisconnectionDuration: number("recovery") } };
  const io = new Server(http, { ...options, ...recovery });
  io.of(/^\/dyn-\d+$/);
  for (const name of ["/", "/custom"]) {
    io.of(name).on("connection", (socket) => {
      socket.emit("auth", socket.handshake.auth);
      const done = (callback) => typeof callback === "function" && callback();
      socket.on("echo", (...args) => {
        const callback = typeof args.at(-1) === "function" && args.pop();
        if (callback) callback(...args);
        else socket.emit("echo", ...args);
      });
      socket.on("join", (rooms, callback) => done(callback, socket.join(rooms)));
      socket.on("leave", (room, callback) => done(callback, socket.leave(room)));
      socket.on("broadcast", (room, payload) => socket.nsp.to(room).emit("msg", payload));
    });
  }
}
http.listen(Number(flags.port), "127.0.0.1");
