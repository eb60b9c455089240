//! Sessions as the server persists them.

use std::time::{Duration, Instant};

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use sociable_protocol::{Id, NodeTag, Value};

use super::offset::Epoch;
use crate::history::Position;
use crate::nats::wire::Publisher;
use crate::{LeftRoom, LeftRooms, Room, SavedSession, Stay};

/// A session as the server persists it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    pub(super) epoch: String,
    pub(super) owner: NodeTag,
    pub(super) owner_epoch: u64,
    /// The stays on nodes: tag, from, to.
    pub(super) past: Vec<(NodeTag, u64, u64)>,
    /// The milliseconds between the connection's loss and the writing of this record, if it was lost. The server's
    /// clock dates the writing, because the clocks of nodes differ.
    pub(super) lost: Option<u64>,
    pub(super) namespace: ByteString,
    id: Id,
    rooms: Vec<(Room, RecordedPosition)>,
    data: Option<Value>,
    since: RecordedPosition,
    sent: Option<RecordedPosition>,
    pub(super) until: RecordedPosition,
    pub(super) shown: Vec<RecordedPosition>,
    /// The number of the owner's last event before the session was lost, if it was.
    #[serde(default)]
    pub(super) left: Option<u64>,
    /// The rooms that the socket left last, each with the positions of joining and leaving.
    #[serde(default)]
    left_rooms: Vec<(Room, RecordedPosition, RecordedPosition)>,
    /// The position up to which left rooms are dropped.
    #[serde(default)]
    left_dropped: Option<RecordedPosition>,
    /// True if the socket has left the room of its id.
    #[serde(default)]
    own_is_listed: bool,
}

/// A position as it is persisted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct RecordedPosition(pub(super) Option<NodeTag>, pub(super) u64, pub(super) u64);

impl From<Position> for RecordedPosition {
    fn from(Position { tag, own, place }: Position) -> Self {
        Self(tag, own, place)
    }
}

impl From<RecordedPosition> for Position {
    fn from(RecordedPosition(tag, own, place): RecordedPosition) -> Self {
        Self { tag, own, place }
    }
}

impl SessionRecord {
    /// Returns the record of a session of this owner. `left` is the number of the owner's last event before the session
    /// was lost, if it was.
    pub(super) fn new(session: &SavedSession, past: &[Stay], owner: Publisher, epoch: Epoch, left: Option<u64>) -> Self {
        let left_rooms = &session.left_rooms;
        Self {
            epoch: epoch.as_str().to_owned(),
            owner: owner.tag,
            owner_epoch: owner.epoch,
            past: past.iter().map(|stay| (stay.tag, stay.from, stay.to)).collect(),
            lost: session.lost.map(|lost| lost.elapsed().as_millis() as u64),
            namespace: session.namespace.clone(),
            id: session.id,
            rooms: session.rooms.iter().map(|(room, since)| (room.clone(), (*since).into())).collect(),
            data: session.data.clone(),
            since: session.since.into(),
            sent: session.sent.map(RecordedPosition::from),
            until: session.until.into(),
            shown: session.shown.iter().map(|shown| (*shown).into()).collect(),
            left,
            left_rooms: left_rooms.iter().map(|stay| (stay.room.clone(), stay.from.into(), stay.to.into())).collect(),
            left_dropped: left_rooms.dropped.map(RecordedPosition::from),
            own_is_listed: session.own_is_listed,
        }
    }

    pub(super) fn is_of(&self, me: Publisher) -> bool {
        (self.owner, self.owner_epoch) == (me.tag, me.epoch)
    }

    /// Returns the time since the loss or the last refresh, by the clock of the server that wrote the record.
    pub(super) fn away(&self, written: i128, now: i128) -> Duration {
        let since = u64::try_from(now.saturating_sub(written)).unwrap_or(0);
        Duration::from_millis(since.saturating_add(self.lost.unwrap_or(0)))
    }

    /// Returns the session. A lost one has been away for this time.
    pub(super) fn into_session(self, pid: Id, shown: Vec<Position>, away: Duration) -> SavedSession {
        let ago = self.lost.map(|_| away);
        SavedSession {
            namespace: self.namespace,
            pid,
            id: self.id,
            rooms: self.rooms.into_iter().map(|(room, since)| (room, since.into())).collect(),
            left_rooms: LeftRooms {
                stays: self.left_rooms.into_iter().map(|(room, from, to)| LeftRoom { room, from: from.into(), to: to.into() }).collect(),
                dropped: self.left_dropped.map(Position::from),
            },
            own_is_listed: self.own_is_listed,
            data: self.data,
            since: self.since.into(),
            sent: self.sent.map(Position::from),
            until: self.until.into(),
            shown,
            past: self.past.into_iter().map(|(tag, from, to)| Stay { tag, from, to }).collect(),
            lost: ago.map(|ago| Instant::now().checked_sub(ago).unwrap_or_else(Instant::now)),
        }
    }
}

#[cfg(test)]
impl SessionRecord {
    /// Returns a record for tests. `lost` is the time since the connection's loss, in milliseconds.
    pub(super) fn example(lost: Option<u64>) -> Self {
        let nowhere = RecordedPosition(None, 0, 0);
        Self {
            epoch: String::new(),
            owner: NodeTag::random(),
            owner_epoch: 1,
            past: vec![],
            lost,
            namespace: "/".into(),
            id: sociable_protocol::IdSource::new(NodeTag::random()).draw(),
            rooms: vec![],
            data: None,
            since: nowhere,
            sent: None,
            until: nowhere,
            shown: vec![],
            left: None,
            left_rooms: vec![],
            left_dropped: None,
            own_is_listed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_has_its_age_by_the_clock_of_the_server() {
        // The clocks of the nodes do not matter.
        let written = 1_700_000_000_000;
        let away = |lost, passed| SessionRecord::example(lost).away(written, written + passed);
        assert_eq!(away(Some(5_000), 10_000), Duration::from_secs(15));
        assert_eq!(away(None, 10_000), Duration::from_secs(10));
        assert_eq!(away(Some(5_000), -10_000), Duration::from_secs(5), "another server leads, whose clock is behind");
        assert_eq!(away(Some(u64::MAX), 10_000), Duration::from_millis(u64::MAX));
    }
}
