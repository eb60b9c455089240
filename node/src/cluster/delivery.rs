//! The delivery of operations to every thread of this node, and to the other nodes.

use std::rc::Rc;
use std::sync::Arc;

use sociable_adapter::{Message, Operation, Room, Target};
use sociable_protocol::TraceContext;
use tracing::Span;

use crate::cluster::frames::for_sockets;
use crate::emit::EmitError;
use crate::namespace::Namespace;
use crate::parent_namespace::ParentNamespace;
use crate::recovery::registry::Recoveries;
use crate::spans::{self, NamespaceSpans};
use crate::thread::socket::carry_out;
use crate::thread::{ThreadState, on_thread};
use crate::trace;

impl Namespace {
    /// Performs an operation on sockets of all nodes. `trace` is the span that sends it.
    pub(crate) fn broadcast(
        &self,
        target: Target,
        operation: Operation,
        local: bool,
        trace: Option<Box<TraceContext>>,
    ) -> Result<(), EmitError> {
        // Operations that concern disconnected clients too have a position in the history. A shared history also carries them to the other nodes.
        let is_kept = |recoveries: &&Arc<Recoveries>| operation.is_order() && !(local && recoveries.history.is_shared());
        let kept = self.recoveries().filter(is_kept).cloned();
        let shared = kept.as_ref().is_some_and(|recoveries| recoveries.history.is_shared());
        if shared {
            trace::published(self.name(), &target, &operation);
        }
        let published = if local || shared { Ok(()) } else { self.publish(trace, || (target.clone(), operation.clone())) };
        let done = match kept {
            Some(recoveries) => self.order(&recoveries, target, operation),
            None => self.broadcast_local(target, operation),
        };
        done.and(published)
    }

    /// Publishes an operation to the other nodes, if there can be any. All messages to them go through here.
    pub(crate) fn publish(&self, trace: Option<Box<TraceContext>>, message: impl FnOnce() -> (Target, Operation)) -> Result<(), EmitError> {
        let Some(server) = self.server_state().filter(|server| !server.alone) else { return Ok(()) };
        let (target, operation) = message();
        trace::published(self.name(), &target, &operation);
        let message = Message { namespace: self.name().clone(), target, operation, trace };
        Ok(server.cluster().publish(message)?)
    }

    /// Returns the spans of this namespace.
    pub(crate) fn spans(&self) -> NamespaceSpans<'_> {
        let template = self.parent().and_then(ParentNamespace::pattern);
        let propagator = self.server_state().and_then(|server| server.propagator.clone());
        NamespaceSpans { name: self.name(), is_dynamic: self.parent().is_some(), template, propagator }
    }

    /// Opens the span of an event that is sent to the other nodes, if there can be any. Returns the context that travels with it. With
    /// `starts_spans` the receivers open spans for each such event.
    #[inline]
    pub(crate) fn sending(&self, event: &str, starts_spans: bool) -> (Span, Option<Box<TraceContext>>) {
        if spans::are_on() && self.server_state().is_some_and(|server| !server.alone) {
            self.spans().sending(event, starts_spans)
        } else {
            (Span::none(), None)
        }
    }

    /// Opens the span of an event of another node that goes to the sockets of this one. Only a traced event has a span.
    #[inline]
    pub(crate) fn delivering(&self, parent: Option<&TraceContext>) -> Span {
        match parent {
            Some(parent) if spans::are_on() => self.spans().delivering(parent),
            _ => Span::none(),
        }
    }

    /// Makes sockets of this node join, leave or disconnect, and disconnected clients when they return.
    pub(crate) fn order(&self, recoveries: &Recoveries, target: Target, operation: Operation) -> Result<(), EmitError> {
        let joining = matches!(operation, Operation::Join(_)).then(|| self.join_under_way());
        let order = Message { namespace: self.name().clone(), target: target.clone(), operation: operation.clone(), trace: None };
        let kept = self.set_out(&target, joining, |deliver| recoveries.history.append_order(order, deliver));
        match kept {
            // Connected sockets obey even so.
            Err(error @ EmitError::Adapter(_)) => self.broadcast_local(target, operation).and(Err(error)),
            kept => kept,
        }
    }

    /// Performs an operation on the sockets of this node.
    pub(crate) fn broadcast_local(&self, target: Target, mut operation: Operation) -> Result<(), EmitError> {
        if let Operation::Emit { frames, compress, .. } = &mut operation {
            *frames = for_sockets(self.engine(), &target, *compress, frames);
        }
        let engine = self.engine();
        let here = ThreadState::current(engine);
        let workers = engine.workers();
        let only = self.only_worker(&target);
        let meant = |index: usize| only.is_none_or(|only| only == index);
        let mut result = Ok(());
        if workers.len() > usize::from(here.is_some()) {
            let bytes = cost(&target, &operation);
            let joining = matches!(operation, Operation::Join(_)).then(|| self.join_under_way());
            let job = Arc::new((self.clone(), target.clone(), operation.clone(), joining));
            for (index, worker) in workers.iter().enumerate() {
                if !meant(index) || here.as_ref().is_some_and(|here| here.worker.index() == index) {
                    continue;
                }
                let job = Arc::clone(&job);
                let sent = worker.call(bytes, on_thread(move |thread| apply_operation(thread, &job.0, &job.1, &job.2)));
                if sent.is_err() && worker.is_alive() {
                    result = Err(EmitError::Busy);
                }
            }
        }
        if let Some(thread) = here.filter(|thread| meant(thread.worker.index())) {
            apply_operation(&thread, self, &target, &operation);
        }
        result
    }

    /// Calls `act` on each worker thread of this node, or on one. Returns the number of threads that will run it.
    pub(crate) fn on_workers(&self, only: Option<usize>, bytes: usize, act: impl Fn(&Rc<ThreadState>) + Send + Sync + 'static) -> usize {
        let engine = self.engine();
        let here = ThreadState::current(engine);
        let act = Arc::new(act);
        let mut reached = 0;
        for (index, worker) in engine.workers().iter().enumerate() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            if let Some(thread) = here.as_ref().filter(|thread| thread.worker.index() == index) {
                act(thread);
                reached += 1;
                continue;
            }
            let act = Arc::clone(&act);
            reached += usize::from(worker.call(bytes, on_thread(move |thread| act(thread))).is_ok());
        }
        reached
    }
}

/// Returns the approximate memory of an operation in a thread's inbox, in bytes.
fn cost(target: &Target, operation: &Operation) -> usize {
    let names = |rooms: &[Room]| rooms.iter().map(|room| size_of::<Room>() + room.len()).sum::<usize>();
    let content = match operation {
        Operation::Emit { frames, .. } => frames.len(),
        Operation::Join(rooms) | Operation::Leave(rooms) => names(rooms),
        Operation::Disconnect { .. } | Operation::ServerEvent { .. } => 0,
    };
    256 + names(&target.rooms) + names(&target.except) + content
}

/// Performs an operation on this thread.
fn apply_operation(local: &Rc<ThreadState>, namespace: &Namespace, target: &Target, operation: &Operation) {
    let Some(part) = local.known(namespace.name()) else { return };
    match operation {
        Operation::Emit { frames, volatile, compress } => part.fan_out(target, frames, *volatile, *compress, local.cursor()),
        _ => carry_out(&part.find(target), operation),
    }
}
