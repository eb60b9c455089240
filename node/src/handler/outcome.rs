//! The results of handlers and middleware.

use std::fmt;

use serde::Serialize;
use sociable_protocol::{Args, Encoding};

/// The failure of a handler or the refusal of a middleware: a text, and data for the client.
///
/// Every displayable value converts into one, so `?` works in handlers and middleware. For your own error type with data, write `impl From<MyError>
/// for Failure`. The type must not be displayable: the conversions would conflict.
///
/// ```
/// use sociable::Failure;
///
/// let failure = Failure::new("not authorized").with_data(&serde_json::json!({ "code": "E_AUTH" }));
/// assert_eq!(failure.message(), "not authorized");
///
/// fn parse(text: &str) -> Result<u16, Failure> {
///     Ok(text.parse::<u16>()?)
/// }
/// assert!(parse("x").is_err());
/// ```
#[derive(Clone, PartialEq)]
pub struct Failure {
    message: String,
    data: Option<serde_json::Value>,
}

impl Failure {
    /// Returns a failure with a text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// Adds data, which a refused client gets beside the text. Data that cannot be encoded as JSON is left out.
    pub fn with_data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.data = serde_json::to_value(data).ok();
        self
    }

    /// Returns the text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the data.
    pub fn data(&self) -> Option<&serde_json::Value> {
        self.data.as_ref()
    }

    /// Returns the payload of a connect error for clients of Socket.IO 2 and before.
    pub(crate) fn bare_payload(&self, encoding: Encoding) -> Args {
        let payload = match &self.data {
            Some(data) => Args::encode(encoding, data),
            None => Args::encode(encoding, &self.message),
        };
        payload.unwrap_or_else(|_| Args::null(encoding))
    }

    /// Returns the payload of a connect error.
    pub(crate) fn payload(&self, encoding: Encoding) -> Args {
        #[derive(Serialize)]
        struct Payload<'a> {
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a serde_json::Value>,
        }
        Args::encode(encoding, &Payload { message: &self.message, data: self.data.as_ref() }).unwrap_or_else(|_| Args::null(encoding))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("message", &self.message).field("data", &self.data).finish()
    }
}

// `Failure` itself is not displayable, because its conversion from itself would then be ambiguous.
impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// A return value of a handler: nothing, or a result.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return `()` or `Result<(), E>`, where `E` can be displayed or is `sociable::Failure`"
)]
pub trait Outcome {
    /// Returns the value as a result.
    ///
    /// # Errors
    ///
    /// The error of the handler.
    fn into_result(self) -> Result<(), Failure>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<E: Into<Failure>> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}
