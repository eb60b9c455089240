//! The state of the application: the last messages of each room.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use serde::Serialize;

use crate::Room;

/// The number of messages kept per room.
const LENGTH: usize = 50;

/// A message.
#[derive(Clone, Serialize)]
pub(crate) struct Said {
    pub name: String,
    pub text: String,
}

/// The last messages of each room.
#[derive(Default)]
pub(crate) struct History(Mutex<HashMap<Room, VecDeque<Said>>>);

impl History {
    pub(crate) fn add(&self, room: Room, said: Said) {
        let mut rooms = self.0.lock();
        let words = rooms.entry(room).or_default();
        if words.len() == LENGTH {
            words.pop_front();
        }
        words.push_back(said);
    }

    pub(crate) fn of(&self, room: Room) -> Vec<Said> {
        self.0.lock().get(&room).into_iter().flatten().cloned().collect()
    }
}
