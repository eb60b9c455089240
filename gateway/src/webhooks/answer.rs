//! The answer of a backend, and its application.

use serde::Deserialize;
use sociable::{Ack, EmitArgs, Failure, Namespace, RawArgs, Socket};
use thiserror::Error;

use super::complaints::Complaint;
use super::endpoint::Endpoint;
use crate::emit::{EmitEvent, EmitFault};
use crate::json::Json;

/// The text of a refusal without a text of its own.
const REFUSED: &str = "not authorized";

/// The answer of a backend to a webhook. Each part is optional.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// Whether a socket is let in: yes, unless there is an error.
    allow: Option<bool>,
    error: Option<AnswerError>,
    /// The arguments of the acknowledgement.
    ack: Option<Vec<Json>>,
    #[serde(default)]
    join: Vec<String>,
    #[serde(default)]
    leave: Vec<String>,
    /// The data of the socket.
    data: Option<Json>,
    #[serde(default)]
    pub(super) emit: Vec<AnswerEmit>,
    #[serde(default)]
    disconnect: bool,
}

/// An error for a client.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerError {
    message: String,
    data: Option<serde_json::Value>,
}

/// An event that an answer sends.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerEmit {
    /// That of the socket if it is missing.
    namespace: Option<String>,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    event: String,
    #[serde(default)]
    args: Vec<Json>,
    #[serde(default)]
    volatile: bool,
}

impl Answer {
    /// Returns the answer of a body. An empty body is an empty answer.
    pub(super) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        if body.trim_ascii().is_empty() { Ok(Self::default()) } else { serde_json::from_slice(body) }
    }

    /// Returns an error if a connecting socket is refused.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match (self.allow, &self.error) {
            (Some(true), _) | (None, None) => Ok(()),
            (_, Some(error)) => Err(error.failure()),
            (Some(false), None) => Err(refused()),
        }
    }

    /// Returns the error of an answer with the status 401 or 403, or `None` if the body does not refuse a socket.
    pub(super) fn refusal(body: &[u8]) -> Option<Failure> {
        match serde_json::from_slice(body).ok()? {
            Self { error: Some(error), .. } => Some(error.failure()),
            Self { allow: Some(false), .. } => Some(refused()),
            _ => None,
        }
    }

    /// Sets the data of the socket, and changes its rooms. Returns the number of parts that could not be applied.
    pub(super) fn change(&self, socket: &Socket) -> usize {
        let failed = self.data.as_ref().is_some_and(|Json(data)| socket.set_data(data).is_err());
        if !self.leave.is_empty() {
            socket.leave(&self.leave[..]);
        }
        if !self.join.is_empty() {
            socket.join(&self.join[..]);
        }
        usize::from(failed)
    }

    /// Acknowledges an event, and disconnects the socket if the answer says so. Returns the number of parts that could not be applied.
    pub(super) fn finish(&self, socket: &Socket, ack: Option<&Ack>) -> usize {
        let mut failed = 0;
        if let Some(ack) = ack {
            failed += usize::from(!self.acknowledge(socket, ack));
        }
        if self.disconnect {
            socket.disconnect();
        }
        failed
    }

    /// Returns whether the acknowledgement was encoded. A socket that has left needs none.
    fn acknowledge(&self, socket: &Socket, ack: &Ack) -> bool {
        let args = match (&self.ack, &self.error) {
            (Some(values), _) => encode(socket.namespace(), values),
            (None, Some(error)) => {
                send_error(ack, &error.failure());
                return true;
            }
            (None, None) => ().into_args(socket.namespace().encoding()).ok(),
        };
        args.is_some_and(|args| {
            let _ = ack.send(args);
            true
        })
    }
}

/// Returns the error of a refusal without a text of its own.
pub(super) fn refused() -> Failure {
    Failure::new(REFUSED)
}

fn encode(namespace: &Namespace, values: &[Json]) -> Option<RawArgs> {
    let mut builder = RawArgs::builder(namespace.encoding());
    for Json(value) in values {
        builder.push(value).ok()?;
    }
    Some(builder.finish())
}

impl AnswerError {
    fn failure(&self) -> Failure {
        let failure = Failure::new(&*self.message);
        match &self.data {
            Some(data) => failure.with_data(data),
            None => failure,
        }
    }
}

/// Acknowledges an event with an error.
pub(super) fn send_error(ack: &Ack, failure: &Failure) {
    let mut error = serde_json::json!({ "message": failure.message() });
    if let Some(data) = failure.data() {
        error["data"] = data.clone();
    }
    // A socket that has left needs none.
    let _ = ack.send(serde_json::json!({ "error": error }));
}

/// Sends the events of an answer. Returns the number of those that were not sent.
pub(super) fn send_all(emits: &[AnswerEmit], own: &Namespace, endpoint: &Endpoint) -> usize {
    let failed = |emit: &&AnswerEmit| match emit.send(own) {
        Ok(()) => false,
        Err(cause) => {
            if let Some(suppressed) = endpoint.complaints.admit(Complaint::Unsent) {
                tracing::warn!(target: "sociable::webhooks", url = endpoint.name, %cause, suppressed, "event of an answer not sent");
            }
            true
        }
    };
    emits.iter().filter(failed).count()
}

/// The reason why an event of an answer was not sent.
#[derive(Debug, Error)]
enum Unsent {
    #[error("no namespace has the name")]
    NoNamespace,
    #[error(transparent)]
    Fault(#[from] EmitFault),
}

impl AnswerEmit {
    fn send(&self, own: &Namespace) -> Result<(), Unsent> {
        let other = match &self.namespace {
            None => None,
            Some(name) if **own.name() == **name => None,
            Some(name) => {
                let server = own.server().ok_or(Unsent::NoNamespace)?;
                Some(server.find(name).ok_or(Unsent::NoNamespace)?)
            }
        };
        let event = EmitEvent {
            rooms: self.rooms.clone(),
            except: self.except.clone(),
            event: self.event.clone(),
            args: self.args.clone(),
            volatile: self.volatile,
        };
        Ok(event.send(other.as_ref().unwrap_or(own))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(json: &str) -> Result<(), (String, Option<serde_json::Value>)> {
        let failure = Answer::parse(json.as_bytes()).unwrap().verdict();
        failure.map_err(|failure| (failure.message().to_owned(), failure.data().cloned()))
    }

    #[test]
    fn socket_is_let_in_unless_the_answer_refuses() {
        for json in ["", " \n", "{}", r#"{"allow":true}"#, r#"{"join":["a"]}"#] {
            assert_eq!(verdict(json), Ok(()), "{json}");
        }
        assert_eq!(verdict(r#"{"allow":false}"#), Err((REFUSED.into(), None)));
        let data = Some(serde_json::json!({ "code": 7 }));
        assert_eq!(verdict(r#"{"error":{"message":"full","data":{"code":7}}}"#), Err(("full".into(), data.clone())));
        assert_eq!(verdict(r#"{"allow":false,"error":{"message":"full","data":{"code":7}}}"#), Err(("full".into(), data)));
    }

    #[test]
    fn refusal_has_the_error_of_the_body() {
        let refusal = |body: &str| Answer::refusal(body.as_bytes()).map(|failure| failure.message().to_owned());
        assert_eq!(refusal(r#"{"error":{"message":"who are you?"}}"#).as_deref(), Some("who are you?"));
        assert_eq!(refusal(r#"{"allow":false}"#).as_deref(), Some(REFUSED));
        for body in ["", "{}", "<html>", r#"{"error":"other"}"#, r#"{"message":"a"}"#] {
            assert_eq!(refusal(body), None, "{body}");
        }
    }

    #[test]
    fn answer_with_an_unknown_field_is_refused() {
        for body in [r#"{"rooms":[]}"#, "[]", "<html>", r#"{"emit":[{"event":"a","room":"b"}]}"#, r#"{"error":"text"}"#] {
            assert!(Answer::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
