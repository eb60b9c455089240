//! The events of a client: middleware, handlers in order, and the answer to failures.

use std::rc::Rc;

use bytestring::ByteString;
use futures_util::future::LocalBoxFuture;

use crate::ack::Ack;
use crate::handler::run::{HANDLER_COST, Started, notify, poll_once, spawn_rest};
use crate::handler::{EventContext, HandlerError};
use crate::socket::SocketError;
use crate::spans;
use crate::stats::Count;
use crate::thread::socket::LocalSocket;
use crate::thread::socket_actor::{Event, Hold, NextEvent, Own, Plan, TakeOnce};
use crate::trace;

impl LocalSocket {
    /// Handles an event of the client.
    #[inline]
    pub(crate) fn on_event(self: &Rc<Self>, context: EventContext) {
        let own = self.actor.read(|actor| actor.own().map(|own| own.any.clone())).flatten().unwrap_or_default();
        if !self.setup.any.is_empty() || !own.is_empty() {
            self.setup.any.iter().chain(&own).for_each(|listener| notify(&self.session, || listener(&context)));
            if !self.shared.is_connected() {
                return;
            }
        }
        let mut context = Some(context);
        let plan = self.tell(Event { session: &self.session, context: &mut context }).flatten();
        if let (Some(context), Some(plan)) = (context, plan) {
            self.handle(context, plan);
        }
    }

    /// Handles waiting events until one has to wait again.
    pub(crate) fn handle_waiting(self: &Rc<Self>) {
        while self.shared.is_connected() && !self.session.is_full() {
            let Some((waited, context, plan)) = self.tell(NextEvent).flatten() else { break };
            drop(waited);
            self.handle(context, plan);
        }
    }

    /// Runs the middleware, then the handlers.
    fn handle(self: &Rc<Self>, context: EventContext, Plan { own, middleware }: Plan) {
        if self.setup.event_middleware.is_empty() && middleware.is_empty() {
            return self.run_handlers(&context, own);
        }
        let middleware: Vec<_> = self.setup.event_middleware.iter().cloned().chain(middleware).collect();
        let asked = context.clone();
        let ask = move || -> LocalBoxFuture<'static, Result<(), HandlerError>> {
            Box::pin(async move {
                for ask in middleware {
                    ask(&asked).await?;
                }
                Ok(())
            })
        };
        match poll_once(&self.session, ask) {
            Started::Ended(verdict) => self.on_verdict(&context, own, verdict),
            Started::Panicked => {}
            Started::Waits(future) => {
                self.tell(Hold(true));
                let this = Rc::clone(self);
                spawn_rest(&self.session, HANDLER_COST + context.cost(), future, move |verdict| {
                    this.tell(Hold(false));
                    if let Some(verdict) = verdict {
                        this.on_verdict(&context, own, verdict);
                    }
                });
            }
        }
    }

    fn on_verdict(self: &Rc<Self>, context: &EventContext, own: Own, verdict: Result<(), HandlerError>) {
        match verdict {
            Ok(()) if self.shared.is_connected() => self.run_handlers(context, own),
            Ok(()) => {}
            Err(error) => {
                self.thread.count(Count::EventsRefused);
                self.notify_error(&SocketError::refused(&context.name, error.clone()));
                self.answer_error(context.ack.as_ref(), error);
            }
        }
    }

    /// Runs the handlers of an event.
    #[inline]
    fn run_handlers(self: &Rc<Self>, context: &EventContext, Own { handlers: mut own, once }: Own) {
        if once {
            own.extend(self.tell(TakeOnce(&context.name)).unwrap_or_default());
        }
        let shared = self.setup.events.get(&context.name);
        let counters = &self.thread.counters;
        let fallback: &[_] = if shared.is_none() && own.is_empty() { &self.setup.fallback } else { &[] };
        if shared.is_none() && own.is_empty() && fallback.is_empty() {
            counters.increment(Count::EventsUnheard);
        }
        for handler in shared.into_iter().flatten().chain(&own).chain(fallback) {
            let begun = if spans::are_on() {
                let span = self.shared.namespace.spans().processing(&self.shared.id, &context.name, self.session.handshake());
                poll_once(&self.session, || spans::run_within(span, || handler(context)))
            } else {
                poll_once(&self.session, || handler(context))
            };
            match begun {
                Started::Panicked => {}
                Started::Ended(Ok(())) => counters.increment(Count::EventsHandled),
                Started::Ended(Err(error)) => self.failed(&context.name, context.ack.as_ref(), error),
                Started::Waits(future) => {
                    let (this, name, ack) = (Rc::clone(self), context.name.clone(), context.ack.clone());
                    spawn_rest(&self.session, HANDLER_COST + context.cost(), future, move |ended| match ended {
                        None => {}
                        Some(Ok(())) => this.thread.count(Count::EventsHandled),
                        Some(Err(error)) => this.failed(&name, ack.as_ref(), error),
                    });
                }
            }
        }
    }

    pub(super) fn failed(self: &Rc<Self>, event: &ByteString, ack: Option<&Ack>, error: HandlerError) {
        let count = if matches!(error, HandlerError::Arguments(_)) { Count::BadArguments } else { Count::HandlerErrors };
        self.thread.count(count);
        tracing::debug!(target: "sociable::handler", id = %self.shared.id.shortened(), event = %trace::plain(event), ?error, "event not handled");
        self.notify_error(&SocketError::handler(event, error.clone()));
        self.answer_error(ack, error);
    }

    /// Sends the error to a client that waits for an acknowledgement, if the options say so.
    fn answer_error(&self, ack: Option<&Ack>, error: HandlerError) {
        #[derive(serde::Serialize)]
        struct Answer<'a> {
            error: Detail<'a>,
        }
        #[derive(serde::Serialize)]
        struct Detail<'a> {
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a serde_json::Value>,
        }
        let wanted = |ack: &&Ack| ack.is_asked() && self.shared.namespace.server_state().is_some_and(|server| server.answer_errors);
        if let Some(ack) = ack.filter(wanted) {
            let failure = error.into_failure();
            // A closed session needs no answer.
            let _ = ack.send(&Answer { error: Detail { message: failure.message(), data: failure.data() } });
        }
    }

    pub(crate) fn notify_error(&self, error: &SocketError) {
        let socket = self.socket();
        self.gather(|setup| &setup.errors).iter().for_each(|listener| notify(&self.session, || listener(&socket, error)));
    }
}
