//! A history that the nodes of a cluster share, persisted by JetStream. A client of a killed node recovers on another
//! one.
//!
//! # Layout, in the order of an event's way
//!
//! * `options`: the settings. `state`: this node's view of the history.
//! * `history`: the calls of the node. An event gets its number, enters the log, and is sent to the clients of this
//!   node at once.
//! * `publish_queue`, `publisher`: events that wait for the stream, and the task that publishes them. The task
//!   publishes one message at a time for each subject, until it is confirmed. An election of the servers loses, doubles
//!   or reorders no event.
//! * `consumer`: messages that the server republishes once it persisted them. Missing ones are read from the stream.
//! * `session_record`, `sessions`, `session_writer`: sessions of living clients in a bucket, and the task that writes
//!   them. `session_lookup`: reads them. `takeover`: takes a session over from another node.
//! * `log`: this node's events of the history. `store`: stream and bucket. `offset`: positions as clients see them.
//!
//! # Two numbers
//!
//! All nodes see an event at one place: its message's sequence in the stream, and its index in the message. The event's
//! own node sends it to clients without waiting for that place. Successive calls of an application (emit, leave,
//! disconnect) thereby take effect in succession.
//!
//! A client's progress is therefore a [`Position`](crate::Position) of two numbers. The client has all events of its
//! node up to the first, and all of the others up to the second.

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
        tracing::error!(target: "sociable::recovery", %error, "setting the limits of events and sessions failed; give the NATS server room for both");
    }
    tokio::join!(
        publisher::run(Arc::clone(&state), Arc::clone(&context)),
        consumer::run(Arc::clone(&state), Arc::clone(&context), client.clone()),
        session_writer::run(Arc::clone(&state), Arc::clone(&context)),
        session_writer::guard(Arc::clone(&state), Arc::clone(&context)),
        takeover::give_up(Arc::clone(&state), Arc::clone(&context), client),
    );
}
