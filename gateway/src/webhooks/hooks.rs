//! The tie between webhooks and the handlers of namespaces.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use bytestring::ByteString;
use sociable::protocol::maps::Map;
use sociable::{Ack, DisconnectReason, EventName, Failure, Namespace, ParentNamespace, RawArgs, Socket};
use tokio::time::Instant;

use super::answer::{send_all, send_error};
use super::client::Message;
use super::cloudevent::{Attributes, Kind};
use super::delivery::{Mode, Reply, deliver};
use super::endpoint::{Endpoint, Outcome};
use super::lanes::{Content, ITEM_COST, Item};
use super::settings::{EVERY_OTHER, NamespaceHooks};
use super::shared::Shared;
use super::target::Target;
use super::{batch, body, lanes};

/// The text that a client gets if its backend does not answer.
const UNAVAILABLE: &str = "backend unavailable";
/// The code beside the text.
const CODE: &str = "E_BACKEND";

/// Returns the error that a client gets if its backend does not answer.
pub(super) fn unavailable() -> Failure {
    Failure::new(UNAVAILABLE).with_data(&serde_json::json!({ "code": CODE }))
}

/// The webhooks of a namespace, or of the namespaces of a pattern.
#[derive(Debug)]
pub(super) struct Hooks {
    shared: Arc<Shared>,
    connect: Option<Route>,
    connected: Option<Route>,
    disconnected: Option<Route>,
    events: Map<ByteString, Route>,
    /// The indexes of all endpoints.
    endpoints: Vec<usize>,
}

/// A target with its endpoint.
#[derive(Clone, Debug)]
struct Route {
    endpoint: Arc<Endpoint>,
    wait: Option<bool>,
    parallel: bool,
    batch: bool,
}

/// An event of a client.
struct Received<'a> {
    name: ByteString,
    args: &'a RawArgs,
    /// The acknowledgement that waits for the answer.
    ack: Option<Ack>,
    /// Whether the client asked for an acknowledgement.
    asked: bool,
    /// Whether the answer is awaited.
    waits: bool,
}

/// The memory of a webhook that waits for its answer, in bytes.
fn cost(content: usize) -> usize {
    ITEM_COST + content
}

impl Hooks {
    /// Returns the webhooks of settings.
    ///
    /// # Errors
    ///
    /// A URL needs TLS, and the certificates of the system cannot be used.
    pub(super) fn new(shared: &Arc<Shared>, hooks: &NamespaceHooks) -> reqwest::Result<Self> {
        let route = |target: &Target| {
            let endpoint = shared.endpoint(&target.url)?;
            Ok(Route { endpoint, wait: target.wait, parallel: target.parallel, batch: target.batch })
        };
        let optional = |target: &Option<Target>| target.as_ref().map(route).transpose();
        let mut this = Self {
            shared: Arc::clone(shared),
            connect: optional(&hooks.connect)?,
            connected: optional(&hooks.connected)?,
            disconnected: optional(&hooks.disconnected)?,
            events: Map::default(),
            endpoints: vec![],
        };
        for (event, target) in &hooks.events {
            this.events.insert(event.as_str().into(), route(target)?);
        }
        let routes = [&this.connected, &this.disconnected].into_iter().flatten().chain(this.events.values());
        let mut endpoints: Vec<_> = routes.map(|route| route.endpoint.index).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        this.endpoints = endpoints;
        Ok(this)
    }

    /// Asks the backend whether a socket is let in.
    async fn connect(&self, route: &Route, socket: &Socket) -> Result<(), Failure> {
        let endpoint = &route.endpoint;
        let refuse = |outcome| {
            endpoint.counters.count(outcome);
            Err(unavailable())
        };
        if self.shared.closed.load(Ordering::Acquire) {
            return refuse(Outcome::Dropped);
        }
        if endpoint.breaker.is_open() {
            return refuse(Outcome::BreakerOpen);
        }
        let body = Bytes::from(body::connect(socket, &self.shared.settings.headers));
        let Some(charge) = endpoint.charge(cost(body.len())) else { return refuse(Outcome::Dropped) };
        let attributes = self.attributes(Kind::Connect, socket);
        let deadline = Instant::now() + self.shared.settings.deadline;
        let number = socket.id().as_str().bytes().map(usize::from).sum();
        let Some(client) = self.shared.client(number) else { return refuse(Outcome::Dropped) };
        let (shared, to) = (Arc::clone(&self.shared), Arc::clone(endpoint));
        let task = self.shared.handle(number).spawn(async move {
            let _charge = charge;
            let message = Message { id: &attributes.id, attributes: Some(&attributes), body: &|| body.clone() };
            deliver(&shared, &client, &to, &message, Mode::Connect, deadline).await
        });
        match task.await {
            Ok(Ok(Reply::Answer(answer))) => {
                if let Err(failure) = answer.verdict() {
                    endpoint.counters.count(Outcome::Refused);
                    return Err(failure);
                }
                endpoint.counters.count(Outcome::Delivered);
                count_unapplied(endpoint, answer.change(socket));
                if !answer.emit.is_empty() {
                    // The socket itself gets them too, once it is let in.
                    let to = Arc::clone(endpoint);
                    socket.on_connect(move |namespace: Namespace| {
                        count_unapplied(&to, send_all(&answer.emit, &namespace, &to));
                        ready(())
                    });
                }
                Ok(())
            }
            Ok(Ok(Reply::Refused(failure))) => {
                endpoint.counters.count(Outcome::Refused);
                Err(failure)
            }
            Ok(Err(outcome)) => refuse(outcome),
            // The threads have ended, or the task panicked.
            Err(_) => refuse(Outcome::Dropped),
        }
    }

    fn connected(&self, socket: &Socket) {
        if let Some(route) = &self.connected {
            self.tell(route, Kind::Connected, socket, body::connected(socket));
        }
    }

    fn disconnected(&self, socket: &Socket, reason: DisconnectReason) {
        if let Some(route) = &self.disconnected {
            self.tell(route, Kind::Disconnected, socket, body::disconnected(socket, reason));
        }
        let data: Arc<[u8]> = body::to_json(&body::data_of(socket)).into();
        self.endpoints.iter().for_each(|endpoint| self.shared.lanes.left(socket, *endpoint, &data));
    }

    /// Handles an event of a client.
    fn event(&self, route: &Route, socket: &Socket, name: ByteString, args: &RawArgs, ack: Option<Ack>) {
        let asked = ack.is_some();
        let waits = route.wait.unwrap_or(asked);
        let received = Received { name, args, ack: ack.clone().filter(|_| waits), asked, waits };
        let refused = self.try_event(route, socket, received).err();
        if let Some(outcome) = refused {
            route.endpoint.counters.count(outcome);
        }
        match ack {
            Some(ack) if refused.is_some() => send_error(&ack, &unavailable()),
            // A socket that has left needs no acknowledgement.
            Some(ack) if !waits => drop(ack.send(())),
            _ => {}
        }
    }

    fn try_event(&self, route: &Route, socket: &Socket, received: Received<'_>) -> Result<(), Outcome> {
        let Received { name, args, ack, asked, waits } = received;
        let (endpoint, settings) = (&route.endpoint, &self.shared.settings);
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Outcome::Dropped);
        }
        if waits && endpoint.breaker.is_open() {
            return Err(Outcome::BreakerOpen);
        }
        let cost = cost(name.len() + args.encoded_len());
        let mut charge = endpoint.charge(cost).ok_or(Outcome::Dropped)?;
        let args = body::args(args).ok_or(Outcome::Failed)?;
        let attributes = self.attributes(Kind::Event, socket);
        if route.batch && !waits {
            let data = body::to_json(&body::data_of(socket));
            let body = body::event(socket.namespace().name(), socket.id().as_str(), &name, &args, asked, &data);
            let event = attributes.structured(&self.shared.source, &body);
            charge.grow(ITEM_COST + event.len()).ok_or(Outcome::Dropped)?;
            batch::push(&self.shared, endpoint, event, charge);
            return Ok(());
        }
        let (mode, time) = if waits { (Mode::Wait, settings.deadline) } else { (Mode::Told, settings.told_deadline) };
        // Copied: the name is a part of the client's message.
        let content = Content::Event { name: ByteString::from(&*name), args, asked };
        let item = Item { attributes, content, ack, mode, deadline: Instant::now() + time, _charge: charge, cost };
        if lanes::push(&self.shared, endpoint, socket, item, route.parallel) { Ok(()) } else { Err(Outcome::Dropped) }
    }

    /// Tells a backend about the life of a socket.
    fn tell(&self, route: &Route, kind: Kind, socket: &Socket, body: Vec<u8>) {
        let endpoint = &route.endpoint;
        let cost = cost(body.len());
        let charge = endpoint.charge(cost).filter(|_| !self.shared.closed.load(Ordering::Acquire));
        let Some(mut charge) = charge else { return endpoint.counters.count(Outcome::Dropped) };
        let attributes = self.attributes(kind, socket);
        if route.batch {
            let event = attributes.structured(&self.shared.source, &body);
            return match charge.grow(ITEM_COST + event.len()) {
                Some(()) => batch::push(&self.shared, endpoint, event, charge),
                None => endpoint.counters.count(Outcome::Dropped),
            };
        }
        let deadline = Instant::now() + self.shared.settings.told_deadline;
        let item = Item { attributes, content: Content::Ready(body.into()), ack: None, mode: Mode::Told, deadline, _charge: charge, cost };
        if !lanes::push(&self.shared, endpoint, socket, item, false) {
            endpoint.counters.count(Outcome::Dropped);
        }
    }

    fn attributes(&self, kind: Kind, socket: &Socket) -> Attributes {
        Attributes {
            id: self.shared.next_id(),
            kind,
            subject: socket.id(),
            namespace: socket.namespace().name().clone(),
            time: SystemTime::now(),
        }
    }
}

fn count_unapplied(endpoint: &Endpoint, parts: usize) {
    endpoint.counters.unapplied.fetch_add(parts as u64, Ordering::Relaxed);
}

/// Adds the handlers to a namespace or to a pattern of namespaces, which have the same methods.
macro_rules! attach {
    ($name:ident, $to:ty) => {
        pub(super) fn $name(self: Arc<Self>, to: &$to) {
            if let Some(route) = self.connect.clone() {
                let hooks = Arc::clone(&self);
                to.middleware(move |socket: Socket| {
                    let (hooks, route) = (Arc::clone(&hooks), route.clone());
                    async move {
                        // The backend let the socket in before.
                        if socket.recovered() { Ok(()) } else { hooks.connect(&route, &socket).await }
                    }
                });
            }
            let hooks = Arc::clone(&self);
            to.on_connect(move |socket: Socket| ready(hooks.connected(&socket)));
            for (event, route) in self.events.clone() {
                let hooks = Arc::clone(&self);
                let is_fallback = &*event == EVERY_OTHER;
                let handler = move |socket: Socket, EventName(name): EventName, args: RawArgs, ack: Option<Ack>| {
                    ready(hooks.event(&route, &socket, name, &args, ack))
                };
                if is_fallback {
                    to.on_fallback(handler)
                } else {
                    to.on(&event, handler)
                };
            }
            // No event comes after this, and the socket is still in its rooms.
            to.on_disconnecting(move |socket: Socket, reason: DisconnectReason| ready(self.disconnected(&socket, reason)));
        }
    };
}

impl Hooks {
    attach!(attach, Namespace);
    attach!(attach_all, ParentNamespace);
}
