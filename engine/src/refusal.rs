//! The answer of an application that does not let a request in.

/// The reason for which a handshake is refused, for the client to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal with the default text, `Forbidden`.
    pub fn forbidden() -> Self {
        Self("Forbidden".into())
    }

    /// The text that the client gets.
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(message: T) -> Self {
        Self(message.into())
    }
}
