//! The state of a socket: an actor that its namespace supervises.

use std::collections::VecDeque;

use sociable_engine::actor::{Actor, ActorKind, Handle};
use sociable_engine::layer::Waiting;
use sociable_engine::{SendError, Session};

use crate::ack::{AckTable, Owed, Waiter};
use crate::handler::registry::Handlers;
use crate::handler::{Erased, EventContext};
use crate::thread::fan_out::{Delivery, Served};

/// The state that is one socket's alone.
#[derive(Debug, Default)]
pub(crate) struct SocketActor {
    /// The handlers that were added to this socket.
    own: Option<Box<Handlers>>,
    acks: AckTable,
    /// Waiting events: for the middleware of an earlier one, or for running handlers.
    waiting: VecDeque<(Waiting, EventContext)>,
    /// True while a middleware awaits its decision about an event.
    held: bool,
    /// The number of the last walk that visited the socket.
    visited: u64,
    /// True if the namespace has listeners for outgoing events.
    namespace_listens: bool,
    /// True while listeners are being notified of an outgoing event.
    notifying: bool,
    #[cfg(test)]
    broken: bool,
}

impl Actor for SocketActor {
    const KIND: ActorKind = ActorKind::new("socket");
}

impl SocketActor {
    /// Returns the state of a new socket, with copies of its namespace's handlers of first events.
    pub(super) fn new(setup: &Handlers) -> Self {
        let own = (!setup.once.is_empty()).then(|| Box::new(Handlers { once: setup.once.clone(), ..Handlers::default() }));
        Self { own, namespace_listens: !setup.any_outgoing.is_empty(), ..Self::default() }
    }

    pub(super) fn own(&self) -> Option<&Handlers> {
        self.own.as_deref()
    }

    /// Returns whether any listener wants outgoing events.
    #[inline]
    pub(super) fn listens_outgoing(&self) -> bool {
        self.namespace_listens || self.own.as_ref().is_some_and(|own| own.listens_outgoing())
    }

    /// Removes the receivers of all awaited acknowledgements.
    pub(super) fn drain_acks(&mut self) -> Vec<Waiter> {
        self.acks.drain().collect()
    }

    fn plan(&self, name: &str) -> Plan {
        match &self.own {
            None => Plan::default(),
            Some(own) => Plan {
                own: Own { handlers: own.events.get(name).cloned().unwrap_or_default(), once: own.once.contains_key(name) },
                middleware: own.event_middleware.clone(),
            },
        }
    }
}

/// The handlers and the middleware of this socket for an event.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) own: Own,
    pub(super) middleware: Vec<Erased<EventContext>>,
}

/// The handlers of this socket for an event.
#[derive(Default)]
pub(super) struct Own {
    pub(super) handlers: Vec<Erased<EventContext>>,
    /// True if others handle the next event of this name. They are taken when the handlers run.
    pub(super) once: bool,
}

/// The message of an event from the client. The effect is the plan to handle it now; without one, the event was queued.
///
/// Events wait behind an undecided middleware, and while too many handlers run. So handlers start in order.
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

/// The message that takes the next waiting event, unless a middleware is undecided.
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

/// The message that a middleware has started to wait, or has ended.
pub(super) struct Hold(pub(super) bool);

impl Handle<Hold> for SocketActor {
    type Effect = ();

    fn handle(&mut self, Hold(held): Hold) {
        self.held = held;
    }
}

/// The message that changes the handlers of this socket. The effect is what was removed: its drop may run users' code.
pub(super) struct Configure<F>(pub(super) F);

impl<F: FnOnce(&mut Handlers) -> R, R> Handle<Configure<F>> for SocketActor {
    type Effect = R;

    fn handle(&mut self, Configure(change): Configure<F>) -> R {
        change(self.own.get_or_insert_default())
    }
}

/// The message that takes the handlers of the next event of a name.
pub(super) struct TakeOnce<'a>(pub(super) &'a str);

impl Handle<TakeOnce<'_>> for SocketActor {
    type Effect = Vec<Erased<EventContext>>;

    fn handle(&mut self, TakeOnce(name): TakeOnce<'_>) -> Self::Effect {
        self.own.as_mut().and_then(|own| own.once.remove(name)).unwrap_or_default()
    }
}

/// The message that registers the receiver of an acknowledgement.
pub(super) struct AwaitAck(pub(super) u64, pub(super) Waiter);

impl Handle<AwaitAck> for SocketActor {
    type Effect = ();

    fn handle(&mut self, AwaitAck(id, waiter): AwaitAck) {
        self.acks.insert(id, waiter);
    }
}

/// The message that an acknowledgement arrived or is no longer awaited. The effect is its receiver.
pub(super) struct TakeAck(pub(super) u64);

impl Handle<TakeAck> for SocketActor {
    type Effect = Option<Owed>;

    fn handle(&mut self, TakeAck(id): TakeAck) -> Option<Owed> {
        self.acks.take(id)
    }
}

/// The message that notifications of outgoing events start or end.
///
/// The effect is false if they are running already. Events that a listener sends are not notified, to avoid an endless loop.
pub(super) struct Notify(pub(super) bool);

impl Handle<Notify> for SocketActor {
    type Effect = bool;

    fn handle(&mut self, Notify(notifying): Notify) -> bool {
        std::mem::replace(&mut self.notifying, notifying) != notifying
    }
}

/// The message that a walk visits the socket. The effect is false if it did so before.
pub(super) struct Visit(pub(super) u64);

impl Handle<Visit> for SocketActor {
    type Effect = bool;

    #[inline]
    fn handle(&mut self, Visit(visit): Visit) -> bool {
        std::mem::replace(&mut self.visited, visit) != visit
    }
}

/// Delivers a broadcast to the client, unless its walk has visited the socket before.
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

/// The message that breaks the socket: its next broadcast panics.
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
