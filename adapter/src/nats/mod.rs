//! The adapter for many nodes, over NATS.
//!
//! # Layout, in the order of a message's way
//!
//! * `options`, `error`: settings of the adapter, and why it can't start.
//! * `adapter`: the calls of the node. `context`: state that the threads of the node share with the adapter's.
//!   `thread`: the adapter's thread, and its tasks.
//! * `links`, `connect`: the connections and their states.
//! * `wire`: envelopes and records, as bytes. `route`: the receivers of a record.
//! * `send_queue`, `sender`: records that wait to be sent, and the task that sends them. `bounded_queue`: the bound in
//!   bytes of this queue and that of the stream.
//! * `receiver`: the task that receives. `order`: the order of envelopes of several subscriptions. `gaps`: envelopes
//!   that never came.
//! * `dispatch`: carries out a record. `answering`: questions of other nodes. `adopted`: ids of other nodes that have
//!   members here.
//! * `members`, `membership`: the living nodes, and the task that finds them. `rate_limit`: the bound of its
//!   announcements. `questions`: questions of this node that await answers.
//! * `jetstream`: events and sessions that the server persists, if enabled.
//! * `stats`, `metrics`: counters, and their names for exporters.
//! * `emitter`: sends events to sockets of the nodes from another process. `watcher`: reads what the nodes send each other.
//!
//! Modules use each other in one direction: tasks use the context, the context the state, and the state no task.

mod adapter;
mod adopted;
mod answering;
mod bounded_queue;
mod connect;
mod context;
mod dispatch;
mod emitter;
mod error;
mod gaps;
mod jetstream;
mod links;
mod members;
mod membership;
mod metrics;
mod options;
mod order;
mod questions;
mod rate_limit;
mod receiver;
mod route;
mod send_queue;
mod sender;
mod stats;
mod thread;
mod watcher;
mod wire;

pub use adapter::NatsAdapter;
pub use emitter::{Emitter, EmitterError};
pub use error::NatsError;
pub use jetstream::options::JetStreamOptions;
pub use options::NatsOptions;
pub use sociable_nats::NatsAuth;
pub use stats::NatsStats;
pub use watcher::{Watched, WatchedOperation, Watcher};
