//! The revisions of Engine.IO.

/// The revision of Engine.IO that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineVersion {
    /// The server pings; binary is sent as is.
    V4 {
        /// True if the client asked for binary as text.
        base64: bool,
    },
    /// The client pings; binary carries a type byte. Clients without binary get `base64`.
    V3 {
        /// True if binary has to be sent as text.
        base64: bool,
    },
}

impl EngineVersion {
    /// Returns the revision that a client names: 4, or 3 for any other value.
    pub(crate) fn of(revision: Option<&str>, base64: bool) -> Self {
        if revision == Some("4") { Self::V4 { base64 } } else { Self::V3 { base64 } }
    }

    /// Returns whether a request with this claim may belong to a session that speaks `other`.
    pub(crate) fn fits(self, other: Self) -> bool {
        self.is_v3() == other.is_v3()
    }

    /// Returns true for revision 3.
    #[inline]
    pub fn is_v3(self) -> bool {
        matches!(self, Self::V3 { .. })
    }
}
