//! Watchers: processes that read what the nodes of a cluster send each other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use async_nats::{Client, Message as NatsMessage, SubscribeError, Subscriber};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use sociable_nats::{LinkEvent, Role};
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Args, Body, Frames, JsonParser, MsgPackParser, NodeTag, Packet, Parser};

use super::error::NatsError;
use super::options::NatsOptions;
use super::wire::{self, Head, PersistedEvent, Reader, Record};
use crate::{Ask, Message, Operation, Room, Target};

/// The messages that one subscription holds. Beyond it the client drops them.
const SUBSCRIPTION: usize = 4096;

/// The subjects of messages for nodes: without a history, of one socket, persisted, and refused by the store.
const SUBJECTS: [&str; 4] = ["all", "one.>", "live", "unkept"];

/// A reader of the messages between the nodes of a cluster, for tools. The process is no member of the cluster.
///
/// A message that concerns sockets of its own node alone does not cross the bus, and is not seen.
///
/// ```no_run
/// # async fn show() -> Result<(), Box<dyn std::error::Error>> {
/// use sociable_adapter::{NatsOptions, WatchedOperation, Watcher};
///
/// let mut watcher = Watcher::connect(NatsOptions::new("nats://127.0.0.1:4222").cluster("shop")).await?;
/// while let Some(watched) = watcher.next().await {
///     if let WatchedOperation::Emit { event, args, .. } = &watched.operation {
///         println!("{} sends {event} with {} arguments to {:?}", watched.node, args.len(), watched.target.rooms);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watcher {
    /// The connection, which lives as long as the watcher.
    _client: Client,
    subscriptions: SelectAll<Subscriber>,
    /// The operations of the last envelope.
    read: VecDeque<Watched>,
    overflows: Arc<AtomicU64>,
    skipped: u64,
}

/// An operation that crossed the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The tag of the publisher: a node, or an emitter.
    pub node: NodeTag,
    /// The namespace.
    pub namespace: ByteString,
    /// The sockets. A server event has none.
    pub target: Target,
    /// The operation.
    pub operation: WatchedOperation,
}

/// An operation that crossed the bus, without its sockets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WatchedOperation {
    /// An event for sockets.
    Emit {
        /// The name of the event.
        event: ByteString,
        /// The arguments, without the offset of a history.
        args: Args,
        /// True if it is dropped where it can't be sent at once.
        volatile: bool,
        /// True if the publisher waits for acknowledgements.
        with_ack: bool,
    },
    /// The sockets join rooms.
    Join(Vec<Room>),
    /// The sockets leave rooms.
    Leave(Vec<Room>),
    /// The sockets are disconnected.
    Disconnect {
        /// True if their connections are closed too.
        close: bool,
    },
    /// An event for the application of the nodes.
    ServerEvent {
        /// The name of the event.
        event: ByteString,
        /// The arguments.
        args: Args,
        /// True if the publisher waits for answers.
        with_ack: bool,
    },
}

impl Watcher {
    /// Connects to the NATS servers of a cluster. The connection is restored whenever it is lost; what passes meanwhile is not seen.
    ///
    /// # Errors
    ///
    /// An option is invalid, or no server can be reached, or the servers refuse the credentials.
    pub async fn connect(options: NatsOptions) -> Result<Self, NatsError> {
        let overflows = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&overflows);
        let role = Role { name: "watcher", subscription_capacity: SUBSCRIPTION, retry_on_initial_connect: false };
        let on_event = move |event| match event {
            LinkEvent::SlowConsumer => {
                counted.fetch_add(1, Relaxed);
            }
            event => tracing::debug!(target: "sociable::adapter", ?event, "NATS client event"),
        };
        let client = options.connection.connect(role, on_event).await?;
        let subscriptions = subscribe(&client, &options.connection.cluster).await;
        let subscriptions =
            subscriptions.map_err(|error| NatsError::Connect { servers: options.connection.shown_servers(), error: error.to_string() })?;
        Ok(Self { _client: client, subscriptions, read: VecDeque::new(), overflows, skipped: 0 })
    }

    /// Returns the next operation. `None` once the connection is closed.
    pub async fn next(&mut self) -> Option<Watched> {
        loop {
            if let Some(watched) = self.read.pop_front() {
                return Some(watched);
            }
            let NatsMessage { payload, .. } = self.subscriptions.next().await?;
            if !self.read_envelope(&payload) {
                self.skipped += 1;
            }
        }
    }

    /// Returns how often the client dropped messages because this watcher read too slowly.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// Returns the number of messages with something that this version cannot read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Reads the records of an envelope. Returns false if one is not understood.
    fn read_envelope(&mut self, envelope: &[u8]) -> bool {
        let (Ok(head), Some(mut records)) = (Head::read(&mut Reader::new(envelope)), wire::records(envelope)) else { return false };
        let mut is_understood = true;
        while let Some(record) = records.record() {
            match record.ok().map(|record| watched(head.publisher.tag, record)) {
                Some(Ok(watched)) => self.read.extend(watched),
                _ => is_understood = false,
            }
        }
        is_understood
    }
}

async fn subscribe(client: &Client, cluster: &str) -> Result<SelectAll<Subscriber>, SubscribeError> {
    let mut subscriptions = SelectAll::new();
    for subject in SUBJECTS {
        subscriptions.push(client.subscribe(format!("sociable.{cluster}.{subject}")).await?);
    }
    // The server has the subscriptions when it answers this. Nobody else answers.
    drop(client.request(format!("sociable.{cluster}.nobody"), Bytes::new()).await);
    Ok(subscriptions)
}

/// A packet that is no event.
struct NoEvent;

/// Returns the operation of a record. `None` for answers and the like.
fn watched(node: NodeTag, record: Record) -> Result<Option<Watched>, NoEvent> {
    let (namespace, target, operation) = match record {
        Record::Message(message) | Record::Order(_, message) => {
            let Message { namespace, target, operation, .. } = message;
            let operation = match operation {
                Operation::Emit { frames, volatile, .. } => emit(&frames, volatile, false)?,
                Operation::Join(rooms) => WatchedOperation::Join(rooms),
                Operation::Leave(rooms) => WatchedOperation::Leave(rooms),
                Operation::Disconnect { close } => WatchedOperation::Disconnect { close },
                Operation::ServerEvent { name, args } => WatchedOperation::ServerEvent { event: name, args, with_ack: false },
            };
            (namespace, target, operation)
        }
        Record::Persisted(PersistedEvent { at, namespace, target, frames, .. }) => {
            (namespace, target, emit(&Frames::read(frames).ok_or(NoEvent)?, false, at.is_some())?)
        }
        Record::Request(_, request) => {
            let (target, operation) = match request.ask {
                Ask::Ack { target, name, args, .. } => {
                    (target, WatchedOperation::Emit { event: name, args, volatile: false, with_ack: true })
                }
                Ask::ServerEvent { name, args } => (Target::default(), WatchedOperation::ServerEvent { event: name, args, with_ack: true }),
                Ask::Sockets { .. } => return Ok(None),
            };
            (request.namespace, target, operation)
        }
        _ => return Ok(None),
    };
    Ok(Some(Watched { node, namespace, target, operation }))
}

/// Returns the event of a packet for clients. Its last argument is left out if it is the offset of a history.
fn emit(frames: &Frames, volatile: bool, has_offset: bool) -> Result<WatchedOperation, NoEvent> {
    let Body::Event { name: event, args, .. } = packet(frames).ok_or(NoEvent)?.body else { return Err(NoEvent) };
    let args = if has_offset { args.prefix(args.len().saturating_sub(1)) } else { args };
    Ok(WatchedOperation::Emit { event, args, volatile, with_ack: false })
}

/// Decodes a packet by the parser that its first frame shows.
fn packet(frames: &Frames) -> Option<Packet> {
    let is_json = matches!(frames.iter().next()?, Payload::Text(_));
    let mut decoder = if is_json { JsonParser::new(wire::LIMITS).decoder() } else { MsgPackParser::new(wire::LIMITS).decoder() };
    let mut packet = None;
    for payload in frames.iter() {
        let read = match payload {
            Payload::Text(text) => decoder.text(text.get(1..)?.into()),
            Payload::Binary(bytes) => decoder.binary(Bytes::copy_from_slice(bytes)),
        };
        packet = read.ok()?;
    }
    packet
}

#[cfg(test)]
mod tests {
    use sociable_protocol::Encoding;

    use super::*;

    fn frames(encoding: Encoding, args: Args) -> Frames {
        let packet = Packet { namespace: "/chat".into(), body: Body::Event { name: "say".into(), args, id: None } };
        match encoding {
            Encoding::Json => JsonParser::default().encode(&packet),
            Encoding::MsgPack => MsgPackParser::default().encode(&packet),
        }
    }

    fn args(encoding: Encoding, values: &[serde_json::Value]) -> Args {
        let mut builder = Args::builder(encoding);
        for value in values {
            builder.push(value).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn event_is_read_in_both_encodings() {
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            let values = [serde_json::json!({"a": [1, null]}), "x".into(), "an offset".into()];
            let read = |has_offset| match emit(&frames(encoding, args(encoding, &values)), true, has_offset) {
                Ok(WatchedOperation::Emit { event, args, volatile: true, with_ack: false }) => {
                    let values = args.iter().map(|arg| arg.decode::<serde_json::Value>(0).unwrap());
                    (event.to_string(), values.collect::<Vec<_>>())
                }
                _ => panic!("no event"),
            };
            assert_eq!(read(false), ("say".into(), values.to_vec()));
            assert_eq!(read(true), ("say".into(), values[..2].to_vec()));
        }
    }

    #[test]
    fn packet_that_is_no_event_is_refused() {
        let ack = Packet { namespace: "/".into(), body: Body::Ack { args: args(Encoding::Json, &[]), id: Some(1) } };
        assert!(emit(&JsonParser::default().encode(&ack), false, false).is_err());
    }
}
