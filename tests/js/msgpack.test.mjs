// The same with packets in MessagePack, on both sides.
import parser from "socket.io-msgpack-parser";
import { core } from "./core.mjs";

core({ name: "socket.io-msgpack-parser", flags: ["--parser", "msgpack"], parser, native: true });
