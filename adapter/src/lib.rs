//! What crosses the nodes of a cluster, and the trait by which a node meets whatever carries it.
//!
//! # Layout
//!
//! * [`message`]: what one node tells or asks the others, and what they answer.
//! * [`Adapter`]: the trait, with its promises.
//! * [`SingleNodeAdapter`]: the adapter of a node that is alone.
//! * `NatsAdapter`, with the feature `nats`: many nodes over NATS. `Emitter`: another process that sends events to their sockets.
//! * `conformance`, with that feature: checks that every adapter has to pass.
//! * [`Figures`] and [`Latency`]: what an adapter has counted and measured.
//! * [`History`]: what clients miss while their connections are lost; [`MemoryHistory`] keeps it on one node.
//!
//! The node knows nothing of the bus, and an adapter knows nothing of sockets: it carries [`Message`]s, [`Request`]s and [`Answer`]s.

#[cfg(feature = "conformance")]
pub mod conformance;
mod history;
mod latency;
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
use sociable_protocol::{Frames, Id, NodeTag};
use thiserror::Error;

pub use history::{Entry, History, LeftRoom, LeftRooms, Limits, MemoryHistory, Missed, Position, Reach, SavedSession, Stay, Usage};
pub use latency::{Latency, Times};
pub use message::{Answer, Ask, Message, Operation, Request, Room, SocketInfo, Target, own_room};
#[cfg(feature = "nats")]
pub use nats::{Emitter, EmitterError, JetStreamOptions, NatsAdapter, NatsAuth, NatsError, NatsOptions, NatsStats};
pub use single_node::SingleNodeAdapter;

/// Why a message did not get on its way to the other nodes. What it asks for was done on this node all the same.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdapterError {
    /// The other nodes can't be reached now. Try again later, or watch the readiness of the node.
    #[error("the other nodes can't be reached: {0}")]
    Unreachable(String),
    /// The message is longer than what carries it allows. Split it.
    #[error("the message has {bytes} bytes, but at most {limit} can be sent to other nodes")]
    TooLarge {
        /// The length of the message.
        bytes: usize,
        /// The longest that is carried.
        limit: usize,
    },
    /// So much waits to be sent that no more is taken. Emit less, or wait and try again.
    #[error("{limit} bytes wait to be sent to other nodes, and no more are taken")]
    Full {
        /// The most that may wait.
        limit: usize,
    },
}

/// What an adapter has counted and measured since the start, for exporters.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Numbers that only grow, with their names.
    pub counters: Vec<(&'static str, u64)>,
    /// How long things took, with their names.
    pub latencies: Vec<(&'static str, Times)>,
}

/// Carries what one node tells the others.
///
/// # Promises
///
/// * What one thread publishes, one after the other, arrives at every node in that order.
/// * A message arrives at each of the other nodes at most once, and never at the node that sent it.
/// * No call blocks its thread. An adapter that has to wait queues, with a bound, and refuses beyond it.
pub trait Adapter: Send + Sync + Debug + 'static {
    /// The tag of this process, which is in all ids that it makes, if the adapter has seen to it that no other node bears it. By default the
    /// node draws one.
    fn tag(&self) -> Option<NodeTag> {
        None
    }

    /// Called once, before anything else but [`tag`](Self::tag) and [`history`](Self::history): `node` is where what the other nodes send has to go.
    fn start(&self, node: Arc<dyn Node>);

    /// Tells all other nodes something.
    ///
    /// # Errors
    ///
    /// The message was not taken. Being taken does not mean that it has arrived.
    fn publish(&self, message: Message) -> Result<(), AdapterError>;

    /// Asks all other nodes something. The stream gives their answers as they come, and ends when every node that was there at the
    /// beginning has given its last one or is gone. The one who asks has a deadline of its own, and drops the stream when it is over. What can't be sent is
    /// answered by [`Answer::Failed`].
    fn request(&self, request: Request) -> BoxStream<'static, Answer>;

    /// This node has members of a room that bears a socket's id with the tag of another node: a socket that was recovered here, or one that
    /// joined a room of that name. What is for the room has to come here too.
    fn adopt(&self, id: Id) {
        let _ = id;
    }

    /// It has them no more. There is one call for each of [`adopt`](Self::adopt).
    fn release(&self, id: Id) {
        let _ = id;
    }

    /// False while the other nodes can't be reached, as far as is known. What is for sockets of this node is delivered meanwhile.
    fn is_connected(&self) -> bool {
        true
    }

    /// False while what has to be kept for the other nodes is refused: then events go on without being kept, and clients that lose their
    /// connection begin anew.
    fn keeps(&self) -> bool {
        true
    }

    /// The number of nodes that live, this one included.
    fn server_count(&self) -> BoxFuture<'static, usize>;

    /// What was counted and measured since the start. By default nothing.
    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// How this node is has changed so that whoever places sessions has to know it now: that it is [draining](Node::is_draining).
    fn announce(&self) {}

    /// Where lost sessions and what they miss are kept, if recovery is wanted. It is asked for once. By default the node keeps its own, in
    /// memory.
    fn history(&self, limits: Limits) -> Arc<dyn History> {
        Arc::new(MemoryHistory::new(limits))
    }

    /// Takes leave of the other nodes.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A node, as an adapter sees it. All calls return at once. Those with a default are about recovery.
pub trait Node: Send + Sync + 'static {
    /// Does on this node what another one asked for.
    fn deliver(&self, message: Message);

    /// Answers a question of another node: the stream ends with the last answer.
    fn answer(&self, request: Request) -> BoxStream<'static, Answer>;

    /// Sends an event of another node on that has come by a [shared](History::is_shared) history, or carries out an order. Called in the order of the history.
    fn keep(&self, entry: &Arc<Entry>) {
        let _ = entry;
    }

    /// An event of a process that has no sockets, with an offset behind its arguments. What is no event is given back as it is.
    fn write_offset(&self, namespace: &ByteString, frames: &Frames, offset: &str) -> Frames {
        let _ = (namespace, offset);
        frames.clone()
    }

    /// All events up to here have come by a shared history: those who are served have got so far, though nothing was for them.
    fn reached(&self, position: Position) {
        let _ = position;
    }

    /// A client of this node has come back to another one: ends its connection, whose loss was not noticed yet. Ends when the session is saved.
    fn give_up(&self, pid: &Id) -> BoxFuture<'static, ()> {
        let _ = pid;
        ready(()).boxed()
    }

    /// Another node has taken the session of this one's client, who was not heard of: whoever still uses it here is cut off, and nothing of it is
    /// saved.
    fn fence(&self, pid: &Id) {
        let _ = pid;
    }

    /// Events of other nodes are lost for good. Where nodes share a history, connections that can be recovered are closed, and their clients
    /// come back as new ones: they were promised all. Where each has its own, what was lost would be missing in it: who is away does not come back as
    /// who it was.
    fn fall_behind(&self) {}

    /// False while threads are so far behind that they should not be given more of what [`keep`](Self::keep) brings.
    fn keeps_up(&self) -> bool {
        true
    }

    /// The sessions of this node, for those who place new ones.
    fn session_count(&self) -> usize;

    /// True if it has as many sessions as it takes.
    fn is_full(&self) -> bool;

    /// True if new sessions should go elsewhere, because it is going.
    fn is_draining(&self) -> bool;
}
