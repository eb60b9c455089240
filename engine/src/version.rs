//! The revisions of Engine.IO.

/// The revision of Engine.IO that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineVersion {
    /// The server pings; binary goes as it is.
    V4 {
        /// Binary has to be text: the client asked for it.
        base64: bool,
    },
    /// The client pings; binary bears its type. Those who take no binary get `base64`.
    V3 {
        /// Binary has to be text.
        base64: bool,
    },
}

impl EngineVersion {
    /// Returns true if a request that claims this may belong to a session that speaks `other`.
    pub(crate) fn fits(self, other: Self) -> bool {
        self.is_v3() == other.is_v3()
    }

    /// Returns true for revision 3.
    #[inline]
    pub fn is_v3(self) -> bool {
        matches!(self, Self::V3 { .. })
    }
}
