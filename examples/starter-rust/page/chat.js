"use strict";

// A page of the team chat. It has one room at a time.
const get = (id) => document.getElementById(id);
let socket, room;

function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  get("messages").append(line);
}

async function post(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!response.ok) throw new Error((await response.json()).detail);
}

function connect() {
  // The browser sends the cookie of the login.
  socket = new SocketClient("/socket.io/", { namespace: "/chat" });
  socket.on("connect", () => {
    get("status").textContent = "connected";
    if (room) join(room);
  });
  socket.on("disconnect", () => { get("status").textContent = "reconnecting"; });
  socket.on("refused", (message) => { get("status").textContent = message; socket.close(); });
  socket.on("said", ({ room, name, text }) => show(`#${room} ${name}: ${text}`));
  socket.on("announced", ({ room, name, text }) => show(`#${room} announcement of ${name}: ${text}`));
  socket.on("joined", ({ room, name }) => show(`#${room} ${name} joined`));
  socket.on("left", ({ room, name }) => show(`#${room} ${name} left`));
  get("login").hidden = true;
  get("join").hidden = false;
}

async function join(name) {
  const answer = await socket.request("join", name);
  if (answer.error) return show(answer.error.message);
  if (room && room !== name) await socket.request("leave", room);
  room = name;
  get("say").hidden = false;
  show(`you are in #${room} with ${answer.members.join(", ")}`);
}

function on(id, event, action) {
  get(id).addEventListener(event, (happened) => {
    happened.preventDefault();
    action(happened.target).catch((error) => show(error.message));
  });
}

on("login", "submit", async (form) => { await post("login", { name: form.elements.name.value }); connect(); });
on("join", "submit", (form) => join(form.elements.room.value));
on("say", "submit", async (form) => {
  const { text } = form.elements;
  const answer = await socket.request("say", { room, text: text.value });
  if (answer.error) return show(answer.error.message);
  text.value = "";
});
on("logout", "click", async () => { await post("logout", {}); location.reload(); });

fetch("me").then((response) => { if (response.ok) connect(); });
