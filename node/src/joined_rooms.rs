//! The rooms of one socket, in the order in which it joined them.

use sociable_adapter::Room;
use sociable_protocol::maps::Map;

/// Up to this number, rooms are searched linearly: as fast as a map, and smaller.
const FEW: usize = 16;

/// A list of rooms with removal in constant time, whatever its length.
#[derive(Debug, Default)]
pub(crate) struct JoinedRooms {
    /// The rooms. Removals from a long list leave gaps.
    rooms: Vec<Option<Room>>,
    /// The index of each room, if there are many.
    places: Option<Box<Map<Room, u32>>>,
}

impl JoinedRooms {
    /// Adds a room that is not in the list.
    pub(crate) fn add(&mut self, room: Room) {
        if let Some(places) = &mut self.places {
            places.insert(room.clone(), self.rooms.len() as u32);
        }
        self.rooms.push(Some(room));
        if self.places.is_none() && self.rooms.len() > FEW {
            self.note_places();
        }
    }

    /// Returns whether a room is in the list.
    pub(crate) fn contains(&self, room: &Room) -> bool {
        match &self.places {
            Some(places) => places.contains_key(room),
            None => self.iter().any(|joined| joined == room),
        }
    }

    /// Removes a room.
    pub(crate) fn remove(&mut self, room: &Room) {
        let Some(places) = &mut self.places else {
            return self.rooms.retain(|joined| joined.as_ref() != Some(room));
        };
        let Some(place) = places.remove(room) else { return };
        self.rooms[place as usize] = None;
        // Each compaction is paid for by the removals that made the gaps.
        if self.rooms.len() > 2 * places.len() {
            self.rooms.retain(Option::is_some);
            self.rooms.shrink_to(2 * self.rooms.len());
            self.note_places();
        }
    }

    fn note_places(&mut self) {
        let place = |(place, room): (usize, &Option<Room>)| Some((room.clone()?, place as u32));
        let many = self.rooms.len() > FEW / 2;
        self.places = many.then(|| Box::new(self.rooms.iter().enumerate().filter_map(place).collect()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().flatten()
    }

    /// Removes all rooms.
    pub(crate) fn drain(&mut self) -> Vec<Room> {
        std::mem::take(self).rooms.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(joined: &JoinedRooms) -> Vec<String> {
        joined.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rooms_keep_the_order_of_their_joins() {
        let (mut joined, mut model) = (JoinedRooms::default(), vec![]);
        let mut seed = 7u64;
        for step in 0..4_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let grows = (step / 500) % 2 == 0;
            if model.is_empty() || (seed >> 33) % 4 < if grows { 3 } else { 1 } {
                joined.add(Room::from(format!("room {step}")));
                model.push(format!("room {step}"));
            } else {
                let gone = model.remove((seed >> 40) as usize % model.len());
                joined.remove(&Room::from(gone));
            }
            assert_eq!(names(&joined), model);
            assert!(model.last().is_none_or(|last| joined.contains(&Room::from(last.clone()))));
            assert!(!joined.contains(&Room::from_static("not there")));
            let gaps = joined.rooms.len() - model.len();
            assert!(gaps <= model.len(), "{gaps} gaps among {} rooms", model.len());
            assert_eq!(joined.places.as_ref().map(|places| places.len()), joined.places.is_some().then_some(model.len()));
        }
        joined.remove(&Room::from_static("not there"));
        assert_eq!(joined.drain().len(), model.len());
        assert_eq!(names(&joined), Vec::<String>::new());
    }
}
