//! The tasks that write sessions into the bucket, and check whether other nodes took them.
//!
//! Each session is one key, written by compare-and-set alone. A node that finds another's write has lost the session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{UpdateError, UpdateErrorKind};
use futures_util::StreamExt;
use sociable_protocol::Id;
use tokio::task::JoinSet;

use super::session_lookup::{LoadedSession, load_session};
use super::sessions::Write;
use super::state::StreamState;
use super::store::{Store, StoreError, is_full};
use crate::nats::context::NatsContext;
use crate::nats::links::Link;

/// Sessions that are written at the same time.
const WRITERS: usize = 128;
/// The interval at which this node checks whether it was away.
const GUARD: Duration = Duration::from_secs(1);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// Attempts to write a session.
const TRIES: usize = 150;

/// Writes sessions that change.
pub(super) async fn run(state: Arc<StreamState>, context: Arc<NatsContext>) {
    let mut changes = state.sessions.changes.lock().await;
    state.sessions.note_interruption();
    let mut writers = JoinSet::new();
    while let Some(pid) = changes.recv().await {
        while writers.len() >= WRITERS {
            writers.join_next().await;
        }
        while writers.try_join_next().is_some() {}
        let (state, context) = (Arc::clone(&state), Arc::clone(&context));
        writers.spawn(async move {
            while let Some((write, revision)) = state.sessions.begin_write(&pid) {
                let revision = write_session(&state, &context, &pid, &write, revision).await;
                if !state.sessions.finish_write(&pid, revision) {
                    break;
                }
            }
        });
    }
}

/// Writes a session until it is persisted, deleted, or found to be another node's. Returns its revision.
async fn write_session(state: &StreamState, context: &NatsContext, pid: &Id, mut write: &Write, mut revision: Option<u64>) -> Option<u64> {
    if let Write::Put(_, after) = write
        && state.queue.flushed(*after).await.is_err()
    {
        // Some events for the session are not in the stream, so it can't be recovered.
        write = &Write::Delete;
    }
    for _ in 0..TRIES {
        context.links.wait_until_up(Link::History).await;
        match try_write(state, pid, write, revision).await {
            Ok(written) => {
                context.counters.sessions_saved.increment();
                return written;
            }
            Err(Refused::Changed) => match load_session(state, pid).await {
                // The record is an earlier write of this node, whose answer was lost.
                Ok(LoadedSession::Found(record, stored)) if record.is_of(state.me) => revision = Some(stored.revision),
                Ok(LoadedSession::Missing) => revision = None,
                Ok(LoadedSession::Found(..) | LoadedSession::Deleted) => {
                    if matches!(write, Write::Put(..)) {
                        fence(context, pid);
                    }
                    return None;
                }
                Err(error) => tracing::debug!(target: "sociable::recovery", %error, "session read failed; retrying"),
            },
            Err(Refused::Other(error)) if is_full(&*error) => {
                context.counters.sessions_unsaved.increment();
                state.queue.note_refusal(&*error);
                // The persisted record is outdated.
                let purged = revision.is_none() || state.store.purge(pid).await.is_ok();
                return if purged { None } else { revision };
            }
            Err(Refused::Other(error)) => {
                tracing::debug!(target: "sociable::recovery", %error, "session write failed; retrying");
                mend_bucket(state, context).await;
            }
        }
        if matches!((write, revision), (Write::Delete, None)) {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    context.counters.sessions_unsaved.increment();
    tracing::warn!(target: "sociable::recovery", "session was not saved");
    if matches!(write, Write::Delete) { None } else { revision }
}

/// Records that another node has a session of this one.
fn fence(context: &NatsContext, pid: &Id) {
    context.counters.fenced.increment();
    if let Some(node) = context.node.get() {
        node.fence(pid);
    }
}

enum Refused {
    /// Another write has changed the revision.
    Changed,
    Other(StoreError),
}

impl From<UpdateError> for Refused {
    fn from(error: UpdateError) -> Self {
        match error.kind() {
            UpdateErrorKind::WrongLastRevision => Self::Changed,
            _ => Self::Other(error.into()),
        }
    }
}

async fn try_write(state: &StreamState, pid: &Id, write: &Write, revision: Option<u64>) -> Result<Option<u64>, Refused> {
    let sessions = &state.store.sessions;
    match (write, revision) {
        // The key must be new: the node that deleted it had taken the session over.
        (Write::Put(bytes, _), revision) => Ok(Some(sessions.update(pid.as_str(), bytes.clone(), revision.unwrap_or(0)).await?)),
        (Write::Delete, None) => Ok(None),
        (Write::Delete, Some(revision)) => Ok(sessions.delete_expect_revision(pid.as_str(), Some(revision)).await.map(|()| None)?),
    }
}

/// Creates the bucket again if it was deleted.
async fn mend_bucket(state: &StreamState, context: &NatsContext) {
    // One task creates it for all.
    let Ok(_mending) = state.sessions.mending.try_lock() else { return };
    let store = &state.store;
    if store.sessions_are_gone().await {
        tracing::error!(target: "sociable::recovery", "bucket of sessions was deleted; creating it again");
        let options = context.options.jetstream.clone().unwrap_or_default();
        drop(Store::open(&store.context.client(), &context.options.connection.cluster, &options).await);
    }
}

/// Checks for sessions that other nodes took over, after a time in which this one may have seemed dead.
pub(super) async fn guard(state: Arc<StreamState>, context: Arc<NatsContext>) {
    let mut was_up = true;
    loop {
        let before = Instant::now();
        tokio::time::sleep(GUARD).await;
        let was_away = before.elapsed() > GUARD + context.options.heartbeat_interval;
        let up = context.links.are_up();
        if up && (was_away || !was_up) {
            tracing::info!(target: "sociable::recovery", "node was away; checking its sessions");
            check_owners(&state, &context).await;
        }
        was_up = up;
    }
}

async fn check_owners(state: &Arc<StreamState>, context: &Arc<NatsContext>) {
    let mine = state.sessions.persisted();
    let check_one = |pid: Id| async move {
        // A write in progress detects the takeover itself.
        state.sessions.settled(&pid).await;
        let is_mine = match load_session(state, &pid).await {
            Ok(LoadedSession::Found(record, _)) => record.is_of(state.me),
            Ok(LoadedSession::Deleted) => !state.sessions.contains(&pid),
            Ok(LoadedSession::Missing) | Err(_) => true,
        };
        if !is_mine {
            state.sessions.remove(&pid);
            fence(context, &pid);
        }
    };
    futures_util::stream::iter(mine).for_each_concurrent(WRITERS, check_one).await;
}
