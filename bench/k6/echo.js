// Load on one node by k6 (https://k6.io): each virtual user holds a WebSocket, and asks for the echo of an event again and again.
//
//     PORT=3000 cargo run --release --example bench
//     k6 run --vus 500 --duration 1m bench/k6/echo.js
//
// The variables, each after `-e`: URL (ws://127.0.0.1:3000), NAMESPACE (/), EVENT (echo; the server must acknowledge it), BYTES (32),
// PAUSE (milliseconds between two events, 1000). k6 ends with an error if an answer took too long or was not what was sent.
//
// k6 knows WebSockets but not Socket.IO, so its packets are written by hand here. An answer is matched to its event by the number of the
// acknowledgement, so several may be under way.
import { check } from "k6";
import { Counter, Trend } from "k6/metrics";
import { WebSocket } from "k6/websockets";

const { URL = "ws://127.0.0.1:3000", NAMESPACE = "/", EVENT = "echo", BYTES = "32", PAUSE = "1000" } = __ENV;
const TEXT = "x".repeat(Number(BYTES));
/** A virtual user connects anew after so many events, so that connecting is part of the load. */
const EVENTS_EACH = 60;

const roundTrip = new Trend("echo_round_trip", true);
const refused = new Counter("refused");

export const options = {
  thresholds: { checks: ["rate==1"], refused: ["count==0"], echo_round_trip: ["p(99)<1000"] },
};

export default function () {
  const socket = new WebSocket(`${URL}/socket.io/?EIO=4&transport=websocket`);
  const namespace = NAMESPACE === "/" ? "" : `${NAMESPACE},`;
  const asked = new Map();
  let count = 0;

  const ask = () => {
    const number = count++;
    asked.set(number, Date.now());
    socket.send(`42${namespace}${number}${JSON.stringify([EVENT, TEXT])}`);
  };

  const answered = (packet) => {
    const list = packet.indexOf("[");
    const number = Number(packet.slice(0, list));
    roundTrip.add(Date.now() - asked.get(number));
    asked.delete(number);
    check(packet.slice(list), { "the echo is what was sent": (args) => args === JSON.stringify([TEXT]) });
    if (count < EVENTS_EACH) setTimeout(ask, Number(PAUSE));
    else socket.close();
  };

  socket.onmessage = ({ data }) => {
    if (data[0] === "0") socket.send(`40${namespace}`);
    else if (data === "2") socket.send("3");
    else if (data.startsWith(`40${namespace}`)) ask();
    else if (data.startsWith(`43${namespace}`)) answered(data.slice(2 + namespace.length));
    else if (data.startsWith("44")) {
      refused.add(1);
      socket.close();
    }
  };
  socket.onerror = () => refused.add(1);
}
