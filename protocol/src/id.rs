//! Ids of sessions and sockets.
//!
//! An id has the form of the JavaScript server's: 20 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`. The first four are the [`NodeTag`] of the
//! process that made it, so that the owner needs no look-up. The other 16 are 96 random bits, so that no one can guess an id.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// The characters of ids: six bits each.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The lengths of an id and of its tag in characters, and of its random part in bytes.
const ID: usize = 20;
const TAG: usize = 4;
const RANDOM: usize = (ID - TAG) * 6 / 8;
/// The block of random bytes: enough for 85 ids, so that few draws cost a system call.
const BLOCK: usize = 85 * RANDOM;

/// The error of a text that is no [`Id`] or [`NodeTag`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// The text has another length.
    #[error("invalid length {0}: an id has 20 characters, a tag 4")]
    Length(usize),
    /// A character is outside `[A-Za-z0-9_-]`.
    #[error("invalid character: use [A-Za-z0-9_-]")]
    Character,
}

/// The name of a process in its ids: four characters, drawn at each start.
///
/// ```
/// use sociable_protocol::NodeTag;
///
/// let tag: NodeTag = "a1-_".parse()?;
/// assert_eq!(tag.to_string(), "a1-_");
/// assert!("a1 _".parse::<NodeTag>().is_err());
/// # Ok::<(), sociable_protocol::IdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeTag([u8; TAG]);

impl NodeTag {
    /// Draws a tag.
    ///
    /// # Panics
    ///
    /// The system provides no randomness. Ids that can be guessed would be worse.
    pub fn random() -> Self {
        let mut random = [0; 3];
        fill(&mut random);
        let mut tag = [0; TAG];
        write_sextets(&random, &mut tag);
        Self(tag)
    }

    /// Returns the four characters.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

/// The id of a session or socket. See the [module](self).
///
/// ```
/// use sociable_protocol::{Id, IdSource, NodeTag};
///
/// let tag = NodeTag::random();
/// let id = IdSource::new(tag).draw();
/// assert_eq!(id.tag(), tag);
/// assert_eq!(Id::try_from(id.as_str()), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; ID]);

impl Id {
    /// Returns the tag of the process that made the id.
    pub fn tag(&self) -> NodeTag {
        let [a, b, c, d, ..] = self.0;
        NodeTag([a, b, c, d])
    }

    /// Returns the 20 characters.
    #[inline]
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    /// Returns a shortened form for logs, because the id of a session is a secret. See [`log::shortened`](crate::log::shortened).
    ///
    /// ```
    /// use sociable_protocol::Id;
    ///
    /// let id = Id::try_from("AbCdeeeeeeeeeeeeexyz")?;
    /// assert_eq!(id.shortened().to_string(), "AbCd..exyz");
    /// assert_eq!(format!("{id:?}"), "Id(AbCd..exyz)");
    /// # Ok::<(), sociable_protocol::IdError>(())
    /// ```
    pub fn shortened(&self) -> impl fmt::Display {
        crate::log::shortened(self.as_str())
    }

    /// Returns the shard of the id among `n`, numbered from 0. An `n` of 0 counts as 1.
    ///
    /// The result is the same on every machine and in every version: FNV-1a (64 bits) over the 20 bytes. Its high 32 bits are multiplied by `n` and
    /// shifted right by 32.
    #[inline]
    pub fn shard(&self, n: usize) -> usize {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let hash = self.0.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
        // Wide enough for any `n`: the product has at most 96 bits.
        ((u128::from(hash >> 32) * n.max(1) as u128) >> 32) as usize
    }
}

/// A source of ids of one process.
///
/// Each owner has its own source, so that drawing needs no lock.
pub struct IdSource {
    tag: NodeTag,
    /// Random bytes. The ones before `used` have been spent and overwritten.
    block: Box<[u8; BLOCK]>,
    used: usize,
}

impl IdSource {
    /// Returns a source of ids with `tag`. Randomness is taken at the first draw.
    pub fn new(tag: NodeTag) -> Self {
        Self { tag, block: Box::new([0; BLOCK]), used: BLOCK }
    }

    /// Draws an id.
    ///
    /// # Panics
    ///
    /// The system provides no randomness. Ids that can be guessed would be worse.
    pub fn draw(&mut self) -> Id {
        if self.used == BLOCK {
            fill(&mut self.block[..]);
            self.used = 0;
        }
        let random = &mut self.block[self.used..self.used + RANDOM];
        self.used += RANDOM;
        let mut id = [0; ID];
        id[..TAG].copy_from_slice(&self.tag.0);
        write_sextets(random, &mut id[TAG..]);
        // The spent randomness of an id is not kept.
        random.fill(0);
        Id(id)
    }

    /// Draws ids until one belongs to shard `index` of `n` ([`Id::shard`]): `n` draws on average. An `index` beyond `n` wraps around.
    ///
    /// # Panics
    ///
    /// As [`IdSource::draw`].
    pub fn draw_for(&mut self, index: usize, n: usize) -> Id {
        let index = index % n.max(1);
        loop {
            let id = self.draw();
            if id.shard(n) == index {
                return id;
            }
        }
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the block, because future ids are secret.
        f.debug_struct("IdSource").field("tag", &self.tag).finish_non_exhaustive()
    }
}

fn fill(random: &mut [u8]) {
    if let Err(error) = getrandom::fill(random) {
        panic!("no randomness from the system, so ids could be guessed: {error}");
    }
}

/// Writes each three bytes as four characters.
fn write_sextets(random: &[u8], out: &mut [u8]) {
    for (three, four) in random.chunks_exact(3).zip(out.chunks_exact_mut(4)) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (character, shift) in four.iter_mut().zip([18, 12, 6, 0]) {
            *character = ALPHABET[(bits >> shift) as usize & 63];
        }
    }
}

fn parse<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let bytes: [u8; N] = text.as_bytes().try_into().map_err(|_| IdError::Length(text.len()))?;
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if bytes.iter().all(valid) { Ok(bytes) } else { Err(IdError::Character) }
}

/// Returns the text of an id. Ids hold only ASCII, so the fallback is never used.
#[inline]
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The common methods and traits of both types.
macro_rules! text_like {
    ($type:ident, $expecting:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl TryFrom<&str> for $type {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        $type::try_from(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Errors and logs use this form, and the id of a session is a secret.
        write!(f, "Id({})", self.shortened())
    }
}

impl fmt::Debug for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeTag({self})")
    }
}

text_like!(Id, "an id of 20 characters");
text_like!(NodeTag, "a tag of 4 characters");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn source() -> IdSource {
        IdSource::new(NodeTag(*b"test"))
    }

    #[test]
    fn ids_carry_the_tag_and_differ() {
        let mut source = source();
        let ids: HashSet<Id> = (0..1_000).map(|_| source.draw()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.tag() == NodeTag(*b"test") && Id::try_from(id.as_str()) == Ok(*id)));
    }

    #[test]
    fn malformed_ids_are_refused() {
        assert_eq!(Id::try_from(""), Err(IdError::Length(0)));
        assert_eq!(Id::try_from("0123456789012345678"), Err(IdError::Length(19)));
        assert_eq!(Id::try_from("012345678901234567890"), Err(IdError::Length(21)));
        for bad in ["0123456789012345678 ", "0123456789012345678\0", "0123456789/12345678x", "012345678901234567é"] {
            assert_eq!(Id::try_from(bad), Err(IdError::Character), "{bad:?}");
        }
    }

    #[test]
    fn shard_of_an_id_never_changes() {
        let id = Id::try_from("abcdABCDEFGH01234-_x").unwrap();
        assert_eq!([0, 1, 2, 8, 1_000].map(|n| id.shard(n)), PINNED);
    }

    /// Other processes, of other versions, rely on these values.
    const PINNED: [usize; 5] = [0, 0, 0, 3, 401];

    #[test]
    fn ids_are_drawn_for_every_shard() {
        let mut source = source();
        for n in [1, 2, 7] {
            for index in 0..n {
                assert_eq!(source.draw_for(index, n).shard(n), index);
            }
        }
        source.draw_for(9, 0);
        source.draw_for(9, 2);
    }

    #[test]
    fn ids_are_text_in_serde() {
        let id = source().draw();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), id);
        assert!(serde_json::from_str::<Id>("\"short\"").is_err());
    }

    #[test]
    fn debug_output_hides_secrets() {
        let mut source = source();
        source.draw();
        assert_eq!(format!("{source:?}"), "IdSource { tag: NodeTag(test), .. }");
    }
}
