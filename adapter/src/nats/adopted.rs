//! Ids of other nodes that have members here.

use parking_lot::Mutex;
use sociable_protocol::Id;
use sociable_protocol::maps::Map;
use tokio::sync::Notify;

/// Rooms that are named like ids of other nodes and have members here.
#[derive(Debug, Default)]
pub(crate) struct AdoptedIds {
    members: Mutex<Map<Id, usize>>,
    /// Added and removed ids whose subscriptions the receiver has not changed yet.
    changed: Mutex<Vec<Id>>,
    /// Notified of changes.
    pub(crate) wake: Notify,
    /// Notified of the first id after there was none.
    pub(crate) first: Notify,
}

impl AdoptedIds {
    /// Counts a member of the room of this id.
    pub(crate) fn add(&self, id: Id) {
        let mut members = self.members.lock();
        let count = members.entry(id).or_default();
        *count += 1;
        let is_new = *count == 1;
        let is_first = is_new && members.len() == 1;
        drop(members);
        if is_first {
            self.first.notify_one();
        }
        if is_new {
            self.mark_changed(id);
        }
    }

    /// Counts a member less.
    pub(crate) fn remove(&self, id: Id) {
        let mut members = self.members.lock();
        let Some(count) = members.get_mut(&id) else { return };
        *count -= 1;
        if *count == 0 {
            members.remove(&id);
            drop(members);
            self.mark_changed(id);
        }
    }

    fn mark_changed(&self, id: Id) {
        self.changed.lock().push(id);
        self.wake.notify_one();
    }

    /// Returns the ids that were added or removed since the last call.
    pub(crate) fn drain_changes(&self) -> Vec<Id> {
        std::mem::take(&mut *self.changed.lock())
    }

    /// Has the next [`drain_changes`](Self::drain_changes) return all ids: a new receiver follows none yet.
    pub(crate) fn mark_all_changed(&self) {
        let ids: Vec<Id> = self.members.lock().keys().copied().collect();
        self.changed.lock().extend(ids);
    }

    pub(crate) fn contains(&self, id: &Id) -> bool {
        self.members.lock().contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use sociable_protocol::{IdSource, NodeTag};

    use super::*;

    #[test]
    fn adopted_ids_change_with_the_first_and_last_member() {
        let (adopted, id) = (AdoptedIds::default(), IdSource::new(NodeTag::random()).draw());
        adopted.add(id);
        adopted.add(id);
        assert_eq!((adopted.drain_changes(), adopted.len()), (vec![id], 1));
        adopted.remove(id);
        assert_eq!((adopted.drain_changes(), adopted.contains(&id)), (vec![], true));
        adopted.remove(id);
        adopted.remove(id);
        assert_eq!((adopted.drain_changes(), adopted.contains(&id)), (vec![id], false));
    }

    #[test]
    fn adopted_ids_notify_of_the_first_after_none() {
        let (adopted, mut ids) = (AdoptedIds::default(), IdSource::new(NodeTag::random()));
        let (one, other) = (ids.draw(), ids.draw());
        adopted.add(one);
        assert!(adopted.first.notified().now_or_never().is_some());
        adopted.add(other);
        assert!(adopted.first.notified().now_or_never().is_none());
        [one, other].into_iter().for_each(|id| adopted.remove(id));
        adopted.add(other);
        assert!(adopted.first.notified().now_or_never().is_some());
    }
}
