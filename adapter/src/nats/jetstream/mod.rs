//! A history that the nodes of a cluster share, kept by JetStream: a client whose node was killed comes back to another one.
//!
//! # Layout, in the order of an event's way
//!
//! * `options`: the settings. `state`: what this node has of the history.
//! * `history`: what the node calls. It gives an event its number, adds it to the log, and has it sent to the clients of this node at once.
//! * `publish_queue`, `publisher`: events that wait for the stream, and the task that publishes them: one message at a time for each subject,
//!   each until it is confirmed. Nothing is lost, doubled or reordered while the servers elect a leader.
//! * `consumer`: messages that the server republishes once it persisted them. What does not come is read from the stream.
//! * `session_record`, `sessions`, `session_writer`: sessions of living clients in a bucket, and the task that writes them. `session_lookup`:
//!   how they are read. `takeover`: how a node takes one over from another.
//! * `log`: the events, as far as this node knows them. `store`: stream and bucket. `offset`: positions as clients are shown them.
//!
//! # Two numbers
//!
//! An event stands at a place that all nodes see: the sequence of its message in the stream, and where it is in the message. But its own node
//! sends it to its clients without waiting for that, so that what an application does in a row (emit, leave, disconnect) happens in a row.
//! What a client has is therefore two numbers, a [`Position`](crate::Position): all of the node that served it up to the first, all of the
//! others up to the second.

mod consumer;
pub(super) mod history;
mod log;
mod offset;
pub(super) mod options;
mod publish_queue;
pub(super) mod publisher;
mod session_lookup;
mod session_record;
mod session_writer;
mod sessions;
pub(super) mod state;
pub(super) mod store;
mod takeover;

use std::sync::Arc;

use async_nats::Client;

use self::state::StreamState;
use super::context::NatsContext;

/// Runs the tasks of the history for as long as the node lives.
pub(super) async fn run(state: Arc<StreamState>, context: Arc<NatsContext>, client: Client) {
    let options = context.options.jetstream.clone().unwrap_or_default();
    if let Err(error) = state.store.adjust(state.max_age(), state.session_age(), &options).await {
        tracing::error!(target: "sociable::recovery", %error, "setting the limits of events and sessions failed; has the NATS server room for both?");
    }
    tokio::join!(
        publisher::run(Arc::clone(&state), Arc::clone(&context)),
        consumer::run(Arc::clone(&state), Arc::clone(&context), client.clone()),
        session_writer::run(Arc::clone(&state), Arc::clone(&context)),
        session_writer::guard(Arc::clone(&state), Arc::clone(&context)),
        takeover::give_up(Arc::clone(&state), Arc::clone(&context), client),
    );
}
