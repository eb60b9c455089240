//! A request to the API, for any of its transports.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::flags::{Flags, What, value};

/// A request to the API.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    /// The last part of path and subject.
    pub(crate) operation: &'static str,
    /// True if it only reads: a GET over HTTP.
    pub(crate) is_read: bool,
    /// True if it can go straight on the bus.
    pub(crate) fits_the_bus: bool,
    pub(crate) fields: Map<String, Value>,
    pub(crate) idempotency_key: Option<String>,
    /// The time for the answer.
    pub(crate) timeout: Duration,
}

impl Call {
    /// Returns the request of a command. `None` if the API has no such operation.
    pub(crate) fn of(flags: &Flags) -> Result<Option<Self>, Failure> {
        let texts = |texts: &[String]| texts.iter().map(|text| value(text)).collect::<Vec<_>>();
        let (operation, is_read, fits_the_bus, own) = match &flags.what {
            What::Emit { event, args, volatile, durable } => {
                let own = json!({"event": event, "args": texts(args), "volatile": volatile, "durable": durable});
                ("emit", false, !durable, own)
            }
            What::EmitWithAck { event, args, ack_timeout } => {
                ("emit-with-ack", false, false, json!({"event": event, "args": texts(args), "timeout_ms": ack_timeout}))
            }
            What::Join { rooms } => ("join", false, true, json!({ "join": rooms })),
            What::Leave { rooms } => ("leave", false, true, json!({ "leave": rooms })),
            What::Disconnect { close, .. } => ("disconnect", false, true, json!({ "close": close })),
            What::Sockets { limit, auth } => ("sockets", true, false, json!({"limit": limit, "auth": auth})),
            What::Rooms { prefix, limit } => ("rooms", true, false, json!({"prefix": prefix, "limit": limit})),
            What::Count => ("count", true, false, json!({})),
            What::Info => ("info", true, false, json!({})),
            What::Server { .. } | What::Watch { .. } => return Ok(None),
        };
        let Value::Object(mut fields) = own else { return Ok(None) };
        let is_of_sockets = !matches!(operation, "rooms" | "info");
        let names_sockets = !flags.to.is_empty() || !flags.except.is_empty();
        if names_sockets && !is_of_sockets {
            return Err(Failure::Usage(format!("`{operation}` is not about sockets: leave --to and --except out")));
        }
        if operation != "info" {
            fields.insert("namespace".into(), flags.namespace().into());
        }
        if is_of_sockets {
            fields.insert("rooms".into(), flags.to.clone().into());
            fields.insert("except".into(), flags.except.clone().into());
        }
        let ack_timeout = if let What::EmitWithAck { ack_timeout, .. } = flags.what { ack_timeout } else { 0 };
        let timeout = Duration::from_secs(flags.timeout) + Duration::from_millis(ack_timeout);
        Ok(Some(Self { operation, is_read, fits_the_bus, fields, idempotency_key: flags.idempotency_key.clone(), timeout }))
    }

    /// Returns the fields as a query: those of a list one by one, and rooms as `room`.
    pub(crate) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut push = |name: &str, value: &Value| match value {
            Value::String(text) => drop(query.append_pair(name, text)),
            other => drop(query.append_pair(name, &other.to_string())),
        };
        for (name, value) in &self.fields {
            let name = if name == "rooms" { "room" } else { name };
            match value {
                Value::Array(values) => values.iter().for_each(|value| push(name, value)),
                value => push(name, value),
            }
        }
        query.finish()
    }

    /// Returns the fields as JSON.
    pub(crate) fn body(&self) -> String {
        Value::Object(self.fields.clone()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn call(args: &[&str]) -> Call {
        Call::of(&Flags::try_parse_from([&["sociable-ctl"], args].concat()).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn command_becomes_the_body_of_its_operation() {
        let emit = call(&["-n", "/chat", "-t", "a", "--to=-b", "--except", "c", "emit", "say", "[1]", "x", "--durable"]);
        let expected = json!({
            "namespace": "/chat", "rooms": ["a", "-b"], "except": ["c"], "event": "say", "args": [[1], "x"], "volatile": false, "durable": true,
        });
        assert_eq!((emit.operation, emit.fits_the_bus, Value::Object(emit.fields)), ("emit", false, expected));
        let join = call(&["join", "a", "b"]);
        assert_eq!(Value::Object(join.fields), json!({"namespace": "/", "rooms": [], "except": [], "join": ["a", "b"]}));
        assert!(join.fits_the_bus);
    }

    #[test]
    fn command_that_reads_becomes_a_query() {
        let sockets = call(&["--to", "a b", "--to", "c&d", "sockets", "--limit", "7"]);
        assert_eq!(sockets.query(), "auth=false&limit=7&namespace=%2F&room=a+b&room=c%26d");
        assert_eq!(call(&["rooms", "--prefix", "x"]).query(), "limit=1000&namespace=%2F&prefix=x");
        assert_eq!(call(&["info"]).query(), "");
    }

    #[test]
    fn rooms_are_refused_where_they_mean_nothing() {
        let flags = Flags::try_parse_from(["sociable-ctl", "--to", "a", "info"]).unwrap();
        assert!(matches!(Call::of(&flags), Err(Failure::Usage(_))));
    }

    #[test]
    fn time_of_acknowledgements_is_added() {
        assert_eq!(call(&["--timeout", "2", "emit-with-ack", "x", "--ack-timeout", "500"]).timeout, Duration::from_millis(2500));
    }
}
