"use strict";

const $ = (id) => document.getElementById(id);
let socket;
let room = "lobby";

/** Sends JSON to the backend. Returns the answer, or throws its reason. */
async function post(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

/** Emits an event to the backend, through the cluster. Returns the acknowledgement, or shows its error. */
async function ask(event, text) {
  const answer = await socket.emitWithAck(event, text);
  if (answer.error) $("status").textContent = answer.error.message;
  return answer;
}

function show(who, text) {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = who;
  line.append(name, ` ${text}`);
  $("messages").append(line);
  line.scrollIntoView();
}

async function join(wanted) {
  const answer = await ask("join", wanted);
  if (answer.error) return;
  room = answer.room;
  $("messages").replaceChildren();
  for (const { name, text } of answer.history) show(name, text);
  await showRooms();
}

async function showRooms() {
  const people = await (await fetch("rooms")).json();
  $("rooms").replaceChildren(...Object.entries(people).map(([name, count]) => {
    const button = document.createElement("button");
    button.textContent = `${name} (${count})`;
    button.ariaPressed = name === room;
    button.onclick = () => join(name);
    return button;
  }));
}

function connect({ token, url }) {
  socket = io(`${url}/chat`, { auth: { token } });
  socket.on("connect", () => {
    $("status").textContent = "Connected.";
    // A connection that has recovered is still in its room, and misses nothing.
    if (!socket.recovered) join(room);
  });
  socket.on("connect_error", ({ message, data }) => {
    $("status").textContent = message;
    // The client repeats a failed connection by itself, but not a refused one.
    if (data?.code === "E_BACKEND") setTimeout(() => socket.connect(), 2000);
  });
  socket.on("disconnect", () => { $("status").textContent = "The connection is lost. Trying again."; });
  socket.on("said", ({ name, text }) => show(name, text));
  socket.on("announced", (name, text) => show(name, `to everyone: ${text}`));
  for (const event of ["joined", "left"]) {
    socket.on(event, (name) => { show(name, event); showRooms(); });
  }
}

$("login").onsubmit = async (event) => {
  event.preventDefault();
  try {
    connect(await post("login", { name: $("name").value, password: $("password").value }));
    $("login").hidden = true;
    $("chat").hidden = false;
  } catch ({ message }) {
    $("status").textContent = message;
  }
};

$("say").onsubmit = async (event) => {
  event.preventDefault();
  const answer = await ask("say", $("text").value);
  if (!answer.error) $("text").value = "";
};
