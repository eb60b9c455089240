//! What comes from other nodes, and events between servers.

use std::sync::{Arc, Weak};

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt, empty, unfold};
use sociable_adapter::{Answer, Ask, Message, Node, Operation, Request};
use sociable_protocol::Args;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::ack::Ack;
use crate::emit::EmitError;
use crate::handler::ServerEventContext;
use crate::namespace::Namespace;
use crate::operator::Flags;
use crate::server::ServerInner;
use crate::trace;

/// Not all servers acknowledged an event.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{}", .error.as_ref().map_or_else(|| format!("timeout reached: only {} responses received", .responses.len()), ToString::to_string))]
pub struct ServerAckError {
    /// The answers that came.
    pub responses: Vec<Args>,
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
            Err(error) => return ready(Err(ServerAckError { responses: vec![], error: Some(error) })).boxed(),
        };
        let Some(server) = self.server_inner() else { return ready(Ok(vec![])).boxed() };
        let mut answers = server.adapter.request(Request { namespace: self.name().clone(), ask: Ask::ServerEvent { name, args } });
        let timeout = server.request_timeout;
        async move {
            let mut responses = vec![];
            let collect = async {
                while let Some(answer) = answers.next().await {
                    if let Answer::ServerAck(args) = answer {
                        responses.push(args);
                    }
                }
            };
            match tokio::time::timeout(timeout, collect).await {
                Ok(()) => Ok(responses),
                Err(_) => Err(ServerAckError { responses, error: None }),
            }
        }
        .boxed()
    }

    /// Calls the handlers of an event of another server, on a worker thread of this one.
    fn handle_server_event(&self, name: ByteString, args: Args, ack: Option<Ack>) {
        let context = ServerEventContext { namespace: self.clone(), name, args, ack };
        let Some(handlers) = self.setup_snapshot().server_events.get(&context.name).cloned() else { return };
        // Any thread will do; always the same keeps the order.
        let _ = self.engine().run_on(0, 0, move |_| {
            for handler in handlers {
                let (context, name) = (context.clone(), context.name.clone());
                actix_rt::spawn(async move {
                    if let Err(error) = handler(&context).await {
                        tracing::debug!(target: "sociable::handler", event = %name, ?error, "server event not handled");
                    }
                });
            }
        });
    }
}

/// This node as its adapter sees it.
pub(crate) struct Inbound(pub(crate) Weak<ServerInner>);

impl Inbound {
    fn namespace(&self, name: &ByteString) -> Option<Namespace> {
        self.0.upgrade()?.namespaces.read().get(name).cloned()
    }
}

impl Node for Inbound {
    fn deliver(&self, message: Message) {
        trace::delivered(&message);
        let Some(namespace) = self.namespace(&message.namespace) else { return };
        match message.operation {
            Operation::ServerEvent { name, args } => namespace.handle_server_event(name, args, None),
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
}

pub(crate) fn start(server: &Arc<ServerInner>) {
    server.adapter.start(Arc::new(Inbound(Arc::downgrade(server))));
}
