//! Messages between the nodes of a cluster, and the trait of whatever carries them.
//!
//! # Layout
//!
//! * [`message`]: messages, questions and answers between nodes.
//! * [`Adapter`]: the trait, with its promises.
//! * [`SingleNodeAdapter`]: the adapter of a single node.
//! * `NatsAdapter`, with the feature `nats`: many nodes over NATS. `Emitter`: another process that sends events to their sockets.
//! * `conformance`, with that feature: checks that every adapter has to pass.
//! * [`MetricsSnapshot`] and [`Latency`]: counts and latencies of an adapter.
//! * [`History`]: events and sessions for connection state recovery. [`MemoryHistory`] keeps them on one node.
//!
//! The node knows nothing of the bus, and an adapter knows nothing of sockets: it carries [`Message`]s, [`Request`]s and [`Answer`]s.

#[cfg(feature = "conformance")]
pub mod conformance;
mod history;
mod maps;
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
pub use nats::{Emitter, EmitterError, JetStreamOptions, NatsAdapter, NatsAuth, NatsError, NatsOptions, NatsStats};
pub use single_node::SingleNodeAdapter;
pub use sociable_protocol::{Latency, Times};

/// A message that does not reach the other nodes. This node carried it out all the same.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdapterError {
    /// The other nodes can't be reached now. Try again later, or watch the readiness of the node.
    #[error("the other nodes can't be reached: {0}")]
    Unreachable(String),
    /// The message is longer than the bus allows. Split it.
    #[error("the message has {bytes} bytes, but at most {limit} can be sent to other nodes")]
    TooLarge {
        /// The length of the message, in bytes.
        bytes: usize,
        /// The longest message that is carried, in bytes.
        limit: usize,
    },
    /// The queue of messages for other nodes is full. Emit less, or wait and try again.
    #[error("{limit} bytes wait to be sent to other nodes, and no more are taken")]
    Full {
        /// The bound of the queue, in bytes.
        limit: usize,
    },
}

/// Counts and latencies of an adapter since its start, for exporters.
#[derive(Clone, Debug, Default)]
pub struct MetricsSnapshot {
    /// Counters with their names.
    pub counters: Vec<(&'static str, u64)>,
    /// Latencies with their names.
    pub latencies: Vec<(&'static str, Times)>,
}

/// Carries messages between nodes.
///
/// # Promises
///
/// * Messages that one thread publishes arrive at every node in their order.
/// * A message arrives at each of the other nodes at most once, and never at its sender.
/// * No call blocks its thread. An adapter that has to wait queues, with a bound, and refuses beyond it.
pub trait Adapter: Send + Sync + Debug + 'static {
    /// Returns the tag of this process, which is part of all its ids, if the adapter ensured that no other node has it. By default the node
    /// draws one.
    fn tag(&self) -> Option<NodeTag> {
        None
    }

    /// Starts the adapter. Messages of other nodes go to `node`. Only [`tag`](Self::tag) and [`history`](Self::history) are called before.
    fn start(&self, node: Arc<dyn Node>);

    /// Queues a message for all other nodes.
    ///
    /// # Errors
    ///
    /// The message was not queued. A queued message may still be lost.
    fn publish(&self, message: Message) -> Result<(), AdapterError>;

    /// Asks all other nodes, and returns their answers as they come. The stream ends when each node that was a member at the beginning has
    /// given its last answer, or is gone. The caller drops the stream at its own deadline. A question that can't be sent is answered by
    /// [`Answer::Failed`].
    fn request(&self, request: Request) -> BoxStream<'static, Answer>;

    /// Subscribes this node to a room named like the id of another node's socket. It has a member here: a recovered socket, or one that joined
    /// a room of that name.
    fn adopt(&self, id: Id) {
        let _ = id;
    }

    /// Ends one [`adopt`](Self::adopt): the member is gone.
    fn release(&self, id: Id) {
        let _ = id;
    }

    /// Returns false while the other nodes can't be reached, as far as is known. Sockets of this node still get their messages.
    fn is_connected(&self) -> bool {
        true
    }

    /// Returns false while a shared history refuses events. They are delivered without being persisted, and clients that lose their connection
    /// get new sessions.
    fn persists(&self) -> bool {
        true
    }

    /// Returns the number of living nodes, this one included.
    fn server_count(&self) -> BoxFuture<'static, usize>;

    /// Returns counts and latencies since the start. By default there are none.
    fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot::default()
    }

    /// Publishes the node's state immediately, for example when [draining](Node::is_draining) starts.
    fn announce(&self) {}

    /// Returns the history of events and sessions, if recovery is on. It is called once. By default each node has its own, in memory.
    fn history(&self, limits: Limits) -> Arc<dyn History> {
        Arc::new(MemoryHistory::new(limits))
    }

    /// Announces the leave to the other nodes, and closes the connections.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A node, as its adapter sees it. No call blocks. Calls with a default are about recovery.
pub trait Node: Send + Sync + 'static {
    /// Carries out a message of another node.
    fn deliver(&self, message: Message);

    /// Answers a question of another node. The stream ends with the last answer.
    fn answer(&self, request: Request) -> BoxStream<'static, Answer>;

    /// Delivers an event of another node that came by a [shared](History::is_shared) history, or carries out an order. Calls come in the order of
    /// the history. `trace` is the span that sent it.
    fn deliver_persisted(&self, entry: &Arc<Entry>, trace: Option<&TraceContext>) {
        let _ = (entry, trace);
    }

    /// Returns the packet of an event with an offset behind its arguments, for events of processes without sockets. Other packets are returned
    /// unchanged.
    fn write_offset(&self, namespace: &ByteString, frames: &Frames, offset: &str) -> Frames {
        let _ = (namespace, offset);
        frames.clone()
    }

    /// Moves all sockets up to this position of a shared history: no event before it is missing, or was for them.
    fn advance_to(&self, position: Position) {
        let _ = position;
    }

    /// Ends the connection of a client that came back to another node before its loss was noticed here. The future ends when the session is saved.
    fn give_up_session(&self, pid: &Id) -> BoxFuture<'static, ()> {
        let _ = pid;
        ready(()).boxed()
    }

    /// Closes a session that another node has taken over without asking. Nothing of it is saved.
    fn fence(&self, pid: &Id) {
        let _ = pid;
    }

    /// Handles the loss of events of other nodes. With a shared history, recoverable connections are closed, and their clients get new sessions:
    /// they were promised all events. With a history per node, clients that are away now are not recovered.
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
