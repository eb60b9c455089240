//! What crosses the nodes of a cluster, and the trait by which a node meets whatever carries it.
//!
//! # Layout
//!
//! * [`message`]: what one node tells or asks the others, and what they answer.
//! * [`Adapter`]: the trait, with its promises.
//! * [`Local`]: the adapter of a node that is alone.
//! * [`History`]: what clients miss while their connections are lost; [`MemoryHistory`] keeps it on one node.
//!
//! The node knows nothing of the bus, and an adapter knows nothing of sockets: it carries [`Message`]s, [`Request`]s and [`Answer`]s.

mod history;
mod local;
pub mod message;

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

pub use history::{Entry, History, Limits, MemoryHistory, Missed, SavedSession, Usage};
pub use local::Local;
pub use message::{Answer, Ask, Message, Operation, Request, Room, SocketInfo, Target};

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
}

/// Carries what one node tells the others.
///
/// # Promises
///
/// * What one thread publishes, one after the other, arrives at every node in that order.
/// * A message arrives at each of the other nodes at most once, and never at the node that sent it.
/// * No call blocks its thread. An adapter that has to wait queues, with a bound, and refuses beyond it.
pub trait Adapter: Send + Sync + Debug + 'static {
    /// Called once, before anything else: `node` is where what the other nodes send has to go.
    fn start(&self, node: Arc<dyn Node>);

    /// Tells all other nodes something.
    ///
    /// # Errors
    ///
    /// The message was not taken. Being taken does not mean that it has arrived.
    fn publish(&self, message: Message) -> Result<(), AdapterError>;

    /// Asks all other nodes something. The stream gives their answers as they come, and ends when every node that was there at the
    /// beginning has given its last one or is gone. The one who asks has a deadline of its own, and drops the stream when it is over.
    fn request(&self, request: Request) -> BoxStream<'static, Answer>;

    /// The number of nodes that live, this one included.
    fn server_count(&self) -> BoxFuture<'static, usize>;

    /// Where lost sessions and what they miss are kept, if recovery is wanted. It is asked for once. By default the node keeps its own, in
    /// memory.
    fn history(&self, limits: Limits) -> Arc<dyn History> {
        Arc::new(MemoryHistory::new(limits))
    }

    /// Takes leave of the other nodes.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A node, as an adapter sees it. All calls return at once.
pub trait Node: Send + Sync + 'static {
    /// Does on this node what another one asked for.
    fn deliver(&self, message: Message);

    /// Answers a question of another node: the stream ends with the last answer.
    fn answer(&self, request: Request) -> BoxStream<'static, Answer>;
}
