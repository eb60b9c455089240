// Agents that keep connections, as browsers keep them.
//
// A kept connection may be closed at the moment that it is used. The HTTP requests of the client would begin
// anew then, never be sent, and wait for ever. With these agents they fail.
import http from "node:http";
import https from "node:https";

const keeping = (Agent) => class extends Agent {
  constructor(options) {
    super({ keepAlive: true, ...options });
  }

  reuseSocket(socket, request) {
    super.reuseSocket(socket, request);
    request.prependOnceListener("error", () => { request.reusedSocket = false; });
  }
};

const Plain = keeping(http.Agent);
const Tls = keeping(https.Agent);

/** An agent for the scheme of a URL. */
export const kept = (url, options) => new (url.startsWith("https") ? Tls : Plain)(options);
