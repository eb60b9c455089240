//! The adapter for many nodes, over NATS.
//!
//! # Layout, in the order of a message's way
//!
//! * `options`, `error`: settings of the adapter, and why it can't start.
//! * `adapter`: what the node calls. `context`: what its threads share with the adapter's. `thread`: that thread, and its tasks.
//! * `links`, `connect`: the connections, and which of them are up.
//! * `wire`: envelopes and records, as bytes. `route`: the receivers of a record.
//! * `send_queue`, `sender`: records that wait to be sent, and the task that sends them. `bounded_queue`: the bound in bytes of this queue and
//!   that of the stream.
//! * `receiver`: the task that receives. `order`: how envelopes of several subscriptions are put in order. `gaps`: envelopes that never came.
//! * `dispatch`: what a record asks for. `answering`: questions of other nodes. `adopted`: ids of other nodes that have members here.
//! * `members`, `membership`: the nodes that live, and the task that finds out (`rate_limit`: how often it speaks). `questions`: questions of this node that await answers.
//! * `jetstream`: events and sessions that the server persists, if that is wanted.
//! * `stats`, `metrics`: counters, and their names for exporters.
//! * `emitter`: another process that sends events to sockets of the nodes.
//!
//! Modules use each other in one direction: a task knows the context, the context knows the state, and the state knows no task.

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
mod wire;

pub use adapter::NatsAdapter;
pub use emitter::{Emitter, EmitterError};
pub use error::NatsError;
pub use jetstream::options::JetStreamOptions;
pub use options::NatsOptions;
pub use sociable_nats::NatsAuth;
pub use stats::NatsStats;
