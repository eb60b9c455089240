//! Emitters: processes without sockets that send events to those of the nodes.

use bytestring::ByteString;
use serde::Serialize;
use sociable_protocol::packet::RESERVED_EVENTS;
use sociable_protocol::websocket::Frames;
use sociable_protocol::{Args, Body, EncodeError, Encoding, JsonParser, MsgPackParser, Packet, Parser, TraceContext};
use thiserror::Error;

use super::adapter::NatsAdapter;
use super::error::NatsError;
use super::options::NatsOptions;
use crate::{Adapter, AdapterError, Message, Operation, Room, Target};

/// An event that an emitter did not send.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum EmitterError {
    /// Clients and servers use the name of the event themselves.
    #[error("the event name `{0}` is reserved: choose another")]
    Reserved(String),
    /// A value can't be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The event can't be sent now, or is too long.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}

/// An emitter of events to the sockets of a cluster, for a process without sockets. Examples are a worker of a job
/// queue, a cron job, and an admin tool. The process is no member of the cluster.
///
/// ```no_run
/// # async fn show() -> Result<(), Box<dyn std::error::Error>> {
/// use sociable_adapter::{Emitter, NatsOptions};
///
/// let emitter = Emitter::connect(NatsOptions::new("nats://127.0.0.1:4222").cluster("shop")).await?;
/// emitter.to("orders").emit("paid", &("order-7", 12.5))?;
/// emitter.of("/admin").except("quiet").emit("note", &"an order was paid")?;
/// emitter.to("customer-3").disconnect_sockets(true)?;
/// emitter.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Emitter {
    adapter: NatsAdapter,
    namespace: ByteString,
    target: Target,
    encoding: Encoding,
    volatile: bool,
    compress: bool,
    trace: Option<Box<TraceContext>>,
}

impl Emitter {
    /// Connects to the NATS servers of a cluster.
    ///
    /// # Errors
    ///
    /// As [`NatsAdapter::connect`].
    pub async fn connect(options: NatsOptions) -> Result<Self, NatsError> {
        Ok(Self {
            adapter: NatsAdapter::open(options, true).await?,
            namespace: ByteString::from_static("/"),
            target: Target::default(),
            encoding: Encoding::Json,
            volatile: false,
            compress: true,
            trace: None,
        })
    }

    /// Sets the parser of the nodes to MessagePack.
    #[must_use]
    pub fn msgpack(mut self) -> Self {
        self.encoding = Encoding::MsgPack;
        self
    }

    /// Returns an emitter for another namespace, without rooms.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Self {
        let namespace = if namespace.starts_with('/') { namespace.into() } else { format!("/{namespace}").into() };
        Self { namespace, target: Target::default(), ..self.clone() }
    }

    /// The sockets in this room, and in those that were named before.
    #[must_use]
    pub fn to(&self, room: impl Into<Room>) -> Self {
        let mut emitter = self.clone();
        emitter.target.rooms.push(room.into());
        emitter
    }

    /// Not the sockets in this room, nor in those that were named before.
    #[must_use]
    pub fn except(&self, room: impl Into<Room>) -> Self {
        let mut emitter = self.clone();
        emitter.target.except.push(room.into());
        emitter
    }

    /// The next event is dropped where it can't leave at once.
    #[must_use]
    pub fn volatile(&self) -> Self {
        Self { volatile: true, ..self.clone() }
    }

    /// Sets whether a poll response with the next event may be compressed.
    #[must_use]
    pub fn compress(&self, compress: bool) -> Self {
        Self { compress, ..self.clone() }
    }

    /// The span that sends the next events: spans of the nodes are its children, if it is sampled.
    #[must_use]
    pub fn traced(&self, span: TraceContext) -> Self {
        Self { trace: Some(Box::new(span)), ..self.clone() }
    }

    /// Sends an event with one argument, or with those of a [`Args`].
    ///
    /// # Errors
    ///
    /// The name is reserved, the value can't be written, or the event can't be sent: see [`AdapterError`].
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, arg: &T) -> Result<(), EmitterError> {
        self.emit_args(event, Args::encode(self.encoding, arg)?)
    }

    /// Sends an event with any number of arguments.
    ///
    /// # Errors
    ///
    /// The name is reserved, or the operation can't be sent: see [`AdapterError`].
    pub fn emit_args(&self, event: &str, args: Args) -> Result<(), EmitterError> {
        if RESERVED_EVENTS.contains(&event) {
            return Err(EmitterError::Reserved(event.to_owned()));
        }
        let packet = Packet { namespace: self.namespace.clone(), body: Body::Event { name: event.into(), args, id: None } };
        let frames: Frames = match self.encoding {
            Encoding::Json => JsonParser::default().encode(&packet),
            Encoding::MsgPack => MsgPackParser::default().encode(&packet),
        };
        self.publish(Operation::Emit { frames, volatile: self.volatile, compress: self.compress })
    }

    /// Joins the sockets to rooms.
    ///
    /// # Errors
    ///
    /// The operation can't be sent: see [`AdapterError`].
    pub fn sockets_join(&self, rooms: impl IntoIterator<Item = impl Into<Room>>) -> Result<(), EmitterError> {
        self.publish(Operation::Join(rooms.into_iter().map(Into::into).collect()))
    }

    /// Has the sockets leave rooms.
    ///
    /// # Errors
    ///
    /// The operation can't be sent: see [`AdapterError`].
    pub fn sockets_leave(&self, rooms: impl IntoIterator<Item = impl Into<Room>>) -> Result<(), EmitterError> {
        self.publish(Operation::Leave(rooms.into_iter().map(Into::into).collect()))
    }

    /// Puts the sockets out of the namespace; with `close` their connections are closed.
    ///
    /// # Errors
    ///
    /// The operation can't be sent: see [`AdapterError`].
    pub fn disconnect_sockets(&self, close: bool) -> Result<(), EmitterError> {
        self.publish(Operation::Disconnect { close })
    }

    /// Sends an event to the application of all nodes.
    ///
    /// # Errors
    ///
    /// The value can't be written, or the event can't be sent: see [`AdapterError`].
    pub fn server_side_emit<T: Serialize + ?Sized>(&self, event: &str, arg: &T) -> Result<(), EmitterError> {
        self.publish(Operation::ServerEvent { name: event.into(), args: Args::encode(self.encoding, arg)? })
    }

    fn publish(&self, operation: Operation) -> Result<(), EmitterError> {
        let (namespace, target) = (self.namespace.clone(), self.target.clone());
        Ok(self.adapter.publish(Message { namespace, target, operation, trace: self.trace.clone() })?)
    }

    /// Sends the waiting records, for at most 3 s, and closes the connection. Events of clones are refused afterwards.
    pub async fn close(self) {
        self.adapter.close().await;
    }
}
