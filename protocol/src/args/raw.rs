//! Encoded arguments as parts of types.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};

use super::{Args, Encoding};
use crate::value::Value;

/// A value that stays encoded, as part of a type that is decoded from arguments or encoded into them.
///
/// Both directions convert through [`Value`]. For a whole argument, [`Args::get`] avoids that.
///
/// ```
/// use sociable_protocol::{Args, Encoding, Raw};
///
/// let args = Args::encode(Encoding::MsgPack, &("a", 1))?;
/// let parts: Vec<Raw> = args.decode(0)?;
/// assert_eq!(parts[1].args().decode::<u32>(0)?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Raw(Args);

impl Raw {
    /// Returns the first of the arguments, or null if there is none.
    pub fn new(args: &Args) -> Self {
        Self(args.get(0).unwrap_or_else(|| Args::null(args.encoding())))
    }

    /// Returns the value, as the only argument.
    pub fn args(&self) -> &Args {
        &self.0
    }

    /// Returns the value, as the only argument.
    pub fn into_args(self) -> Args {
        self.0
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        // The original encoding is unknown here. Where this one does not fit, it is converted later.
        Args::encode(Encoding::Json, &value).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.decode::<Value>(0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// Serializes the arguments as a sequence.
impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.len()))?;
        for value in self.decode_all::<Vec<Value>>().map_err(S::Error::custom)? {
            sequence.serialize_element(&value)?;
        }
        sequence.end()
    }
}
