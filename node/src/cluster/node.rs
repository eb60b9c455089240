//! This node, as the others reach it through the adapter.

use std::rc::Rc;
use std::sync::{Arc, Weak};

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt, empty, unfold};
use sociable_adapter::{Answer, Ask, Entry, Message, Node, Operation, Position, Request};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Frames, Id, TraceContext};
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use crate::ack::Ack;
use crate::broadcast::Flags;
use crate::cluster::frames::for_sockets;
use crate::namespace::Namespace;
use crate::recovery::registry::Recoveries;
use crate::server_state::ServerState;
use crate::thread::{ThreadState, on_thread};
use crate::trace;

/// This node, as its adapter sees it.
pub(crate) struct ClusterNode(pub(crate) Weak<ServerState>);

impl ClusterNode {
    fn namespace(&self, name: &ByteString) -> Option<Namespace> {
        self.0.upgrade()?.namespaces.read().get(name).cloned()
    }

    fn recoveries(&self) -> Option<Arc<Recoveries>> {
        self.0.upgrade()?.recoveries.clone()
    }
}

impl Node for ClusterNode {
    fn deliver(&self, message: Message) {
        trace::delivered(&message);
        let Some(namespace) = self.namespace(&message.namespace) else { return };
        let parent = message.trace;
        if let Operation::ServerEvent { name, args } = message.operation {
            return namespace.handle_server_event(name, args, None, parent);
        }
        let _span = namespace.delivering(parent.as_deref()).entered();
        match message.operation {
            // The event may be for disconnected clients.
            Operation::Emit { frames, volatile: false, compress } if let Some(recoveries) = namespace.own_history() => {
                drop(namespace.persist_remote(recoveries, message.target, &frames, compress));
            }
            operation
                if operation.is_order()
                    && let Some(recoveries) = namespace.own_history() =>
            {
                if namespace.order(recoveries, message.target, operation).is_err() {
                    // A disconnected client that returned would silently lack this message.
                    recoveries.history.mark_incomplete();
                }
            }
            // No thread is woken for rooms that this node does not have.
            _ if !namespace.may_have(&message.target) => {}
            // An overloaded thread counts the messages that it refuses.
            operation => drop(namespace.broadcast_local(message.target, operation)),
        }
    }

    fn answer(&self, request: Request) -> BoxStream<'static, Answer> {
        let Some(namespace) = self.namespace(&request.namespace) else { return empty().boxed() };
        let (answers, answered) = mpsc::unbounded_channel();
        let parent = request.trace;
        match request.ask {
            Ask::Ack { target, name, args, compress } => {
                let _span = namespace.delivering(parent.as_deref()).entered();
                let flags = Flags { local: true, compress, ..Flags::default() };
                namespace.relay_acks(target, flags, &name, args)
            }
            Ask::Sockets { target } => {
                let reports = namespace.report_sockets(target, answers);
                unfold(answered, |mut answered| async { Some((answered.recv().await?, answered)) }).take(reports).boxed()
            }
            Ask::ServerEvent { name, args } => {
                let (sender, receiver) = oneshot::channel();
                let ack = Ack::to_server(sender, namespace.encoding());
                namespace.handle_server_event(name, args, Some(ack), parent);
                receiver.into_stream().filter_map(|args| ready(args.ok().map(Answer::ServerAck))).boxed()
            }
        }
    }

    fn deliver_persisted(&self, entry: &Arc<Entry>, trace: Option<&TraceContext>) {
        let Some(server) = self.0.upgrade() else { return };
        let joins = matches!(entry.order, Some(Operation::Join(_)));
        let namespace = (joins || trace.is_some()).then(|| self.namespace(&entry.namespace)).flatten();
        let _span = namespace.as_ref().map_or_else(Span::none, |namespace| namespace.delivering(trace)).entered();
        let joining = namespace.filter(|_| joins).map(|namespace| namespace.join_under_way());
        let frames = for_sockets(server.engine(), &entry.target, entry.compress, &entry.frames);
        for worker in server.engine().workers().iter() {
            let (bytes, entry, frames, joining) = (frames.len(), Arc::clone(entry), frames.clone(), joining.clone());
            let deliver = move |thread: &Rc<ThreadState>| {
                thread.deliver(&entry, &frames);
                drop(joining);
            };
            worker.force(bytes, on_thread(deliver));
        }
    }

    fn keeps_up(&self) -> bool {
        self.0.upgrade().is_none_or(|server| !server.engine().workers().iter().any(|worker| worker.is_full()))
    }

    fn write_offset(&self, namespace: &ByteString, frames: &Frames, offset: &str) -> Frames {
        // Any namespace will do, because all have the same parser. The one of this name may not exist here.
        let any = self.namespace(&MAIN_NAMESPACE.into());
        any.map_or_else(|| frames.clone(), |any| any.with_offset_of(namespace, frames, offset))
    }

    fn advance_to(&self, position: Position) {
        let Some(server) = self.0.upgrade() else { return };
        for worker in server.engine().workers().iter() {
            worker.force(0, on_thread(move |thread| thread.reached(position)));
        }
    }

    fn give_up_session(&self, pid: &Id) -> BoxFuture<'static, ()> {
        let (recoveries, pid) = (self.recoveries(), *pid);
        async move {
            if let Some(recoveries) = recoveries {
                recoveries.give_up(&pid).await;
            }
        }
        .boxed()
    }

    fn fence(&self, pid: &Id) {
        if let Some(recoveries) = self.recoveries() {
            recoveries.fence(pid);
        }
    }

    fn note_loss(&self) {
        if let Some(recoveries) = self.recoveries() {
            recoveries.note_loss();
        }
    }

    fn session_count(&self) -> usize {
        self.0.upgrade().map_or(0, |server| server.engine().session_count())
    }

    fn is_full(&self) -> bool {
        self.0.upgrade().is_some_and(|server| !server.engine().has_room())
    }

    fn is_draining(&self) -> bool {
        self.0.upgrade().is_none_or(|server| server.engine().is_draining())
    }
}
