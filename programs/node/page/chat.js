"use strict";

// The chat: rooms, who comes and goes, and what is said. All text of others is put in as text, never as markup.
const LOG_LIMIT = 500; // lines kept in the page, all rooms together
const $ = (id) => document.getElementById(id);
const rooms = new Map(); // room => { members, unread }
let current = null;

const setting = (name) => document.querySelector(`meta[name=${name}]`).content;
const socket = new SocketClient(setting("socket-path"), { namespace: setting("socket-namespace") });

/** Emits an event and promises its acknowledgement; the server answers what it does not like by `{error}`. */
async function ask(event, ...args) {
  const answer = await socket.request(event, ...args);
  if (answer?.error) throw new Error(answer.error);
  return answer;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function log(room, className, ...parts) {
  const atEnd = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 40;
  const line = element("li", "", className);
  line.dataset.room = room;
  line.hidden = room !== current;
  line.append(...parts);
  $("log").append(line);
  while ($("log").childElementCount > LOG_LIMIT) $("log").firstElementChild.remove();
  if (atEnd) $("log").scrollTop = $("log").scrollHeight;
}

const note = (room, text) => log(room, "note", text);

function show(room) {
  current = room;
  if (rooms.has(room)) rooms.get(room).unread = 0;
  for (const line of $("log").children) line.hidden = line.dataset.room !== room;
  $("log").scrollTop = $("log").scrollHeight;
  draw();
}

/** Draws the list of rooms and what depends on it. A dozen elements: it is made anew each time, but the focus stays. */
function draw() {
  const focused = document.activeElement?.dataset?.key;
  $("rooms").replaceChildren(...[...rooms].map(([room, { members, unread }]) => {
    const open = element("button", `${room} · ${members}${unread ? ` · ${unread} new` : ""}`, "open");
    open.setAttribute("aria-pressed", room === current);
    open.dataset.key = "open " + room;
    open.onclick = () => show(room);
    const leave = element("button", "×", "leave");
    leave.setAttribute("aria-label", `Leave ${room}`);
    leave.dataset.key = "leave " + room;
    leave.onclick = () => leaveRoom(room);
    const line = document.createElement("li");
    line.append(open, leave);
    return line;
  }));
  if (focused) [...$("rooms").querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
  const room = rooms.get(current);
  if (room) $("title").textContent = `${current}, ${room.members} ${room.members === 1 ? "member" : "members"}`;
  else $("title").textContent = "Join a room, then open this page in a second tab and do the same.";
  $("text").disabled = $("say").disabled = !room || !socket.id;
  $("join").disabled = !socket.id;
}

async function joinRoom(room) {
  const { members } = await ask("join", room, $("name").value);
  rooms.set(room, { members, unread: 0 });
  note(room, `You are in ${room}.`);
}

async function leaveRoom(room) {
  rooms.delete(room);
  for (const line of [...$("log").children]) if (line.dataset.room === room) line.remove();
  show(current === room ? rooms.keys().next().value ?? null : current);
  // Where the connection is gone, so is the membership.
  await ask("leave", room).catch(() => {});
}

$("join-form").onsubmit = async (event) => {
  event.preventDefault();
  const room = $("room").value.trim();
  if (!room) return;
  try {
    if (!rooms.has(room)) await joinRoom(room);
    show(room);
    $("text").focus();
  } catch (error) {
    note(current, `Could not join ${room}: ${error.message}.`);
  }
};

$("say-form").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("text").value;
  const room = current;
  if (!text.trim() || !rooms.has(room)) return;
  $("text").value = "";
  try {
    await ask("say", room, text);
  } catch (error) {
    note(room, `Not sent: “${text}” (${error.message}).`);
  }
};

// A name belongs to a membership, so a new one is taken up by entering the rooms again.
$("name").onchange = async () => {
  $("name").value = $("name").value.trim() || guestName();
  remember("name", $("name").value);
  for (const room of rooms.keys()) {
    try {
      await ask("leave", room);
      await joinRoom(room);
    } catch (error) {
      note(room, `Could not take the new name along: ${error.message}.`);
    }
  }
  draw();
};

socket.on("connect", async () => {
  status("connected", true);
  draw();
  // The server knows nothing of an earlier connection's rooms.
  for (const room of rooms.keys()) await joinRoom(room).catch(() => {});
  draw();
});

socket.on("disconnect", () => {
  for (const room of rooms.keys()) note(room, "The connection is lost.");
  draw();
});

socket.on("retry", (ms) => status(`not connected, next attempt in ${Math.ceil(ms / 1000)} s`, false));

for (const [event, what] of [["joined", "has joined"], ["left", "has left"]]) {
  socket.on(event, ({ room, id, name, members }) => {
    if (!rooms.has(room)) return;
    rooms.get(room).members = members;
    if (id !== socket.id) note(room, `${name} ${what}.`);
    draw();
  });
}

socket.on("said", ({ room, id, name, text, at }) => {
  if (!rooms.has(room)) return;
  const time = element("time", new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = new Date(at).toISOString();
  log(room, id === socket.id ? "own" : "", time, element("b", name), element("span", text));
  if (room !== current) rooms.get(room).unread++;
  draw();
});

socket.on("figures", ({ node, connections, rooms, messagesPerSecond, uptime }) => {
  $("node").textContent = node;
  $("connections").textContent = connections.toLocaleString();
  $("rooms-count").textContent = rooms.toLocaleString();
  $("rate").textContent = Math.round(messagesPerSecond).toLocaleString();
  $("uptime").textContent = duration(uptime);
});

/** Two units are enough: "3 d 4 h", "12 min 5 s". */
function duration(seconds) {
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  let rest = Math.floor(seconds);
  const said = [];
  for (const [size, unit] of parts) {
    if (rest >= size || (size === 1 && !said.length)) said.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return said.slice(0, 2).join(" ");
}

function status(text, connected) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("connected", connected);
}

// Where storage is forbidden the name lasts as long as the page. It is the tab's own, so that two tabs are two people.
function remember(key, value) { try { sessionStorage.setItem(key, value); } catch {} }
function recall(key) { try { return sessionStorage.getItem(key); } catch { return null; } }
function guestName() { return `guest ${100 + Math.floor(Math.random() * 900)}`; }

$("name").value = recall("name") || guestName();
draw();
