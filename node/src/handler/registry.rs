//! What a namespace, or one socket, has listening: the handlers, listeners and middleware.

use std::sync::Arc;

use bytestring::ByteString;
use parking_lot::RwLock;
use sociable_adapter::Room;
use sociable_protocol::Id;
use sociable_protocol::maps::Map;

use crate::handler::{ConnectContext, DisconnectContext, Erased, EventContext, ServerEventContext};
use crate::socket::{Socket, SocketError};

/// A room of a node came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomEvent {
    /// The room has its first member on this node.
    Create(Room),
    /// A socket has joined the room.
    Join(Room, Id),
    /// A socket has left the room.
    Leave(Room, Id),
    /// The last member on this node has left the room.
    Delete(Room),
}

pub(crate) type Listener = Arc<dyn Fn(&EventContext) + Send + Sync>;
pub(crate) type ErrorListener = Arc<dyn Fn(&Socket, &SocketError) + Send + Sync>;
pub(crate) type RoomListener = Arc<dyn Fn(&RoomEvent) + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Handlers {
    pub(crate) events: Map<ByteString, Vec<Erased<EventContext>>>,
    /// Called with every event of a client, before all else.
    pub(crate) any: Vec<Listener>,
    /// Called with every event that is sent to a client.
    pub(crate) any_outgoing: Vec<Listener>,
    /// Asked about each event.
    pub(crate) event_middleware: Vec<Erased<EventContext>>,
    pub(crate) disconnecting: Vec<Erased<DisconnectContext>>,
    pub(crate) disconnect: Vec<Erased<DisconnectContext>>,
    pub(crate) errors: Vec<ErrorListener>,
    // What follows is the namespace's alone.
    /// Asked about each socket that wants in.
    pub(crate) middleware: Vec<Erased<ConnectContext>>,
    pub(crate) connect: Vec<Erased<ConnectContext>>,
    pub(crate) server_events: Map<ByteString, Vec<Erased<ServerEventContext>>>,
    pub(crate) rooms: Vec<RoomListener>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("events", &self.events.keys()).finish_non_exhaustive()
    }
}

impl Handlers {
    pub(crate) fn on(&mut self, event: &str, handler: Erased<EventContext>) {
        self.events.entry(event.into()).or_default().push(handler);
    }
}

/// A setup that may be added to at any time. Sockets take a snapshot when they connect, so that no lock is in the way of an event.
#[derive(Debug, Default)]
pub(crate) struct HandlerRegistry(RwLock<Arc<Handlers>>);

impl HandlerRegistry {
    pub(crate) fn of(setup: Arc<Handlers>) -> Self {
        Self(RwLock::new(setup))
    }

    pub(crate) fn snapshot(&self) -> Arc<Handlers> {
        Arc::clone(&self.0.read())
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Handlers)) {
        change(Arc::make_mut(&mut self.0.write()));
    }
}

/// The methods by which listeners are added to a namespace, a pattern of namespaces, or a server.
///
/// Sockets that are connected already keep what was there when they connected.
macro_rules! listeners {
    () => {
        /// Handles an event of clients. Several handlers of one event are called in the order in which they were added; each begins
        /// when the one before has ended or first waits.
        ///
        /// Handlers of one socket begin in the order of its events.
        pub fn on<Taken>(&self, event: &str, handler: impl $crate::handler::Handler<$crate::handler::EventContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.on(event, handler));
            self
        }

        /// Handles each new socket, after its client was told that it is connected.
        ///
        /// Handlers that it adds to the socket before it first waits get every event of the client.
        pub fn on_connect<Taken>(&self, handler: impl $crate::handler::Handler<$crate::handler::ConnectContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.connect.push(handler));
            self
        }

        /// Handles each socket that is about to leave: it is still in its rooms until the handler first waits.
        pub fn on_disconnecting<Taken>(&self, handler: impl $crate::handler::Handler<$crate::handler::DisconnectContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.disconnecting.push(handler));
            self
        }

        /// Handles each socket that has left.
        pub fn on_disconnect<Taken>(&self, handler: impl $crate::handler::Handler<$crate::handler::DisconnectContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.disconnect.push(handler));
            self
        }

        /// Asks `middleware` about each socket that wants in, before it is connected. The first that gives an error refuses it, and the
        /// client gets the error's message and data. (The JavaScript server calls this `use`.)
        pub fn middleware<Taken>(&self, middleware: impl $crate::handler::Handler<$crate::handler::ConnectContext, Taken>) -> &Self {
            let middleware = $crate::handler::erase(middleware);
            self.setup().change(|setup| setup.middleware.push(middleware));
            self
        }

        /// Asks `middleware` about each event of each socket, before its handlers. The first that gives an error drops the event: the
        /// client is not told; listeners for errors are. While it waits, the socket's later events wait too.
        pub fn event_middleware<Taken>(&self, middleware: impl $crate::handler::Handler<$crate::handler::EventContext, Taken>) -> &Self {
            let middleware = $crate::handler::erase(middleware);
            self.setup().change(|setup| setup.event_middleware.push(middleware));
            self
        }

        /// Is called with every event of every client, before middleware and handlers.
        pub fn on_any(&self, listener: impl Fn(&$crate::handler::EventContext) + Send + Sync + 'static) -> &Self {
            self.setup().change(|setup| setup.any.push(std::sync::Arc::new(listener)));
            self
        }

        /// Is called with every event that is sent to a client of this node, those of broadcasts too; not with acknowledgements.
        pub fn on_any_outgoing(&self, listener: impl Fn(&$crate::handler::EventContext) + Send + Sync + 'static) -> &Self {
            self.setup().change(|setup| setup.any_outgoing.push(std::sync::Arc::new(listener)));
            self
        }

        /// Is told what went wrong with a socket: a packet that can't be read, an event that was refused, arguments that do not fit.
        pub fn on_error(&self, listener: impl Fn(&$crate::Socket, &$crate::SocketError) + Send + Sync + 'static) -> &Self {
            self.setup().change(|setup| setup.errors.push(std::sync::Arc::new(listener)));
            self
        }

        /// Handles an event that another server of the cluster emits with
        /// [`server_side_emit`](crate::Namespace::server_side_emit).
        pub fn on_server_event<Taken>(
            &self,
            event: &str,
            handler: impl $crate::handler::Handler<$crate::handler::ServerEventContext, Taken>,
        ) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.server_events.entry(event.into()).or_default().push(handler));
            self
        }

        /// Is told of rooms of this node: created, joined, left, deleted.
        pub fn on_room_event(&self, listener: impl Fn(&$crate::RoomEvent) + Send + Sync + 'static) -> &Self {
            self.setup().change(|setup| setup.rooms.push(std::sync::Arc::new(listener)));
            self
        }
    };
}
pub(crate) use listeners;
