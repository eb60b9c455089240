//! The nodes of a cluster that are asked something, and those that did not answer.

use bytestring::ByteString;
use sociable_adapter::Answer;
use sociable_protocol::Args;
use thiserror::Error;

use crate::emit::EmitError;

/// Not all servers acknowledged an event.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{}", .error.as_ref().map_or_else(|| format!("timeout reached: missing {} responses", .missing.len()), ToString::to_string))]
pub struct ServerAckError {
    /// The answers that came.
    pub responses: Vec<Args>,
    /// The names of the nodes that did not answer, or were lost before they did.
    pub missing: Vec<String>,
    /// Why the event was not sent, if that was it.
    pub error: Option<EmitError>,
}

/// Which nodes were asked, and have not answered.
#[derive(Debug, Default)]
pub(crate) struct AskedNodes {
    open: Vec<ByteString>,
    lost: Vec<ByteString>,
    failed: Option<EmitError>,
}

impl AskedNodes {
    /// Takes note of what the adapter says of the nodes.
    pub(crate) fn note(&mut self, answer: &Answer) {
        match answer {
            Answer::Asked(nodes) => self.open.clone_from(nodes),
            Answer::Done(node) => self.close(node),
            Answer::Lost(node) => {
                self.close(node);
                self.lost.push(node.clone());
            }
            Answer::Failed(error) => self.failed = Some(error.clone().into()),
            _ => {}
        }
    }

    /// One of those of this name is not open any more.
    fn close(&mut self, node: &ByteString) {
        if let Some(at) = self.open.iter().position(|open| open == node) {
            self.open.swap_remove(at);
        }
    }

    /// Who did not answer: who was lost, and, if there was no more time, who was not done. And why nobody was asked, if that was it.
    pub(crate) fn missing(self, in_time: bool) -> (Vec<String>, Option<EmitError>) {
        let open = self.open.into_iter().filter(|_| !in_time);
        (open.chain(self.lost).map(|node| node.to_string()).collect(), self.failed)
    }
}
