//! The nodes that were asked a question, and those that did not answer.

use bytestring::ByteString;
use sociable_adapter::Answer;
use sociable_protocol::Args;
use thiserror::Error;

use crate::emit::EmitError;

/// An incomplete set of acknowledgements of other servers.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{}", .error.as_ref().map_or_else(|| format!("timeout reached: missing {} responses", .missing.len()), ToString::to_string))]
pub struct ServerAckError {
    /// The acknowledgements that arrived.
    pub responses: Vec<Args>,
    /// The names of the nodes that did not answer in time, or that failed meanwhile.
    pub missing: Vec<String>,
    /// The error that prevented the event, if any.
    pub error: Option<EmitError>,
}

/// The nodes that were asked and have not answered.
#[derive(Debug, Default)]
pub(crate) struct AskedNodes {
    open: Vec<ByteString>,
    lost: Vec<ByteString>,
    failed: Option<EmitError>,
}

impl AskedNodes {
    /// Updates the list from an answer of the adapter.
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

    /// Removes one node of this name.
    fn close(&mut self, node: &ByteString) {
        if let Some(at) = self.open.iter().position(|open| open == node) {
            self.open.swap_remove(at);
        }
    }

    /// Returns the nodes that failed, and those that did not finish and are none of these. Also returns the error that prevented the question.
    pub(crate) fn missing_besides(mut self, others: &[ByteString]) -> (Vec<String>, Option<EmitError>) {
        others.iter().for_each(|node| self.close(node));
        self.missing(false)
    }

    /// Returns the nodes that failed and, unless the answers were `in_time`, those that did not finish. Also returns the error that prevented the
    /// question.
    pub(crate) fn missing(self, in_time: bool) -> (Vec<String>, Option<EmitError>) {
        let open = self.open.into_iter().filter(|_| !in_time);
        (open.chain(self.lost).map(|node| node.to_string()).collect(), self.failed)
    }
}
