//! An event that a backend sends to sockets.

use serde::{Deserialize, Serialize};
use sociable::{BroadcastOperator, EmitError, Namespace, RawArgs};
use thiserror::Error;

use crate::json::Json;

/// An event for the sockets of a namespace, as the API and the answers of webhooks carry it.
///
/// ```
/// use sociable_gateway::EmitEvent;
///
/// let event: EmitEvent = serde_json::from_str(r#"{"rooms":["orders"],"event":"paid","args":["order-7",12.5]}"#)?;
/// # let io = sociable::Server::builder().build()?;
/// event.send(&io.of("/"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EmitEvent {
    /// The rooms whose sockets get the event. A socket id is a room too. All sockets of the namespace if it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<String>,
    /// The rooms whose sockets do not get the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// The name of the event.
    pub event: String,
    /// The arguments of the event. A binary value is `{"$binary":"<Base64>"}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Json>,
    /// Whether the event is dropped for clients that cannot get it at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub volatile: bool,
}

/// The reason why an event was not sent.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum EmitFault {
    /// The server refused the event.
    #[error(transparent)]
    Emit(#[from] EmitError),
}

impl EmitEvent {
    /// Sends the event.
    ///
    /// # Errors
    ///
    /// The name is reserved, an argument cannot be encoded, or the other nodes cannot be reached.
    pub fn send(&self, namespace: &Namespace) -> Result<(), EmitFault> {
        Ok(self.operator(namespace).emit(&self.event, self.args(namespace)?)?)
    }

    /// Returns an operator for the receivers of the event.
    pub fn operator(&self, namespace: &Namespace) -> BroadcastOperator {
        let operator = namespace.to(&self.rooms[..]).except(&self.except[..]);
        if self.volatile { operator.volatile() } else { operator }
    }

    /// Returns the arguments in the encoding of a namespace.
    ///
    /// # Errors
    ///
    /// An argument cannot be encoded.
    pub fn args(&self, namespace: &Namespace) -> Result<RawArgs, EmitError> {
        let mut builder = RawArgs::builder(namespace.encoding());
        for Json(value) in &self.args {
            builder.push(value)?;
        }
        Ok(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_field_is_refused() {
        let error = serde_json::from_str::<EmitEvent>(r#"{"event":"a","room":["b"]}"#).unwrap_err();
        assert!(error.to_string().starts_with("unknown field `room`"), "{error}");
    }
}
