//! Positions as clients see them.
//!
//! All offsets of events have the same length. A node can thus replace another node's offset by its own without
//! encoding the packet again. A returning client gets longer offsets with its missed events. These also list the nodes
//! whose private events the client has.

use sociable_protocol::NodeTag;

use crate::history::Position;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const EPOCH: usize = 6;
const PLACE: usize = 11;
const TAG: usize = 4;
const OWN: usize = 8;
/// The length of the offset of an event.
pub(crate) const WIDTH: usize = EPOCH + PLACE + TAG + OWN;
/// A placeholder for the tag: no node draws it.
const NOBODY: &str = "....";
/// The most nodes whose private events an offset lists.
pub(super) const MAX_BESIDES: usize = 256;

/// A mark that distinguishes the offsets of two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch([u8; EPOCH]);

impl Epoch {
    /// Returns the epoch of a stream that was created at this time.
    pub(crate) fn of(created: i128) -> Self {
        // Streams are created seconds apart at least, so the lower bits differ.
        let mut text = String::new();
        put(&mut text, (created as u64) >> 10, EPOCH);
        let mut epoch = [b'-'; EPOCH];
        epoch.copy_from_slice(text.as_bytes());
        Self(epoch)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Writes a number in so many characters. A longer number loses its higher digits.
fn put(text: &mut String, number: u64, width: usize) {
    for at in (0..width).rev() {
        let sextet = if at * 6 < 64 { (number >> (at * 6)) & 63 } else { 0 };
        text.push(char::from(ALPHABET[sextet as usize]));
    }
}

fn split_off<'a>(text: &mut &'a str, width: usize) -> Option<&'a str> {
    let (taken, rest) = text.split_at_checked(width)?;
    *text = rest;
    Some(taken)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().try_fold(0u64, |number, byte| {
        let sextet = ALPHABET.iter().position(|known| *known == byte)?;
        Some(number << 6 | sextet as u64)
    })
}

/// Returns the offset of a position.
pub(crate) fn encode(epoch: Epoch, position: &Position) -> String {
    let mut text = String::with_capacity(WIDTH);
    text.push_str(epoch.as_str());
    put(&mut text, position.place, PLACE);
    text.push_str(position.tag.as_ref().map_or(NOBODY, NodeTag::as_str));
    put(&mut text, position.own, OWN);
    text
}

/// Returns the offset of a client at a position that also has private events of these nodes.
pub(crate) fn encode_besides(epoch: Epoch, position: &Position, besides: &[(NodeTag, u64)]) -> String {
    let mut text = encode(epoch, position);
    for (tag, own) in besides {
        text.push_str(tag.as_str());
        put(&mut text, *own, OWN);
    }
    text
}

/// Returns true for an offset of another stream.
pub(crate) fn is_foreign(epoch: Epoch, text: &str) -> bool {
    let other = text.as_bytes().first_chunk().copied().map(Epoch).filter(|other| *other != epoch);
    other.is_some_and(|other| number(other.as_str()).is_some() && decode(other, text).is_some())
}

/// Returns the positions of an offset that a node may have written.
pub(crate) fn decode(epoch: Epoch, written: &str) -> Option<Vec<Position>> {
    let text = &mut { written };
    if split_off(text, EPOCH)? != epoch.as_str() {
        return None;
    }
    let place = number(split_off(text, PLACE)?)?;
    let tag = split_off(text, TAG)?;
    let tag = if tag == NOBODY { None } else { Some(NodeTag::try_from(tag).ok()?) };
    let mut positions = vec![Position { tag, own: number(split_off(text, OWN)?)?, place }];
    while !text.is_empty() {
        if positions.len() > MAX_BESIDES {
            return None;
        }
        let tag = NodeTag::try_from(split_off(text, TAG)?).ok()?;
        positions.push(Position { tag: Some(tag), own: number(split_off(text, OWN)?)?, place: 0 });
    }
    if names_a_node_twice(&positions) {
        return None;
    }
    // The digits have room for numbers beyond 64 bits, which no node writes.
    let first = positions.first()?;
    written[EPOCH..].starts_with(&encode(epoch, first)[EPOCH..]).then_some(positions)
}

/// Returns whether two positions are of one node, which no node writes.
fn names_a_node_twice(positions: &[Position]) -> bool {
    let mut tags: Vec<_> = positions.iter().filter_map(|position| position.tag).collect();
    tags.sort_unstable();
    tags.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offset_is_decoded_by_its_stream_alone() {
        let (epoch, tag, other) = (Epoch::of(1_700_000_000_123_456_789), NodeTag::random(), NodeTag::random());
        let position = Position { tag: Some(tag), own: 77, place: u64::MAX >> 1 };
        let text = encode(epoch, &position);
        assert_eq!(text.len(), WIDTH);
        assert_eq!(decode(epoch, &text), Some(vec![position]));
        let another = Epoch::of(1_700_000_001_123_456_789);
        assert_eq!(decode(another, &text), None);
        assert!(is_foreign(another, &text) && !is_foreign(epoch, &text) && !is_foreign(another, &text[1..]));
        let nobody = Position { tag: None, own: 0, place: 5 };
        assert_eq!(decode(epoch, &encode(epoch, &nobody)), Some(vec![nobody]));
        let besides = encode_besides(epoch, &position, &[(other, 3)]);
        assert_eq!(decode(epoch, &besides), Some(vec![position, Position { tag: Some(other), own: 3, place: 0 }]));
        assert_eq!(decode(epoch, &besides[..besides.len() - 1]), None);
        for twice in [tag, other] {
            let besides = encode_besides(epoch, &position, &[(other, 3), (twice, 4)]);
            assert_eq!(decode(epoch, &besides), None, "a node is named twice");
        }
        let (head, tail) = text.split_at(EPOCH);
        assert_eq!(decode(epoch, &format!("{head}Q{}", &tail[1..])), None, "a place beyond 64 bits");
    }

    proptest! {
        #[test]
        fn decode_accepts_any_text(text in ".{0,80}") {
            let epoch = Epoch::of(1);
            let _ = decode(epoch, &text);
            let _ = (is_foreign(epoch, &text), decode(epoch, &format!("{}{text}", epoch.as_str())));
        }
    }
}
