//! Reads sessions from the bucket.

use sociable_protocol::Id;

use super::session_record::SessionRecord;
use super::state::StreamState;
use super::store::{StoreError, StoredValue};
use crate::nats::wire;

/// A session in the bucket.
pub(super) enum LoadedSession {
    /// Never written, or too old.
    Missing,
    Deleted,
    Found(Box<SessionRecord>, StoredValue),
}

/// Reads a session from the bucket.
pub(super) async fn load_session(state: &StreamState, pid: &Id) -> Result<LoadedSession, StoreError> {
    let Some(session) = state.store.session(pid).await? else { return Ok(LoadedSession::Missing) };
    let Some(value) = &session.value else { return Ok(LoadedSession::Deleted) };
    Ok(wire::decode_value(value).map_or(LoadedSession::Missing, |record| LoadedSession::Found(Box::new(record), session)))
}
