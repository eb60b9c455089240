//! The state of a socket: an actor that its namespace supervises.

use std::collections::VecDeque;

use sociable_engine::actor::{Actor, ActorKind, Handle};
use sociable_engine::layer::Waiting;
use sociable_engine::{SendError, Session};

use crate::ack::{AckTable, Owed, Waiter};
use crate::handler::registry::Handlers;
use crate::handler::{Erased, EventContext};
use crate::thread::fan_out::{Delivery, Served};

/// All that is a socket's alone.
#[derive(Debug, Default)]
pub(crate) struct SocketActor {
    /// The handlers that were added to this socket.
    own: Option<Box<Handlers>>,
    acks: AckTable,
    /// Events that wait: for the middleware of the one before, or for other handlers to end.
    waiting: VecDeque<(Waiting, EventContext)>,
    /// A middleware is being asked about an event.
    held: bool,
    /// The last walk of its namespace that met it.
    visited: u64,
    /// Its namespace has listeners for what is sent.
    namespace_listens: bool,
    /// The listeners are being told of something that is sent.
    notifying: bool,
    #[cfg(test)]
    broken: bool,
}

impl Actor for SocketActor {
    const KIND: ActorKind = ActorKind::new("socket");
}

impl SocketActor {
    pub(super) fn new(namespace_listens: bool) -> Self {
        Self { namespace_listens, ..Self::default() }
    }

    pub(super) fn own(&self) -> Option<&Handlers> {
        self.own.as_deref()
    }

    /// Returns true if someone listens to what is sent to it.
    #[inline]
    pub(super) fn listens_outgoing(&self) -> bool {
        self.namespace_listens || self.own.as_ref().is_some_and(|own| !own.any_outgoing.is_empty())
    }

    /// Takes out what waits for acknowledgements.
    pub(super) fn drain_acks(&mut self) -> Vec<Waiter> {
        self.acks.drain().collect()
    }

    fn plan(&self, name: &str) -> Plan {
        match &self.own {
            None => Plan::default(),
            Some(own) => Plan { own: own.events.get(name).cloned().unwrap_or_default(), middleware: own.event_middleware.clone() },
        }
    }
}

/// The handlers and the middleware of this socket for an event.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) own: Vec<Erased<EventContext>>,
    pub(super) middleware: Vec<Erased<EventContext>>,
}

/// An event of the client. The effect is what handles it now; without one it waits, and is taken.
///
/// Behind an event whose middleware waits, and while too many handlers run, events wait: handlers begin in order.
pub(super) struct Event<'a> {
    pub(super) session: &'a Session,
    pub(super) context: &'a mut Option<EventContext>,
}

impl Handle<Event<'_>> for SocketActor {
    type Effect = Option<Plan>;

    #[inline]
    fn handle(&mut self, Event { session, context }: Event<'_>) -> Option<Plan> {
        if self.held || !self.waiting.is_empty() || session.is_full() {
            self.waiting.extend(context.take().map(|context| (session.wait(context.cost()), context)));
            return None;
        }
        context.as_ref().map(|context| self.plan(&context.name))
    }
}

/// The next event that waits may be handled, unless a middleware holds it up.
pub(super) struct NextEvent;

impl Handle<NextEvent> for SocketActor {
    type Effect = Option<(Waiting, EventContext, Plan)>;

    fn handle(&mut self, NextEvent: NextEvent) -> Self::Effect {
        if self.held {
            return None;
        }
        let (waited, context) = self.waiting.pop_front()?;
        let plan = self.plan(&context.name);
        Some((waited, context, plan))
    }
}

/// A middleware begins to wait, or has ended.
pub(super) struct Hold(pub(super) bool);

impl Handle<Hold> for SocketActor {
    type Effect = ();

    fn handle(&mut self, Hold(held): Hold) {
        self.held = held;
    }
}

/// The handlers of this socket change. The effect is what was removed: its drop may run users' code.
pub(super) struct Configure<F>(pub(super) F);

impl<F: FnOnce(&mut Handlers) -> R, R> Handle<Configure<F>> for SocketActor {
    type Effect = R;

    fn handle(&mut self, Configure(change): Configure<F>) -> R {
        change(self.own.get_or_insert_default())
    }
}

/// An acknowledgement is waited for.
pub(super) struct AwaitAck(pub(super) u64, pub(super) Waiter);

impl Handle<AwaitAck> for SocketActor {
    type Effect = ();

    fn handle(&mut self, AwaitAck(id, waiter): AwaitAck) {
        self.acks.insert(id, waiter);
    }
}

/// An acknowledgement has come, or is waited for no longer. The effect is who waited for it.
pub(super) struct TakeAck(pub(super) u64);

impl Handle<TakeAck> for SocketActor {
    type Effect = Option<Owed>;

    fn handle(&mut self, TakeAck(id): TakeAck) -> Option<Owed> {
        self.acks.take(id)
    }
}

/// Listeners are to be told of something that is sent, or have been. The effect is false if they are being told already: what a listener itself sends is
/// not told again, since it would never end.
pub(super) struct Notify(pub(super) bool);

impl Handle<Notify> for SocketActor {
    type Effect = bool;

    fn handle(&mut self, Notify(notifying): Notify) -> bool {
        std::mem::replace(&mut self.notifying, notifying) != notifying
    }
}

/// A walk meets the socket. The effect is false if it has met it before.
pub(super) struct Visit(pub(super) u64);

impl Handle<Visit> for SocketActor {
    type Effect = bool;

    #[inline]
    fn handle(&mut self, Visit(visit): Visit) -> bool {
        std::mem::replace(&mut self.visited, visit) != visit
    }
}

/// A broadcast goes to the client, if its walk has not met the socket before.
impl Handle<Delivery<'_>> for SocketActor {
    type Effect = Served;

    #[inline]
    fn handle(&mut self, delivery: Delivery<'_>) -> Served {
        let Delivery { fan_out, socket } = delivery;
        #[cfg(test)]
        assert!(!self.broken, "crash");
        if !self.handle(Visit(fan_out.visit)) {
            return Served::default();
        }
        let Some(frames) = fan_out.frames_for(socket) else { return Served::default() };
        let sent = socket.session.offer(frames, fan_out.compress);
        if let (Some((mark, before)), Some(progress)) = (fan_out.kept, &socket.progress) {
            progress.count(mark, before, sent.is_ok());
        }
        Served { listened: self.listens_outgoing(), slow: sent == Err(SendError::SlowClient) }
    }
}

/// Breaks the socket: the next broadcast to it panics.
#[cfg(test)]
pub(crate) struct Break;

#[cfg(test)]
impl Handle<Break> for SocketActor {
    type Effect = ();

    fn handle(&mut self, Break: Break) {
        self.broken = true;
    }
}

#[cfg(test)]
pub(crate) struct Crash;

#[cfg(test)]
impl Handle<Crash> for SocketActor {
    type Effect = ();

    fn handle(&mut self, Crash: Crash) {
        panic!("crash");
    }
}
