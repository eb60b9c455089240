//! The listeners by which a node observes the sockets of its sample. They are there only while someone looks.

use std::rc::Rc;
use std::sync::{Arc, Weak};

use bytestring::ByteString;
use futures_util::FutureExt;
use futures_util::future::ready;

use super::records::Records;
use crate::handler::registry::{Handlers, Listener, RoomEvent, RoomListener, Tap};
use crate::handler::{ConnectContext, DisconnectContext, Erased, EventContext};
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::socket::Socket;
use crate::thread::socket::LocalSocket;

/// The receiver of what the listeners observe.
pub(super) trait Observer: Send + Sync {
    /// Notes a socket that has connected.
    fn connected(&self, socket: &Rc<LocalSocket>);

    /// Notes that a socket with listeners has left.
    fn left(&self, socket: &Socket, reason: DisconnectReason);

    /// Notes that a socket has joined or left a room.
    fn room_changed(&self, namespace: &ByteString, event: &RoomEvent);

    /// Returns the reports, for the events of sockets.
    fn records(&self) -> &Records;
}

/// The listeners that all sockets and namespaces share. They are removed by their identity.
pub(super) struct Hooks {
    observer: Weak<dyn Observer>,
    connect: Erased<ConnectContext>,
    disconnect: Erased<DisconnectContext>,
    received: Listener,
    sent: Arc<Tap>,
}

impl Hooks {
    pub(super) fn new(observer: Weak<dyn Observer>) -> Self {
        let (connect, disconnect, wanted) = (Weak::clone(&observer), Weak::clone(&observer), Weak::clone(&observer));
        let event = |kind: &'static str| {
            let observer = Weak::clone(&observer);
            move |context: &EventContext| {
                if let Some(observer) = observer.upgrade() {
                    observer.records().add_event(kind, context);
                }
            }
        };
        Self {
            connect: Arc::new(move |context| {
                if let Some((observer, socket)) = connect.upgrade().zip(context.socket.here()) {
                    observer.connected(&socket);
                }
                ready(Ok(())).boxed_local()
            }),
            disconnect: Arc::new(move |context| {
                if let Some(observer) = disconnect.upgrade() {
                    observer.left(&context.socket, context.reason);
                }
                ready(Ok(())).boxed_local()
            }),
            received: Arc::new(event("event_received")),
            sent: Arc::new(Tap {
                wants: Box::new(move || wanted.upgrade().is_some_and(|observer| observer.records().wants_event())),
                sent: Box::new(event("event_sent")),
            }),
            observer,
        }
    }

    /// Returns whether a namespace has the listeners.
    pub(super) fn are_in(&self, namespace: &Namespace) -> bool {
        namespace.setup().snapshot().connect.iter().any(|handler| Arc::ptr_eq(handler, &self.connect))
    }

    /// Adds the listeners of a namespace. Returns the one for its rooms.
    pub(super) fn add_to(&self, namespace: &Namespace) -> RoomListener {
        let (observer, name) = (Weak::clone(&self.observer), namespace.name().clone());
        let rooms: RoomListener = Arc::new(move |event| {
            if let Some(observer) = observer.upgrade() {
                observer.room_changed(&name, event);
            }
        });
        let added = Arc::clone(&rooms);
        namespace.setup().change(|setup| {
            setup.connect.push(Arc::clone(&self.connect));
            setup.rooms.push(added);
        });
        rooms
    }

    /// Removes the listeners of a namespace.
    pub(super) fn remove_from(&self, namespace: &Namespace, rooms: &RoomListener) {
        namespace.setup().change(|setup| {
            setup.connect.retain(|handler| !Arc::ptr_eq(handler, &self.connect));
            setup.rooms.retain(|listener| !Arc::ptr_eq(listener, rooms));
        });
    }

    /// Adds the listeners of a socket: for its events too, if wanted.
    pub(super) fn add_own(&self, own: &mut Handlers, events: bool) {
        own.disconnect.push(Arc::clone(&self.disconnect));
        if events {
            own.any.push(Arc::clone(&self.received));
            own.tap = Some(Arc::clone(&self.sent));
        }
    }

    /// Removes the listeners of a socket.
    pub(super) fn remove_own(&self, own: &mut Handlers) {
        own.disconnect.retain(|handler| !Arc::ptr_eq(handler, &self.disconnect));
        own.any.retain(|listener| !Arc::ptr_eq(listener, &self.received));
        own.tap = None;
    }
}
