//! The answer of the API.

use std::io::{self, Write};

use bytes::Bytes;
use serde_json::Value;

use crate::call::Call;
use crate::failure::Failure;

/// The answer of the API, from any transport.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// True if the request may succeed later.
    pub(crate) is_later: bool,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Prints the answer if it is one.
    pub(crate) fn print(&self, call: &Call) -> Result<(), Failure> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        if self.status != 200 {
            let text = self.refusal(call, &body);
            return Err(if self.is_later || matches!(self.status, 429 | 503) { Failure::Later(text) } else { Failure::Failed(text) });
        }
        print_line(&body)?;
        match missing(&body) {
            Some(missing) => Err(Failure::Incomplete(format!("incomplete answer of `{}`: {missing}", call.operation))),
            None => Ok(()),
        }
    }

    fn refusal(&self, call: &Call, problem: &Value) -> String {
        let (operation, status) = (call.operation, self.status);
        let text = |name: &str| problem[name].as_str();
        match (text("title"), text("detail")) {
            (Some(title), Some(detail)) => {
                let place = text("pointer").or(text("parameter")).map_or(String::new(), |place| format!(" (at {place})"));
                format!("`{operation}` failed: {status} {title}: {detail}{place}")
            }
            _ => format!("`{operation}` failed: {status} without a problem; check that the address is that of the API"),
        }
    }
}

/// Prints a line of JSON. A reader that has gone away ends the program as if it were done.
pub(crate) fn print_line(value: &Value) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{value}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Failed(format!("writing the answer failed: {error}"))),
        Err(_) => std::process::exit(0),
        Ok(()) => Ok(()),
    }
}

/// Returns what is missing from an answer.
fn missing(body: &Value) -> Option<String> {
    let of = |kind: &str| body["missing"][kind].as_array().filter(|missing| !missing.is_empty());
    let names = |names: &[Value]| names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    match (of("nodes"), of("sockets")) {
        (Some(nodes), _) => Some(format!("no answer of the nodes {}", names(nodes))),
        (None, Some(sockets)) => Some(format!("no answer of {} sockets", sockets.len())),
        (None, None) if body["timed_out"] == true => Some("the time was over".into()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn incomplete_answers_are_noticed() {
        assert_eq!(missing(&json!({"sockets": [], "missing": {"nodes": []}})), None);
        assert_eq!(missing(&json!({"durable": true})), None);
        assert_eq!(missing(&json!({"missing": {"nodes": ["a", "b"]}})).as_deref(), Some("no answer of the nodes a, b"));
        assert_eq!(missing(&json!({"missing": {"sockets": ["x"]}, "timed_out": true})).as_deref(), Some("no answer of 1 sockets"));
        assert!(missing(&json!({"missing": {"sockets": [], "nodes": []}, "timed_out": true})).is_some());
    }
}
