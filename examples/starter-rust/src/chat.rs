//! The namespace `/chat`: users join rooms and talk there.
//!
//! | event | argument | acknowledgement | event to the room |
//! |---|---|---|---|
//! | `join` | room | `{room, members}` | `joined` `{room, name}` |
//! | `leave` | room | null | `left` `{room, name}` |
//! | `say` | `{room, text}` | `{room, name, text, at}` | `said` `{room, name, text, at}` |
//!
//! The acknowledgement of a failure is `{error: {message, data: {code}}}`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sociable::{Ack, Data, EmitError, Failure, Handshake, Namespace, Server, Socket, State};

use crate::login::{COOKIE, Logins, User};
use crate::text::{Message, Name};

pub const NAMESPACE: &str = "/chat";

/// Most rooms of one socket.
const MAX_ROOMS: usize = 32;

/// The prefix of rooms for people. Other rooms are those of users, and of socket ids.
const ROOM: &str = "room:";

/// The `auth` payload of a client without cookies.
#[derive(Deserialize)]
struct Credentials {
    token: String,
}

/// The argument of `say`.
#[derive(Deserialize)]
struct Say {
    room: Name,
    text: Message,
}

#[derive(Serialize)]
struct Joined {
    room: Name,
    /// The users in the room, on all nodes.
    members: Vec<Name>,
}

/// A user who joined or left.
#[derive(Serialize)]
struct Moved<'a> {
    room: &'a str,
    name: &'a Name,
}

/// A message.
#[derive(Serialize)]
pub struct Said {
    pub room: Name,
    pub name: Name,
    pub text: Message,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

/// The reason why the chat refuses an event. The client gets its code.
enum Refused {
    NotLoggedIn,
    NotInRoom,
    TooManyRooms,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (code, message) = match refused {
            Refused::NotLoggedIn => ("E_LOGIN", "log in first".to_owned()),
            Refused::NotInRoom => ("E_ROOM", "join the room first".to_owned()),
            Refused::TooManyRooms => ("E_ROOMS", format!("leave a room first: you are in {MAX_ROOMS}")),
        };
        Failure::new(message).with_data(&json!({ "code": code }))
    }
}

/// Adds the handlers.
pub(crate) fn set_up(chat: &Namespace) {
    chat.middleware(admit);
    chat.on_connect(announce_return);
    chat.on("join", join).on("leave", leave).on("say", say);
    // The socket is still in its rooms.
    chat.on_disconnecting(async |socket: Socket| announce(&socket, "left"));
    chat.on_error(|socket, error| tracing::debug!(socket = %socket.id(), %error, "event refused"));
}

/// Sends a message to a room.
///
/// # Errors
///
/// The message did not reach other nodes.
pub fn send(chat: &Namespace, event: &str, said: &Said) -> Result<(), EmitError> {
    chat.to(format!("{ROOM}{}", said.room)).emit(event, said)
}

impl Said {
    /// Returns a message of this moment.
    pub fn now(room: Name, user: User, text: Message) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { room, name: user.name, text, at: at.as_millis().try_into().unwrap_or(u64::MAX) }
    }
}

/// Admits users with a valid token in `auth` or in the cookie.
async fn admit(socket: Socket, handshake: Handshake, logins: State<Logins>) -> Result<(), Failure> {
    let credentials = socket.auth::<Credentials>().ok();
    let token = credentials.as_ref().map(|it| &*it.token).or_else(|| handshake.cookie(COOKIE));
    let user = token.and_then(|token| logins.user(token)).ok_or(Refused::NotLoggedIn)?;
    // A route reaches all sockets of a user by this room, on every node.
    socket.join(user.room());
    Ok(socket.set_data(&user)?)
}

/// A client that lost its connection was announced as `left`.
async fn announce_return(socket: Socket) -> Result<(), Failure> {
    if socket.recovered() { announce(&socket, "joined") } else { Ok(()) }
}

async fn join(socket: Socket, Data(room): Data<Name>, ack: Ack) -> Result<(), Failure> {
    let name = user(&socket)?.name;
    let joined = format!("{ROOM}{room}");
    if !is_in(&socket, &joined) {
        if rooms(&socket).count() >= MAX_ROOMS {
            Err(Refused::TooManyRooms)?;
        }
        socket.join(&*joined);
        socket.to(&*joined).emit("joined", &Moved { room: &room.to_string(), name: &name })?;
    }
    // While a node fails, its users are missing from the list.
    let sockets = socket.namespace().to(&*joined).fetch_sockets().await.unwrap_or_else(|error| error.sockets);
    let mut members: Vec<_> = sockets.iter().filter_map(|it| it.data_as::<User>()).map(|user| user.name).collect();
    members.sort();
    members.dedup();
    Ok(ack.send(&Joined { room, members })?)
}

async fn leave(socket: Socket, Data(room): Data<Name>, ack: Ack) -> Result<(), Failure> {
    let left = format!("{ROOM}{room}");
    if is_in(&socket, &left) {
        socket.to(&*left).emit("left", &Moved { room: &room.to_string(), name: &user(&socket)?.name })?;
        socket.leave(left);
    }
    Ok(ack.send(())?)
}

/// The acknowledgement promises the message: with JetStream it then survives this node.
async fn say(socket: Socket, Data(Say { room, text }): Data<Say>, io: Server, ack: Ack) -> Result<(), Failure> {
    if !is_in(&socket, &format!("{ROOM}{room}")) {
        Err(Refused::NotInRoom)?;
    }
    let said = Said::now(room, user(&socket)?, text);
    send(socket.namespace(), "said", &said)?;
    io.flushed().await?;
    Ok(ack.send(&said)?)
}

/// Tells the rooms of a socket that its user joined or left.
fn announce(socket: &Socket, event: &str) -> Result<(), Failure> {
    let name = user(socket)?.name;
    for room in rooms(socket) {
        socket.to(&*format!("{ROOM}{room}")).emit(event, &Moved { room: &room, name: &name })?;
    }
    Ok(())
}

/// Returns the names of the rooms that a socket is in.
fn rooms(socket: &Socket) -> impl Iterator<Item = String> {
    socket.rooms().into_iter().filter_map(|room| room.strip_prefix(ROOM).map(str::to_owned))
}

fn is_in(socket: &Socket, room: &str) -> bool {
    socket.rooms().iter().any(|joined| **joined == *room)
}

fn user(socket: &Socket) -> Result<User, Refused> {
    socket.data().ok_or(Refused::NotLoggedIn)
}
