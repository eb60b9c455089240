//! The answer of an application that refuses a request.

/// The reason for refusing a handshake, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// Returns a refusal with the default text, `Forbidden`.
    pub fn forbidden() -> Self {
        Self("Forbidden".into())
    }

    /// Returns the text that the client gets.
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(message: T) -> Self {
        Self(message.into())
    }
}
