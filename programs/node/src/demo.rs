//! The server's side of the page: clients join rooms and talk there.
//!
//! | event | arguments | acknowledgement | event to the room |
//! |---|---|---|---|
//! | `join` | room, name | `{room, members}` | `joined` `{room, id, name, members}` |
//! | `leave` | room | null | `left` `{room, id, name, members}` |
//! | `say` | room, text | true | `said` `{room, id, name, text, at}` |
//!
//! A wrong request is acknowledged with `{error}`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sociable::adapter::own_room;
use sociable::{Ack, Failure, Namespace, RawArgs, Socket};

/// Most characters of the name of a room or of a member.
const MAX_NAME: usize = 64;
/// Most characters of one text.
const MAX_TEXT: usize = 2_000;
/// Most rooms of one socket.
const MAX_ROOMS: usize = 32;

/// Text of a client: neither empty nor longer than `MAX` characters.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Text<const MAX: usize>(String);

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.chars().take(MAX + 1).count() {
            0 => Err("text must not be empty".into()),
            length if length > MAX => Err(format!("text must not be longer than {MAX} characters")),
            _ => Ok(Self(text)),
        }
    }
}

type Name = Text<MAX_NAME>;

/// The rooms of a socket, and its name in each. It is the socket's data, so a socket without rooms costs nothing.
type Names = BTreeMap<String, String>;

#[derive(Serialize)]
struct Joined {
    room: String,
    members: usize,
}

/// A member that joined or left.
#[derive(Serialize)]
struct Moved<'a> {
    room: &'a str,
    id: &'a str,
    name: &'a str,
    members: usize,
}

#[derive(Serialize)]
struct Said<'a> {
    room: &'a str,
    id: &'a str,
    name: &'a str,
    text: &'a str,
    /// Milliseconds since the Unix epoch.
    at: u64,
}

#[derive(Serialize)]
struct Wrong<'a> {
    error: &'a str,
}

/// Adds the handlers to a namespace. They decode their arguments themselves, so that wrong ones are acknowledged too.
pub(crate) fn set_up(namespace: &Namespace) {
    namespace.on("join", async |socket: Socket, args: RawArgs, ack: Ack| answer(&ack, join(&socket, &args).await));
    namespace.on("leave", async |socket: Socket, args: RawArgs, ack: Ack| answer(&ack, leave(&socket, &args).await));
    namespace.on("say", async |socket: Socket, args: RawArgs, ack: Ack| answer(&ack, say(&socket, &args).await));
    namespace.on_disconnect(async |socket: Socket| {
        for (room, name) in names(&socket) {
            // The other rooms get the event even if this one fails.
            announce(&socket, "left", &room, &name, members(socket.namespace(), &room).await).ok();
        }
    });
}

async fn join(socket: &Socket, args: &RawArgs) -> Result<Joined, Failure> {
    let (Text(room), Text(name)): (Name, Name) = args.decode_all()?;
    if own_room(&room).is_some() {
        // Members would get the events for that socket.
        return Err(Failure::new("a room cannot have the id of a socket as its name"));
    }
    let mut names = names(socket);
    if names.len() >= MAX_ROOMS && !names.contains_key(&room) {
        return Err(Failure::new(format!("you are in {MAX_ROOMS} rooms already; leave one first")));
    }
    names.insert(room.clone(), name.clone());
    socket.set_data(&names)?;
    socket.join(&room);
    let members = members(socket.namespace(), &room).await;
    // The socket may have left while the members were counted.
    if !socket.rooms().iter().any(|joined| **joined == *room) {
        return Err(Failure::new("you have left this room"));
    }
    announce(socket, "joined", &room, &name, members)?;
    Ok(Joined { room, members })
}

async fn leave(socket: &Socket, args: &RawArgs) -> Result<(), Failure> {
    let Text(room): Name = args.decode(0)?;
    let mut names = names(socket);
    let name = names.remove(&room).ok_or_else(not_a_member)?;
    socket.set_data(&names)?;
    socket.leave(&room);
    announce(socket, "left", &room, &name, members(socket.namespace(), &room).await)
}

async fn say(socket: &Socket, args: &RawArgs) -> Result<bool, Failure> {
    let (Text(room), Text(text)): (Name, Text<MAX_TEXT>) = args.decode_all()?;
    let names = names(socket);
    let name = names.get(&room).ok_or_else(not_a_member)?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let id = socket.id();
    let namespace = socket.namespace();
    namespace.to(&room).emit("said", &Said { room: &room, id: id.as_str(), name, text: &text, at })?;
    // With JetStream an acknowledged text outlives this node.
    namespace.server().ok_or_else(|| Failure::new("the server has stopped"))?.flushed().await?;
    Ok(true)
}

fn names(socket: &Socket) -> Names {
    socket.data().unwrap_or_default()
}

fn not_a_member() -> Failure {
    Failure::new("you are not in this room")
}

/// Sends an event about a member to a room.
fn announce(socket: &Socket, event: &str, room: &str, name: &str, members: usize) -> Result<(), Failure> {
    Ok(socket.namespace().to(room).emit(event, &Moved { room, id: socket.id().as_str(), name, members })?)
}

/// Returns the number of members of a room, on all nodes that answer.
async fn members(namespace: &Namespace, room: &str) -> usize {
    match namespace.to(room).fetch_sockets().await {
        Ok(sockets) => sockets.len(),
        Err(error) => error.sockets.len(),
    }
}

/// Acknowledges an event.
fn answer<T: Serialize>(ack: &Ack, result: Result<T, Failure>) {
    // A disconnected client needs no answer.
    let _ = match result {
        Ok(value) => ack.send(&value),
        Err(failure) => ack.send(&Wrong { error: failure.message() }),
    };
}
