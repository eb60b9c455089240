//! The handlers, listeners and middleware of a namespace or of one socket.

use std::sync::Arc;

use bytestring::ByteString;
use parking_lot::RwLock;
use sociable_adapter::Room;
use sociable_protocol::Id;
use sociable_protocol::maps::Map;

use crate::handler::{ConnectContext, DisconnectContext, Erased, EventContext, ServerEventContext};
use crate::socket::{Socket, SocketError};

/// A change of a room on this node.
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

/// A listener for the events sent to one client. The events are decoded only if it wants them.
#[cfg(feature = "admin")]
pub(crate) struct Tap {
    pub(crate) wants: Box<dyn Fn() -> bool + Send + Sync>,
    pub(crate) sent: Box<dyn Fn(&EventContext) + Send + Sync>,
}

#[derive(Clone, Default)]
pub(crate) struct Handlers {
    pub(crate) events: Map<ByteString, Vec<Erased<EventContext>>>,
    /// Handlers of the next event of a name. A socket removes them when they run; those of a namespace are copied to each new socket.
    pub(crate) once: Map<ByteString, Vec<Erased<EventContext>>>,
    /// Handlers of the events without a handler of their own.
    pub(crate) fallback: Vec<Erased<EventContext>>,
    /// Listeners for all events of a client, called first.
    pub(crate) any: Vec<Listener>,
    /// Listeners for all events sent to a client.
    pub(crate) any_outgoing: Vec<Listener>,
    /// Middleware for each event.
    pub(crate) event_middleware: Vec<Erased<EventContext>>,
    pub(crate) disconnecting: Vec<Erased<DisconnectContext>>,
    pub(crate) disconnect: Vec<Erased<DisconnectContext>>,
    pub(crate) errors: Vec<ErrorListener>,
    /// Handlers of the connection. Those of one socket are removed when they run.
    pub(crate) connect: Vec<Erased<ConnectContext>>,
    /// The listener of the admin UI. Sockets alone have one.
    #[cfg(feature = "admin")]
    pub(crate) tap: Option<Arc<Tap>>,
    // The rest belongs to namespaces alone.
    /// Middleware for each connecting socket.
    pub(crate) middleware: Vec<Erased<ConnectContext>>,
    pub(crate) server_events: Map<ByteString, Vec<Erased<ServerEventContext>>>,
    pub(crate) rooms: Vec<RoomListener>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("events", &self.events.keys()).finish_non_exhaustive()
    }
}

impl Handlers {
    /// Returns whether a listener wants the events sent to a client.
    pub(crate) fn listens_outgoing(&self) -> bool {
        #[cfg(feature = "admin")]
        if self.tap.is_some() {
            return true;
        }
        !self.any_outgoing.is_empty()
    }

    pub(crate) fn on(&mut self, event: &str, handler: Erased<EventContext>) {
        self.events.entry(event.into()).or_default().push(handler);
    }

    pub(crate) fn once(&mut self, event: &str, handler: Erased<EventContext>) {
        self.once.entry(event.into()).or_default().push(handler);
    }
}

/// A setup that may be changed at any time. Sockets take a snapshot when they connect, so that no event waits for a lock.
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

/// The methods that add listeners to a namespace, a pattern of namespaces, or a server.
///
/// Connected sockets keep the snapshot of their connection.
macro_rules! listeners {
    () => {
        /// Handles an event of clients.
        ///
        /// Handlers of one socket start in the order of its events. Several handlers of one event are called in the order in which they were added.
        /// Each starts when the one before has ended or first awaits.
        pub fn on<Taken>(&self, event: &str, handler: impl $crate::handler::Handler<$crate::handler::EventContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.on(event, handler));
            self
        }

        /// Handles the first event of this name of each socket, after the handlers of [`on`](Self::on).
        ///
        /// An event that middleware refuses does not count. One whose arguments do not fit does. A recovered client is a new socket here.
        ///
        /// ```
        /// use sociable::{Data, Server, Socket};
        ///
        /// let io = Server::builder().build()?;
        /// io.once("hello", async |socket: Socket, Data(name): Data<String>| {
        ///     socket.broadcast().emit("new here", &name).ok();
        /// });
        /// # Ok::<(), sociable::ConfigError>(())
        /// ```
        pub fn once<Taken>(&self, event: &str, handler: impl $crate::handler::Handler<$crate::handler::EventContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.once(event, handler));
            self
        }

        /// Handles each event of clients that has no handler of its own, neither here nor at its socket.
        ///
        /// ```
        /// use sociable::{EventName, Server};
        ///
        /// let io = Server::builder().build()?;
        /// io.on("say", async || println!("say"));
        /// io.on_fallback(async |EventName(name): EventName| println!("not say, but {name}"));
        /// # Ok::<(), sociable::ConfigError>(())
        /// ```
        pub fn on_fallback<Taken>(&self, handler: impl $crate::handler::Handler<$crate::handler::EventContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.fallback.push(handler));
            self
        }

        /// Handles each new socket, after the connection was confirmed to its client.
        ///
        /// Handlers that it adds to the socket before its first await get every event of the client.
        pub fn on_connect<Taken>(&self, handler: impl $crate::handler::Handler<$crate::handler::ConnectContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.connect.push(handler));
            self
        }

        /// Handles each socket that is about to leave. The socket is still in its rooms until the first await of the handler.
        pub fn on_disconnecting<Taken>(&self, handler: impl $crate::handler::Handler<$crate::handler::DisconnectContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.disconnecting.push(handler));
            self
        }

        /// Handles each socket after it has left.
        pub fn on_disconnect<Taken>(&self, handler: impl $crate::handler::Handler<$crate::handler::DisconnectContext, Taken>) -> &Self {
            let handler = $crate::handler::erase(handler);
            self.setup().change(|setup| setup.disconnect.push(handler));
            self
        }

        /// Runs `middleware` for each connecting socket. The JavaScript server calls this `use`.
        ///
        /// The first middleware that returns an error refuses the socket. The client gets the error's message and data.
        pub fn middleware<Taken>(&self, middleware: impl $crate::handler::Handler<$crate::handler::ConnectContext, Taken>) -> &Self {
            let middleware = $crate::handler::erase(middleware);
            self.setup().change(|setup| setup.middleware.push(middleware));
            self
        }

        /// Runs `middleware` for each event of each socket, before its handlers. The socket's later events wait meanwhile.
        ///
        /// The first middleware that returns an error drops the event. Listeners for errors get the error; the client does not.
        pub fn event_middleware<Taken>(&self, middleware: impl $crate::handler::Handler<$crate::handler::EventContext, Taken>) -> &Self {
            let middleware = $crate::handler::erase(middleware);
            self.setup().change(|setup| setup.event_middleware.push(middleware));
            self
        }

        /// Calls `listener` with every event of every client, before middleware and handlers.
        pub fn on_any(&self, listener: impl Fn(&$crate::handler::EventContext) + Send + Sync + 'static) -> &Self {
            self.setup().change(|setup| setup.any.push(std::sync::Arc::new(listener)));
            self
        }

        /// Calls `listener` with every event sent to a client of this node, broadcasts included. Acknowledgements are not events.
        pub fn on_any_outgoing(&self, listener: impl Fn(&$crate::handler::EventContext) + Send + Sync + 'static) -> &Self {
            self.setup().change(|setup| setup.any_outgoing.push(std::sync::Arc::new(listener)));
            self
        }

        /// Calls `listener` with every error of a socket: undecodable packets, refused events, arguments that do not fit.
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

        /// Calls `listener` when a room of this node is created, joined, left or deleted.
        pub fn on_room_event(&self, listener: impl Fn(&$crate::RoomEvent) + Send + Sync + 'static) -> &Self {
            self.setup().change(|setup| setup.rooms.push(std::sync::Arc::new(listener)));
            self
        }
    };
}
pub(crate) use listeners;
