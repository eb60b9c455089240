//! Messages between the nodes of a cluster, and the [`Adapter`] that carries them.
//!
//! # Layout
//!
//! * [`message`]: messages, questions and answers between nodes.
//! * [`Adapter`]: the trait, with its promises.
//! * [`SingleNodeAdapter`]: the adapter of a single node.
//! * `NatsAdapter`, with the feature `nats`: many nodes over NATS.
//! * `Emitter`, with that feature: sends events to their sockets from another process. `Watcher`: reads what the nodes send each other.
//! * `conformance`, with the feature `conformance`: checks that every adapter must pass.
//! * [`MetricsSnapshot`], [`CounterSample`] and [`Latency`]: counts and latencies of an adapter.
//! * [`History`]: events and sessions for connection state recovery. [`MemoryHistory`] keeps them on one node.
//!
//! A node does not depend on the bus, and an adapter does not depend on sockets. An adapter carries [`Message`]s,
//! [`Request`]s and [`Answer`]s.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `nats` | no | `NatsAdapter`, `Emitter` and `Watcher`. |
//! | `conformance` | no | `conformance`: checks for an adapter of your own. |

// Documentation on docs.rs shows the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "conformance")]
pub mod conformance;
mod history;
pub mod message;
#[cfg(feature = "nats")]
mod nats;
mod single_node;

use std::fmt::Debug;
use std::sync::Arc;

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::BoxStream;
use sociable_protocol::{Frames, Id, NodeTag, TraceContext};
use thiserror::Error;

pub use history::{
    Entry, History, LeftRoom, LeftRooms, Limits, MemoryHistory, Missed, NewEvent, Position, Reach, SavedSession, Stay, Usage,
};
pub use message::{Answer, Ask, Message, Operation, Request, Room, SocketInfo, Target, own_room};
#[cfg(feature = "nats")]
pub use nats::{
    Emitter, EmitterError, JetStreamOptions, NatsAdapter, NatsAuth, NatsError, NatsOptions, NatsStats, Watched, WatchedOperation, Watcher,
};
pub use single_node::SingleNodeAdapter;
pub use sociable_protocol::{Latency, Times};

/// A message that does not reach the other nodes. This node carried it out nonetheless.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdapterError {
    /// The other nodes can't be reached now. Retry later, or watch the readiness of the node.
    #[error("other nodes unreachable: {0}")]
    Unreachable(String),
    /// The message is longer than the bus allows. Split it.
    #[error("message too large for other nodes: {bytes} bytes of at most {limit}; split it")]
    TooLarge {
        /// The length of the message, in bytes.
        bytes: usize,
        /// The longest message that the bus carries, in bytes.
        limit: usize,
    },
    /// The queue of messages for other nodes is full. Retry later, or emit less.
    #[error("send queue to other nodes full: {limit} bytes wait; retry later")]
    Full {
        /// The bound of the queue, in bytes.
        limit: usize,
    },
}

/// A living node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The first part of all ids of the node. A node that restarts gets another tag.
    pub tag: NodeTag,
    /// The name of the node, for people. Names may repeat.
    pub name: ByteString,
}

/// Counts and latencies of an adapter since its start, for exporters.
#[derive(Clone, Debug, Default)]
pub struct MetricsSnapshot {
    /// Counters. Those of one name follow each other.
    pub counters: Vec<CounterSample>,
    /// Latencies by operation.
    pub latencies: Vec<(&'static str, Times)>,
}

/// One sample of a counter, for exporters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterSample {
    /// The name, such as `gaps`. Prometheus shows it as `sociable_adapter_gaps_total`.
    pub name: &'static str,
    /// The meaning, as a sentence. It is the same for all samples of one name.
    pub help: &'static str,
    /// A label and its value, if the counter has several samples.
    pub label: Option<(&'static str, &'static str)>,
    /// The count since the start.
    pub value: u64,
}

/// Carries messages between nodes.
///
/// # Promises
///
/// * Order: messages that one thread publishes arrive at every node in their order. Messages of different threads have
///   no common order.
/// * Delivery is at most once: a message arrives at each of the other nodes once, or is lost. No message returns to its
///   sender.
/// * Concurrency: every call may come from any thread, at the same time as others.
/// * No call blocks its thread. An adapter that has to wait queues, with a bound, and refuses beyond it.
pub trait Adapter: Send + Sync + Debug + 'static {
    /// Returns the tag of this process, if the adapter ensured that no other node has it. The tag is the first part of
    /// all ids. By default the node draws a tag.
    fn tag(&self) -> Option<NodeTag> {
        None
    }

    /// Starts the adapter. Messages of other nodes go to `node`. The node calls this once. Only [`tag`](Self::tag) and
    /// [`history`](Self::history) are called before.
    fn start(&self, node: Arc<dyn Node>);

    /// Queues a message for all other nodes.
    ///
    /// # Errors
    ///
    /// The message was not queued. A queued message may still be lost.
    fn publish(&self, message: Message) -> Result<(), AdapterError>;

    /// Asks all other nodes, and returns their answers as they come.
    ///
    /// The stream ends when each member of the time of the call has given its last answer or has left. The caller drops the stream at its own deadline. [`Answer::Failed`] stands for a question that can't be sent.
    fn request(&self, request: Request) -> BoxStream<'static, Answer>;

    /// Subscribes this node to the room of another node's socket id. The room has a member here: a recovered socket, or
    /// one that joined a room of that name. Calls for one id are counted.
    fn adopt(&self, id: Id) {
        let _ = id;
    }

    /// Ends one [`adopt`](Self::adopt), when its member left the room.
    fn release(&self, id: Id) {
        let _ = id;
    }

    /// Returns false while the other nodes are known to be unreachable. Sockets of this node still get their messages.
    fn is_connected(&self) -> bool {
        true
    }

    /// Returns false while a shared history refuses events. Such events are delivered without being persisted. Clients
    /// that disconnect then get new sessions.
    fn persists(&self) -> bool {
        true
    }

    /// Returns the number of living nodes, this one included.
    fn server_count(&self) -> BoxFuture<'static, usize>;

    /// Returns the other living nodes, as far as this one knows. The default has none.
    fn other_nodes(&self) -> Vec<Member> {
        vec![]
    }

    /// Returns counts and latencies since the start. The default has none.
    fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot::default()
    }

    /// Publishes the node's state immediately, for example when [draining](Node::is_draining) starts.
    fn announce(&self) {}

    /// Returns the history of events and sessions. The node calls this once, if recovery is on. By default each node
    /// has its own history, in memory.
    fn history(&self, limits: Limits) -> Arc<dyn History> {
        Arc::new(MemoryHistory::new(limits))
    }

    /// Announces the leave to the other nodes, and closes the connections. The future ends when both are done.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A node, as its adapter sees it.
///
/// Calls come from the adapter's threads. No call blocks. Calls with a default are for recovery.
pub trait Node: Send + Sync + 'static {
    /// Carries out a message of another node. The adapter calls this in the order in which a node published its
    /// messages.
    fn deliver(&self, message: Message);

    /// Answers a question of another node. The stream ends with the last answer. The adapter calls this in order with
    /// the asker's messages.
    fn answer(&self, request: Request) -> BoxStream<'static, Answer>;

    /// Delivers an event that came by a [shared](History::is_shared) history, or carries out an order. Calls come in
    /// the order of the history. `trace` is the span that sent it.
    fn deliver_persisted(&self, entry: &Arc<Entry>, trace: Option<&TraceContext>) {
        let _ = (entry, trace);
    }

    /// Returns the packet of an event with an offset behind its arguments, for events of processes without sockets.
    /// Other packets are returned unchanged.
    fn write_offset(&self, namespace: &ByteString, frames: &Frames, offset: &str) -> Frames {
        let _ = (namespace, offset);
        frames.clone()
    }

    /// Moves all sockets up to this position of a shared history. Each earlier event was delivered, or was for no
    /// socket of this node.
    fn advance_to(&self, position: Position) {
        let _ = position;
    }

    /// Closes the connection of a client that returned to another node before this node noticed the loss. The future
    /// ends when the session is saved.
    fn give_up_session(&self, pid: &Id) -> BoxFuture<'static, ()> {
        let _ = pid;
        ready(()).boxed()
    }

    /// Closes a session that another node took over without asking. The session is not saved.
    fn fence(&self, pid: &Id) {
        let _ = pid;
    }

    /// Handles the loss of events of other nodes.
    ///
    /// With a shared history, recoverable connections are closed, because their clients were promised all events. These
    /// clients get new sessions. With a history per node, currently disconnected clients are not recovered.
    fn note_loss(&self) {}

    /// Returns false while threads are too far behind for more events by [`deliver_persisted`](Self::deliver_persisted).
    fn keeps_up(&self) -> bool {
        true
    }

    /// Returns the number of sessions, for load balancers.
    fn session_count(&self) -> usize;

    /// Returns true if the node takes no more sessions.
    fn is_full(&self) -> bool;

    /// Returns true if the node is draining: new sessions should go elsewhere.
    fn is_draining(&self) -> bool;
}
