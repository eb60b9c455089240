//! Events between servers, and the questions that the nodes of a cluster ask each other.

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::StreamExt;
use sociable_adapter::{Answer, Ask, Request};
use sociable_protocol::{Args, TraceContext};

use crate::ack::Ack;
use crate::cluster::questions::{AskedNodes, ServerAckError};
use crate::emit::EmitError;
use crate::handler::ServerEventContext;
use crate::handler::context::event_cost;
use crate::namespace::Namespace;
use crate::spans;
use crate::trace;

impl Namespace {
    pub(crate) fn ask_servers(
        &self,
        event: Result<(ByteString, Args), EmitError>,
    ) -> BoxFuture<'static, Result<Vec<Args>, ServerAckError>> {
        let (name, args) = match event {
            Ok(event) => event,
            Err(error) => return ready(Err(ServerAckError { responses: vec![], missing: vec![], error: Some(error) })).boxed(),
        };
        let Some(server) = self.server_state() else { return ready(Ok(vec![])).boxed() };
        let (span, trace) = self.sending(&name, true);
        let mut answers = server.cluster().request(Request { namespace: self.name().clone(), ask: Ask::ServerEvent { name, args }, trace });
        drop(span);
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
    pub(crate) fn handle_server_event(&self, name: ByteString, args: Args, ack: Option<Ack>, parent: Option<Box<TraceContext>>) {
        let context = ServerEventContext { namespace: self.clone(), name, args, ack };
        let Some(handlers) = self.handlers().server_events.get(&context.name).cloned() else { return };
        let bytes = event_cost(&context.name, &context.args);
        // One fixed thread keeps the order of events. An overloaded thread counts the events that it refuses.
        let _ = self.engine().run_on(0, bytes, move |_| {
            for handler in handlers {
                let (context, name) = (context.clone(), context.name.clone());
                let span = spans::are_on().then(|| context.namespace.spans().processing_server_event(&name, parent.as_deref()));
                actix_rt::spawn(async move {
                    let run = || handler(&context);
                    let ended = match span {
                        Some(span) => spans::run_within(span, run).await,
                        None => run().await,
                    };
                    if let Err(error) = ended {
                        tracing::debug!(target: "sociable::handler", event = %trace::plain(&name), ?error, "server event not handled");
                    }
                });
            }
        });
    }
}
