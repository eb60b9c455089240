//! What the page asks of the server: to be in rooms, and to say something there.
//!
//! | event | arguments | acknowledgement | the room is told |
//! |---|---|---|---|
//! | `join` | room, name | `{room, members}` | `joined` `{room, id, name, members}` |
//! | `leave` | room | null | `left` `{room, id, name, members}` |
//! | `say` | room, text | true | `said` `{room, id, name, text, at}` |
//!
//! What is wrong is answered by `{error}`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sociable::adapter::own_room;
use sociable::{Ack, Failure, Namespace, RawArgs, Server, Socket};

/// Characters of the name of a room or of a member.
const MAX_NAME: usize = 64;
/// Characters of what is said at once.
const MAX_TEXT: usize = 2_000;
/// Rooms of one socket: more than anybody follows.
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

/// Someone has come or gone.
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

/// Adds the handlers. The arguments are read within them, not by the signature: the page wants an answer to wrong ones too.
pub(crate) fn set_up(io: &Server) {
    io.on("join", async |socket: Socket, args: RawArgs, ack: Ack| answer(&ack, join(&socket, &args).await));
    io.on("leave", async |socket: Socket, args: RawArgs, ack: Ack| answer(&ack, leave(&socket, &args).await));
    io.on("say", async |socket: Socket, args: RawArgs, ack: Ack| answer(&ack, say(&socket, &args).await));
    io.on_disconnect(async |socket: Socket| {
        for (room, name) in names(&socket) {
            // A room that can't be told must not keep the others from it.
            tell(&socket, "left", &room, &name, members(socket.namespace(), &room).await).ok();
        }
    });
}

async fn join(socket: &Socket, args: &RawArgs) -> Result<Joined, Failure> {
    let (Text(room), Text(name)): (Name, Name) = args.decode_all()?;
    if own_room(&room).is_some() {
        // Who is in it would hear what is for that socket alone.
        return Err(Failure::new("a room can't be named like the id of a socket"));
    }
    let mut names = names(socket);
    if names.len() >= MAX_ROOMS && !names.contains_key(&room) {
        return Err(Failure::new(format!("{MAX_ROOMS} rooms are the most that one can be in")));
    }
    names.insert(room.clone(), name.clone());
    socket.set_data(&names)?;
    socket.join(&room);
    let members = members(socket.namespace(), &room).await;
    // It may have left again while the others were counted.
    if !socket.rooms().iter().any(|joined| **joined == *room) {
        return Err(Failure::new("you have left this room"));
    }
    tell(socket, "joined", &room, &name, members)?;
    Ok(Joined { room, members })
}

async fn leave(socket: &Socket, args: &RawArgs) -> Result<(), Failure> {
    let Text(room): Name = args.decode(0)?;
    let mut names = names(socket);
    let name = names.remove(&room).ok_or_else(not_a_member)?;
    socket.set_data(&names)?;
    socket.leave(&room);
    tell(socket, "left", &room, &name, members(socket.namespace(), &room).await)
}

async fn say(socket: &Socket, args: &RawArgs) -> Result<bool, Failure> {
    let (Text(room), Text(text)): (Name, Text<MAX_TEXT>) = args.decode_all()?;
    let names = names(socket);
    let name = names.get(&room).ok_or_else(not_a_member)?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let id = socket.id();
    let namespace = socket.namespace();
    namespace.to(&room).emit("said", &Said { room: &room, id: id.as_str(), name, text: &text, at })?;
    // What is acknowledged outlives this node, where nodes share a history.
    namespace.server().ok_or_else(|| Failure::new("the server is gone"))?.flushed().await?;
    Ok(true)
}

fn names(socket: &Socket) -> Names {
    socket.data().unwrap_or_default()
}

fn not_a_member() -> Failure {
    Failure::new("you are not in this room")
}

/// Tells a room that someone has come or gone.
fn tell(socket: &Socket, event: &str, room: &str, name: &str, members: usize) -> Result<(), Failure> {
    Ok(socket.namespace().to(room).emit(event, &Moved { room, id: socket.id().as_str(), name, members })?)
}

/// Members of a room, on all nodes that answer.
async fn members(namespace: &Namespace, room: &str) -> usize {
    match namespace.to(room).fetch_sockets().await {
        Ok(sockets) => sockets.len(),
        Err(error) => error.sockets.len(),
    }
}

/// Acknowledges an event.
fn answer<T: Serialize>(ack: &Ack, result: Result<T, Failure>) {
    // A client that has gone needs no answer.
    let _ = match result {
        Ok(value) => ack.send(&value),
        Err(failure) => ack.send(&Wrong { error: failure.message() }),
    };
}
