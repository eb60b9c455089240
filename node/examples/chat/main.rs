//! A small chat: a name for login, three rooms, their last messages, and who is typing.
//!
//! ```text
//! cargo run -p sociable --example chat
//! ```
//!
//! Then open <http://127.0.0.1:3000> in two tabs. The server is a plain actix-web `HttpServer`.
//!
//! The namespace `/chat` requires a name. `/people` is open to everyone, and sends the number of people in the chat.

mod history;
mod web;

use std::time::Duration;

use actix_web::{App, HttpServer};
use serde::{Deserialize, Serialize};
use sociable::{Ack, Auth, Data, EmitError, Failure, IntoRooms, Namespace, Server, Socket, State};

use history::{History, Said};

const MAX_NAME: usize = 30;
const MAX_TEXT: usize = 2_000;

/// The `auth` payload of a client.
#[derive(Deserialize)]
struct Login {
    name: String,
}

/// The data of a client's socket.
#[derive(Serialize, Deserialize)]
struct User {
    name: String,
}

/// The rooms. An event with another name of a room does not reach its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Room {
    Kitchen,
    Garden,
    Study,
}

impl Room {
    const ALL: [Self; 3] = [Self::Kitchen, Self::Garden, Self::Study];

    fn name(self) -> &'static str {
        match self {
            Self::Kitchen => "kitchen",
            Self::Garden => "garden",
            Self::Study => "study",
        }
    }

    /// Returns the room of a socket, if it is in one.
    fn of(socket: &Socket) -> Option<Self> {
        let rooms = socket.rooms();
        Self::ALL.into_iter().find(|room| rooms.iter().any(|joined| **joined == *room.name()))
    }
}

impl IntoRooms for Room {
    fn into_rooms(self) -> Vec<sociable::Room> {
        self.name().into_rooms()
    }
}

/// The answer to `join`.
#[derive(Serialize)]
struct Joined {
    members: Vec<String>,
    history: Vec<Said>,
}

/// The middleware that requires a name.
async fn login(socket: Socket, Auth(login): Auth<Login>) -> Result<(), Failure> {
    let name = login.name.trim();
    if !(1..=MAX_NAME).contains(&name.chars().count()) {
        return Err(Failure::new(format!("A name has 1 to {MAX_NAME} characters.")));
    }
    Ok(socket.set_data(&User { name: name.to_owned() })?)
}

async fn join(socket: Socket, Data(room): Data<Room>, history: State<History>, ack: Ack) -> Result<(), Failure> {
    part(&socket)?;
    socket.join(room);
    socket.to(room).emit("joined", name(&socket))?;
    let members = socket.namespace().to(room).fetch_sockets().await?;
    let members = members.iter().filter_map(|member| member.data_as::<User>()).map(|user| user.name).collect();
    Ok(ack.send(&Joined { members, history: history.of(room) })?)
}

async fn say(socket: Socket, Data(text): Data<String>, history: State<History>, ack: Ack) -> Result<(), Failure> {
    let room = Room::of(&socket).ok_or_else(|| Failure::new("in no room"))?;
    let said = Said { name: name(&socket), text: text.chars().take(MAX_TEXT).collect() };
    socket.to(room).emit("said", &said)?;
    history.add(room, said.clone());
    Ok(ack.send(&said)?)
}

/// Notifies the others. The event is volatile, because it is worth nothing later.
async fn typing(socket: Socket) -> Result<(), EmitError> {
    let Some(room) = Room::of(&socket) else { return Ok(()) };
    socket.to(room).volatile().emit("typing", name(&socket))
}

/// Removes a socket from its room, if it is in one, and notifies the others.
fn part(socket: &Socket) -> Result<(), EmitError> {
    let Some(room) = Room::of(socket) else { return Ok(()) };
    socket.to(room).emit("left", name(socket))?;
    socket.leave(room);
    Ok(())
}

fn name(socket: &Socket) -> String {
    socket.data().map_or_else(String::new, |user: User| user.name)
}

/// Sends the number of people in the chat.
fn send_count(people: &Namespace, chat: &Namespace) {
    people.emit("count", chat.socket_count()).ok();
}

/// Returns the server with its namespaces.
fn chat_server() -> Result<Server, sociable::ConfigError> {
    let io = Server::builder().state(History::default()).build()?;
    let (chat, people) = (io.of("/chat"), io.of("/people"));

    chat.middleware(login);
    chat.on("join", join).on("say", say).on("typing", typing);
    // A socket that disconnects is still in its room.
    chat.on_disconnecting(async |socket: Socket| part(&socket));

    chat.on_connect(async |chat: Namespace, io: Server| send_count(&io.of("/people"), &chat));
    chat.on_disconnect(async |chat: Namespace, io: Server| send_count(&io.of("/people"), &chat));
    people.on_connect(async |socket: Socket, io: Server| socket.emit("count", io.of("/chat").socket_count()));
    Ok(io)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let io = chat_server()?;
    let service = io.service();
    let http = HttpServer::new(move || App::new().service(service.clone()).configure(web::page))
        .on_connect(sociable::on_connect)
        .h1_allow_half_closed(false)
        .disable_signals()
        .bind(("127.0.0.1", 3000))?;
    println!("open http://127.0.0.1:3000 in two tabs");
    // An `HttpServer` that stops by itself sends the clients no close.
    io.run(http.run(), Duration::from_secs(10)).await?;
    Ok(())
}
