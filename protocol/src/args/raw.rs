//! Arguments as part of types.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};

use super::{Args, Encoding};
use crate::value::Value;

/// One value of any kind, kept encoded, as part of a type that is decoded from arguments, or serialized into them.
///
/// It goes by way of [`Value`] both times: [`Args::get`] does without, where only an argument as a whole is wanted.
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
    /// The first of the arguments, or null if there is none.
    pub fn new(args: &Args) -> Self {
        Self(args.get(0).unwrap_or_else(|| Args::null(args.encoding())))
    }

    /// The value, as the only argument.
    pub fn args(&self) -> &Args {
        &self.0
    }

    /// The value, as the only argument.
    pub fn into_args(self) -> Args {
        self.0
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        // Which encoding it came in can't be known here; where it does not fit, it is converted.
        Args::encode(Encoding::Json, &value).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.decode::<Value>(0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// As a sequence of the arguments.
impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.len()))?;
        for value in self.decode_all::<Vec<Value>>().map_err(S::Error::custom)? {
            sequence.serialize_element(&value)?;
        }
        sequence.end()
    }
}
