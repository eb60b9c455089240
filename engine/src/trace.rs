//! Log events of the level `trace` for each packet, without its content, which holds private texts and tokens.
//!
//! Every packet passes here. So each event is a function of its own, behind a check of one load while the level is off.

use sociable_protocol::Id;
use sociable_protocol::engine::Packet as EnginePacket;
use tracing::{Level, enabled, trace};

/// Calls a function only if the events are enabled.
macro_rules! only_if_on {
    ($target:literal, $call:expr) => {
        if enabled!(target: $target, Level::TRACE) {
            $call;
        }
    };
}

/// Logs an Engine.IO packet of a client.
#[inline]
pub(crate) fn engine_in(sid: Id, packet: &EnginePacket) {
    #[cold]
    fn log(sid: Id, packet: &EnginePacket) {
        let (kind, bytes) = match packet {
            EnginePacket::Open => ("open", 0),
            EnginePacket::Close => ("close", 0),
            EnginePacket::Ping(text) => ("ping", text.len()),
            EnginePacket::Pong(text) => ("pong", text.len()),
            EnginePacket::Message(text) => ("message", text.len()),
            EnginePacket::Binary(bytes) => ("binary", bytes.len()),
            EnginePacket::Upgrade => ("upgrade", 0),
            EnginePacket::Noop => ("noop", 0),
        };
        trace!(target: "sociable::engine", sid = %sid.shortened(), kind, bytes, "packet in");
    }
    only_if_on!("sociable::engine", log(sid, packet));
}

/// Logs a packet for a client, with all its frames, as it enters the outbox.
#[inline]
pub(crate) fn engine_out(sid: Id, bytes: usize) {
    #[cold]
    fn log(sid: Id, bytes: usize) {
        trace!(target: "sociable::engine", sid = %sid.shortened(), bytes, "packet out");
    }
    only_if_on!("sociable::engine", log(sid, bytes));
}

/// Logs bytes that a transport read from a client or wrote to it.
#[inline]
pub(crate) fn transport(sid: Id, transport: &'static str, what: &'static str, bytes: usize) {
    #[cold]
    fn log(sid: Id, transport: &'static str, what: &'static str, bytes: usize) {
        trace!(target: "sociable::transport", sid = %sid.shortened(), transport, bytes, "{what}");
    }
    only_if_on!("sociable::transport", log(sid, transport, what, bytes));
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use sociable_protocol::{IdSource, NodeTag};

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

    #[test]
    fn ids_are_logged_shortened() {
        let (log, id) = (Log::default(), IdSource::new(NodeTag::random()).draw());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false).with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            engine_in(id, &EnginePacket::Noop);
            engine_out(id, 1);
            transport(id, "polling", "read", 1);
        });
        let log = String::from_utf8(log.0.lock().clone()).unwrap();
        assert_eq!((log.lines().count(), log.matches(&id.shortened().to_string()).count()), (3, 3), "{log}");
        assert!(!log.contains(id.as_str()), "{log}");
    }
}
