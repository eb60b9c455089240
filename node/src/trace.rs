//! Log events of the level `trace` for each packet, room and message between nodes, and the lives of rooms.
//!
//! The content of a packet is never logged, because it holds private texts and tokens. Every packet passes here. So each event is a function of its
//! own, behind a check of one load while the level is off.

use sociable_adapter::{Message, Operation, Room, Target};
use sociable_protocol::log::shortened;
use sociable_protocol::{Body, Frames, Id, Packet};
use tracing::{Level, debug, enabled, trace};

pub(crate) use sociable_protocol::log::plain;

/// Calls a function only if the events are enabled.
macro_rules! only_if_on {
    ($target:literal, $call:expr) => {
        if enabled!(target: $target, Level::TRACE) {
            $call;
        }
    };
}

/// Returns the kind of a packet, without its content.
pub(crate) fn kind(body: &Body) -> &'static str {
    parts(body).0
}

/// Logs a decoded packet of a client.
#[inline]
pub(crate) fn packet_in(sid: Id, packet: &Packet) {
    #[cold]
    fn log(sid: Id, packet: &Packet) {
        let (kind, event, ack, args) = parts(&packet.body);
        trace!(target: "sociable::parser", sid = %sid.shortened(), namespace = %plain(&packet.namespace), kind, event, ack, args, "packet in");
    }
    only_if_on!("sociable::parser", log(sid, packet));
}

/// Logs an encoded packet: once, however many clients get it.
#[inline]
pub(crate) fn packet_out(packet: &Packet, frames: &Frames) {
    #[cold]
    fn log(packet: &Packet, bytes: usize) {
        let (kind, event, ack, args) = parts(&packet.body);
        trace!(target: "sociable::parser", namespace = %plain(&packet.namespace), kind, event, ack, args, bytes, "packet out");
    }
    only_if_on!("sociable::parser", log(packet, frames.len()));
}

/// Returns the kind of a packet with the parts of its kind: name, id of the acknowledgement, number of arguments.
fn parts(body: &Body) -> (&'static str, Option<&str>, Option<u64>, Option<usize>) {
    match body {
        Body::Connect(_) => ("connect", None, None, None),
        Body::Disconnect => ("disconnect", None, None, None),
        Body::Event { name, args, id } => ("event", Some(name), *id, Some(args.len())),
        Body::Ack { args, id } => ("ack", None, *id, Some(args.len())),
        Body::ConnectError(_) => ("connect_error", None, None, None),
    }
}

/// Logs that a socket joined or left a room. `edge` marks that the room appeared or vanished.
pub(crate) fn room(namespace: &str, room: &Room, id: Id, joined: bool, edge: bool) {
    if !enabled!(target: "sociable::room", Level::DEBUG) {
        return;
    }
    let name = name_of_room(room);
    let (socket_did, room_did) = if joined { ("joined", "created") } else { ("left", "deleted") };
    trace!(target: "sociable::room", namespace, room = %name, id = %id.shortened(), "{socket_did}");
    if edge {
        debug!(target: "sociable::room", namespace, room = %name, "{room_did}");
    }
}

/// Returns the name of a room or a namespace for a log. A name that is a socket's id is shortened.
pub(crate) fn name_of_room(room: &str) -> String {
    if Id::try_from(room).is_ok() { shortened(room).to_string() } else { plain(room).to_string() }
}

/// Logs a message to the other nodes.
#[inline]
pub(crate) fn published(namespace: &str, target: &Target, operation: &Operation) {
    only_if_on!("sociable::adapter", across("published", namespace, target, operation));
}

/// Logs an event that the shared history carries to the other nodes.
#[inline]
pub(crate) fn published_event(namespace: &str, target: &Target, bytes: usize) {
    #[cold]
    fn log(namespace: &str, target: &Target, bytes: usize) {
        trace!(target: "sociable::adapter", namespace = %plain(namespace), operation = "emit", rooms = target.rooms.len(), bytes, "published");
    }
    only_if_on!("sociable::adapter", log(namespace, target, bytes));
}

/// Logs a message of another node.
#[inline]
pub(crate) fn delivered(message: &Message) {
    only_if_on!("sociable::adapter", across("delivered", &message.namespace, &message.target, &message.operation));
}

#[cold]
fn across(what: &'static str, namespace: &str, target: &Target, operation: &Operation) {
    let (operation, bytes) = match operation {
        Operation::Emit { frames, .. } => ("emit", frames.len()),
        Operation::Join(_) => ("join", 0),
        Operation::Leave(_) => ("leave", 0),
        Operation::Disconnect { .. } => ("disconnect", 0),
        Operation::ServerEvent { .. } => ("server event", 0),
    };
    let rooms = target.rooms.len();
    trace!(target: "sociable::adapter", namespace = %plain(namespace), operation, rooms, bytes, "{what}");
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use sociable_protocol::{Args, Encoding, IdSource, NodeTag};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the log lines of `act`.
    fn logged(act: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false).with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), act);
        let bytes = log.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_between_nodes_are_logged_without_content() {
        let args = Args::encode(Encoding::Json, &["a secret"]).unwrap();
        let operation = Operation::ServerEvent { name: "note".into(), args };
        let message = Message { namespace: "/chat".into(), target: Target::default(), operation, trace: None };
        let log = logged(|| {
            published(&message.namespace, &message.target, &message.operation);
            delivered(&message);
        });
        for part in ["sociable::adapter: published", "sociable::adapter: delivered", "namespace=/chat", "operation=\"server event\""] {
            assert!(log.contains(part), "{part} in {log}");
        }
        assert!(!log.contains("secret"), "{log}");
    }

    #[test]
    fn name_with_line_breaks_stays_on_one_log_line() {
        let packet = Packet::for_namespace("/x\n2026-01-01 INFO \u{1b}[31mforged", Body::Disconnect);
        let room_name = Room::from("red\r\nforged");
        let id = IdSource::new(NodeTag::random()).draw();
        let log = logged(|| {
            packet_in(id, &packet);
            room("/", &room_name, id, true, true);
        });
        assert_eq!(log.lines().count(), 3, "{log}");
        assert!(log.contains(r"/x\n2026-01-01 INFO \u{1b}[31mforged") && log.contains(r"red\r\nforged"), "{log}");
    }

    #[test]
    fn ids_are_logged_shortened() {
        let id = IdSource::new(NodeTag::random()).draw();
        let log = logged(|| {
            packet_in(id, &Packet::for_namespace("/", Body::Disconnect));
            room("/", &Room::from(id.as_str()), id, true, true);
        });
        assert_eq!((log.lines().count(), log.matches(&id.shortened().to_string()).count()), (3, 4), "{log}");
        assert!(!log.contains(id.as_str()), "{log}");
    }

    #[test]
    fn events_are_logged_without_arguments() {
        let args = Args::encode(Encoding::Json, &["a secret"]).unwrap();
        let packet = Packet::for_namespace("/chat", Body::Event { name: "say".into(), args, id: Some(7) });
        let log = logged(|| packet_in(IdSource::new(NodeTag::random()).draw(), &packet));
        assert!(log.contains("kind=\"event\"") && log.contains("event=\"say\"") && log.contains("ack=7"), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
}
