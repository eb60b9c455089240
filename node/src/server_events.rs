//! What comes from other nodes, and events between servers.

use std::sync::{Arc, Weak};

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt, empty, unfold};
use sociable_adapter::{Adapter, Answer, Ask, Entry, Message, Node, Operation, Position, Request};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Args, Frames, Id};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::ack::Ack;
use crate::emit::EmitError;
use crate::engine::Above;
use crate::handler::ServerEventContext;
use crate::local::{Local, cost};
use crate::namespace::Namespace;
use crate::operator::Flags;
use crate::recovery::Recoveries;
use crate::server::ServerInner;
use crate::trace;

/// Not all servers acknowledged an event.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{}", .error.as_ref().map_or_else(|| format!("timeout reached: missing {} responses", .missing.len()), ToString::to_string))]
pub struct ServerAckError {
    /// The answers that came.
    pub responses: Vec<Args>,
    /// The names of the nodes that did not answer, or were lost before they did.
    pub missing: Vec<String>,
    /// Why the event was not sent, if that was it.
    pub error: Option<EmitError>,
}

impl Namespace {
    pub(crate) fn ask_servers(
        &self,
        event: Result<(ByteString, Args), EmitError>,
    ) -> BoxFuture<'static, Result<Vec<Args>, ServerAckError>> {
        let (name, args) = match event {
            Ok(event) => event,
            Err(error) => return ready(Err(ServerAckError { responses: vec![], missing: vec![], error: Some(error) })).boxed(),
        };
        let Some(server) = self.server_inner() else { return ready(Ok(vec![])).boxed() };
        let mut answers = server.cluster().request(Request { namespace: self.name().clone(), ask: Ask::ServerEvent { name, args } });
        let timeout = server.request_timeout;
        async move {
            let (mut responses, mut asked) = (vec![], AskedNodes::default());
            let collect = async {
                while let Some(answer) = answers.next().await {
                    match answer {
                        Answer::ServerAck(args) => responses.push(args),
                        other => asked.note(&other),
                    }
                }
            };
            let in_time = tokio::time::timeout(timeout, collect).await.is_ok();
            match asked.missing(in_time) {
                (missing, None) if missing.is_empty() && in_time => Ok(responses),
                (missing, error) => Err(ServerAckError { responses, missing, error }),
            }
        }
        .boxed()
    }

    /// Calls the handlers of an event of another server, on a worker thread of this one.
    fn handle_server_event(&self, name: ByteString, args: Args, ack: Option<Ack>) {
        let context = ServerEventContext { namespace: self.clone(), name, args, ack };
        let Some(handlers) = self.setup_snapshot().server_events.get(&context.name).cloned() else { return };
        let bytes = cost(&context.name, &context.args);
        // Any thread will do; always the same keeps the order. One that is too far behind counts what it refuses.
        let _ = self.engine().run_on(0, bytes, move |_| {
            for handler in handlers {
                let (context, name) = (context.clone(), context.name.clone());
                actix_rt::spawn(async move {
                    if let Err(error) = handler(&context).await {
                        tracing::debug!(target: "sociable::handler", event = %trace::plain(&name), ?error, "server event not handled");
                    }
                });
            }
        });
    }
}

/// Which nodes were asked, and have not answered.
#[derive(Debug, Default)]
pub(crate) struct AskedNodes {
    open: Vec<ByteString>,
    lost: Vec<ByteString>,
    failed: Option<EmitError>,
}

impl AskedNodes {
    /// Takes note of what the adapter says of the nodes.
    pub(crate) fn note(&mut self, answer: &Answer) {
        match answer {
            Answer::Asked(nodes) => self.open.clone_from(nodes),
            Answer::Done(node) => self.close(node),
            Answer::Lost(node) => {
                self.close(node);
                self.lost.push(node.clone());
            }
            Answer::Failed(error) => self.failed = Some(error.clone().into()),
            _ => {}
        }
    }

    /// One of those of this name is not open any more.
    fn close(&mut self, node: &ByteString) {
        if let Some(at) = self.open.iter().position(|open| open == node) {
            self.open.swap_remove(at);
        }
    }

    /// Who did not answer: who was lost, and, if there was no more time, who was not done. And why nobody was asked, if that was it.
    pub(crate) fn missing(self, in_time: bool) -> (Vec<String>, Option<EmitError>) {
        let open = self.open.into_iter().filter(|_| !in_time);
        (open.chain(self.lost).map(|node| node.to_string()).collect(), self.failed)
    }
}

/// This node as its adapter sees it.
pub(crate) struct Inbound(pub(crate) Weak<ServerInner>);

impl Inbound {
    fn namespace(&self, name: &ByteString) -> Option<Namespace> {
        self.0.upgrade()?.namespaces.read().get(name).cloned()
    }

    fn recoveries(&self) -> Option<Arc<Recoveries>> {
        self.0.upgrade()?.recoveries.clone()
    }
}

impl Node for Inbound {
    fn deliver(&self, message: Message) {
        trace::delivered(&message);
        let Some(namespace) = self.namespace(&message.namespace) else { return };
        match message.operation {
            Operation::ServerEvent { name, args } => namespace.handle_server_event(name, args, None),
            // It may be for clients that are away.
            Operation::Emit { frames, volatile: false, compress }
                if namespace.recoveries().is_some_and(|recoveries| !recoveries.history.is_shared()) =>
            {
                drop(namespace.keep_from_elsewhere(message.target, &frames, compress));
            }
            operation if operation.is_order() && namespace.recoveries().is_some_and(|recoveries| !recoveries.history.is_shared()) => {
                if let Some(recoveries) = namespace.recoveries()
                    && namespace.order(recoveries, message.target, operation).is_err()
                {
                    // Who is away would come back as if nothing had been said.
                    recoveries.history.mark_incomplete();
                }
            }
            // No thread is woken for rooms that are not here.
            _ if !namespace.may_have(&message.target) => {}
            // A thread that is too far behind counts what it refuses.
            operation => drop(namespace.perform_here(message.target, operation)),
        }
    }

    fn answer(&self, request: Request) -> BoxStream<'static, Answer> {
        let Some(namespace) = self.namespace(&request.namespace) else { return empty().boxed() };
        let (answers, answered) = mpsc::unbounded_channel();
        match request.ask {
            Ask::Ack { target, name, args, compress } => {
                let flags = Flags { local: true, compress, ..Flags::default() };
                namespace.relay_acks(target, flags, &name, args)
            }
            Ask::Sockets { target } => {
                let reports = namespace.tell_sockets(target, answers);
                unfold(answered, |mut answered| async { Some((answered.recv().await?, answered)) }).take(reports).boxed()
            }
            Ask::ServerEvent { name, args } => {
                let (tell, told) = oneshot::channel();
                let ack = Ack::to_server(tell, namespace.encoding());
                namespace.handle_server_event(name, args, Some(ack));
                told.into_stream().filter_map(|args| ready(args.ok().map(Answer::ServerAck))).boxed()
            }
        }
    }

    fn deliver_persisted(&self, entry: &Arc<Entry>) {
        let Some(server) = self.0.upgrade() else { return };
        let joins = matches!(entry.order, Some(Operation::Join(_)));
        let joining = self.namespace(&entry.namespace).filter(|_| joins).map(|namespace| namespace.join_under_way());
        for worker in server.shared().workers() {
            let (entry, joining) = (Arc::clone(entry), joining.clone());
            worker.run_anyhow(entry.frames.len(), move |worker| {
                Local::of(worker).deliver(&entry);
                drop(joining);
            });
        }
    }

    fn keeps_up(&self) -> bool {
        self.0.upgrade().is_none_or(|server| !server.shared().workers().iter().any(|worker| worker.is_full()))
    }

    fn write_offset(&self, namespace: &ByteString, frames: &Frames, offset: &str) -> Frames {
        // Any will do, since all have the same parser: the one that is meant may not be here.
        let any = self.namespace(&MAIN_NAMESPACE.into());
        any.map_or_else(|| frames.clone(), |any| any.with_offset_of(namespace, frames, offset))
    }

    fn advance_to(&self, position: Position) {
        let Some(server) = self.0.upgrade() else { return };
        for worker in server.shared().workers() {
            worker.run_anyhow(0, move |worker| Local::of(worker).reached(position));
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
            recoveries.fall_behind();
        }
    }

    fn session_count(&self) -> usize {
        self.0.upgrade().map_or(0, |server| server.shared().session_count())
    }

    fn is_full(&self) -> bool {
        self.0.upgrade().is_some_and(|server| !server.shared().has_room())
    }

    fn is_draining(&self) -> bool {
        self.0.upgrade().is_none_or(|server| server.shared().is_draining())
    }
}

/// The server above its engine, when the node is going.
pub(crate) struct Departing {
    server: Weak<ServerInner>,
    /// It takes its leave though the server be dropped meanwhile.
    adapter: Arc<dyn Adapter>,
}

impl Departing {
    pub(crate) fn watch(server: &Arc<ServerInner>) {
        let this = Self { server: Arc::downgrade(server), adapter: Arc::clone(&server.adapter) };
        server.shared().stand_below(this);
    }
}

impl Above for Departing {
    fn announce(&self) {
        self.adapter.announce();
    }

    fn saved(&self) -> BoxFuture<'static, ()> {
        let server = self.server.upgrade();
        async move {
            if let Some(server) = server
                && let Err(error) = server.flushed().await
            {
                tracing::warn!(target: "sociable::recovery", %error, "not all that clients would miss is kept");
            }
        }
        .boxed()
    }

    /// What sockets told the others when they ended goes out before.
    fn leave(&self) -> BoxFuture<'static, ()> {
        self.adapter.close()
    }
}
