//! The commands of the page: they emit, and move and disconnect sockets of the whole cluster. Each is logged with the user who gave it.

use std::sync::Arc;

use serde::Deserialize;
use sociable_protocol::{Args, ArgsError};
use thiserror::Error;

use super::counters::Counters;
use super::login::Login;
use super::serialized::{address, cut};
use crate::broadcast::BroadcastOperator;
use crate::emit::EmitError;
use crate::namespace::Namespace;
use crate::socket::Socket;
use crate::trace::plain;

/// Most bytes of each text in a line of the log.
const MAX_SHOWN: usize = 256;

/// The events by which the page gives commands.
pub(super) const COMMANDS: [&str; 4] = ["emit", "join", "leave", "_disconnect"];

/// The reason why a command was not performed.
#[derive(Debug, Error)]
enum CommandError {
    #[error(transparent)]
    Arguments(#[from] ArgsError),
    #[error("no such namespace")]
    Namespace,
    #[error(transparent)]
    Emit(#[from] EmitError),
    #[error("the user is gone")]
    User,
}

/// The rooms whose sockets are meant; all sockets without one.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Filter {
    #[default]
    All,
    Room(String),
    Rooms(Vec<String>),
}

impl Filter {
    /// Returns the filter at this place. The page leaves it out, or sends null, for all sockets.
    fn of(args: &Args, index: usize) -> Result<Self, ArgsError> {
        if args.len() <= index { Ok(Self::All) } else { Ok(args.decode::<Option<Self>>(index)?.unwrap_or_default()) }
    }

    fn select(&self, namespace: &Namespace) -> BroadcastOperator {
        match self {
            Self::Room(room) if !room.is_empty() => namespace.to(&**room),
            Self::Rooms(rooms) => namespace.to(&**rooms),
            _ => namespace.except(&[] as &[&str]),
        }
    }
}

/// Adds the handlers of the commands.
pub(super) fn install(namespace: &Namespace, login: &Arc<Login>, counters: &Arc<Counters>) {
    for command in COMMANDS {
        let (login, counters) = (Arc::clone(login), Arc::clone(counters));
        namespace.on(command, move |socket: Socket, args: Args| {
            let user = login.user_of(&socket);
            let done = user.as_ref().ok_or(CommandError::User).and_then(|_| perform(command, &socket, &args));
            let by = user.as_deref().unwrap_or_default();
            let (id, from) = (socket.id(), address(socket.handshake()));
            let text = |index| args.decode::<String>(index).unwrap_or_default();
            // The name of the event, or the room.
            let (nsp, name) = match command {
                "emit" => (text(0), text(2)),
                "join" | "leave" => (text(0), text(1)),
                _ => (text(0), String::new()),
            };
            let filter = format!("{:?}", Filter::of(&args, if command == "emit" { 1 } else { 2 }).unwrap_or_default());
            let (nsp, name, filter) = (shown(&nsp), shown(&name), shown(&filter));
            match done {
                Ok(()) => {
                    counters.commands.increment();
                    tracing::info!(target: "sociable::admin", user = by, id = %id.shortened(), %from, command, namespace = %nsp, %name, %filter, "command performed");
                }
                Err(error) => {
                    counters.commands_failed.increment();
                    tracing::warn!(target: "sociable::admin", user = by, id = %id.shortened(), %from, command, namespace = %nsp, %name, %filter, %error, "command failed");
                }
            }
            std::future::ready(())
        });
    }
}

/// Returns a text of the user for a line of the log.
fn shown(text: &str) -> impl std::fmt::Display {
    plain(cut(text, MAX_SHOWN))
}

fn perform(command: &str, socket: &Socket, args: &Args) -> Result<(), CommandError> {
    let name: String = args.decode(0)?;
    let namespace = socket.namespace().server().and_then(|io| io.find(&name)).ok_or(CommandError::Namespace)?;
    match command {
        "emit" => {
            let event: String = args.decode(2)?;
            Filter::of(args, 1)?.select(&namespace).emit(&event, args.skip(3))?;
        }
        "join" => Filter::of(args, 2)?.select(&namespace).sockets_join(args.decode::<String>(1)?)?,
        "leave" => Filter::of(args, 2)?.select(&namespace).sockets_leave(args.decode::<String>(1)?)?,
        _ => {
            let close = args.decode::<Option<bool>>(1)?.unwrap_or_default();
            Filter::of(args, 2)?.select(&namespace).disconnect_sockets(close)?;
        }
    }
    Ok(())
}
