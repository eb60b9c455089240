//! The events on the bus, as lines of JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value as JsonValue, json};
use sociable_adapter::{Watched, WatchedOperation, Watcher};
use sociable_protocol::{Args, Value};

use crate::answer::print_line;
use crate::failure::Failure;
use crate::flags::Flags;

/// Prints what passes, until so many lines were printed.
pub(crate) async fn run(flags: &Flags, lines: Option<u64>) -> Result<(), Failure> {
    let mut watcher = Watcher::connect(flags.emitter()).await?;
    eprintln!("watching");
    let (mut printed, mut overflows, mut skipped) = (0, 0, 0);
    while lines.is_none_or(|lines| printed < lines) {
        let Some(watched) = watcher.next().await else { return Err(Failure::Later("the connection to NATS was closed".into())) };
        if watcher.overflows() > overflows {
            overflows = watcher.overflows();
            eprintln!("reading too slowly; some messages were dropped");
        }
        if watcher.skipped() > skipped {
            skipped = watcher.skipped();
            eprintln!("unreadable message skipped; use the version of the nodes");
        }
        if is_wanted(flags, &watched) {
            print_line(&line(&watched))?;
            printed += 1;
        }
    }
    Ok(())
}

fn is_wanted(flags: &Flags, watched: &Watched) -> bool {
    let is_named = |rooms: &[String]| watched.target.rooms.iter().any(|room| rooms.iter().any(|name| *name == **room));
    let namespace = flags.given_namespace().map(|name| name.strip_prefix('/').unwrap_or(name));
    namespace.is_none_or(|name| watched.namespace.strip_prefix('/') == Some(name))
        && (flags.to.is_empty() || is_named(&flags.to))
        && !is_named(&flags.except)
}

fn line(watched: &Watched) -> JsonValue {
    let texts = |rooms: &[bytestring::ByteString]| rooms.iter().map(|room| JsonValue::from(&**room)).collect::<JsonValue>();
    let (kind, own) = match &watched.operation {
        WatchedOperation::Emit { event, args, volatile, with_ack } => {
            ("emit", json!({"event": &**event, "args": arguments(args), "volatile": volatile, "with_ack": with_ack}))
        }
        WatchedOperation::Join(rooms) => ("join", json!({ "join": texts(rooms) })),
        WatchedOperation::Leave(rooms) => ("leave", json!({ "leave": texts(rooms) })),
        WatchedOperation::Disconnect { close } => ("disconnect", json!({ "close": close })),
        WatchedOperation::ServerEvent { event, args, with_ack } => {
            ("server", json!({"event": &**event, "args": arguments(args), "with_ack": with_ack}))
        }
        _ => ("unknown", json!({})),
    };
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or_default());
    let mut line = json!({
        "time": time,
        "node": watched.node.to_string(),
        "operation": kind,
        "namespace": &*watched.namespace,
        "rooms": texts(&watched.target.rooms),
        "except": texts(&watched.target.except),
    });
    if let (Some(line), JsonValue::Object(own)) = (line.as_object_mut(), own) {
        line.extend(own);
    }
    line
}

fn arguments(args: &Args) -> JsonValue {
    args.iter().map(|arg| as_json(arg.decode::<Value>(0).unwrap_or_default())).collect()
}

/// Returns a value as the API writes it: binary as `{"$binary":"…"}`.
fn as_json(value: Value) -> JsonValue {
    match value {
        Value::Binary(bytes) => json!({ "$binary": BASE64_STANDARD.encode(bytes) }),
        Value::Array(values) => values.into_iter().map(as_json).collect(),
        Value::Object(entries) => {
            let is_form = |key: &str| key.starts_with('$') && key.trim_start_matches('$') == "binary";
            let escape = |key: String, count: usize| if count == 1 && is_form(&key) { format!("${key}") } else { key };
            let count = entries.len();
            JsonValue::Object(entries.into_iter().map(|(key, value)| (escape(key, count), as_json(value))).collect::<Map<_, _>>())
        }
        value => serde_json::to_value(&value).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use sociable_adapter::Target;

    use super::*;

    #[test]
    fn binary_values_have_the_form_of_the_api() {
        let value = Value::Object(vec![("a".into(), Value::Binary(vec![1, 2, 3].into())), ("$binary".into(), Value::Null)]);
        assert_eq!(as_json(value), json!({"a": {"$binary": "AQID"}, "$binary": null}));
        assert_eq!(as_json(Value::Object(vec![("$binary".into(), Value::Null)])), json!({ "$$binary": null }));
    }

    #[test]
    fn line_names_sockets_and_operation() {
        let target = Target { rooms: vec!["a".into()], except: vec![] };
        let operation = WatchedOperation::Join(vec!["b".into()]);
        let node = "abcd".parse().unwrap();
        let written = line(&Watched { node, namespace: "/chat".into(), target, operation });
        let mut written = written.as_object().unwrap().clone();
        assert!(written.remove("time").unwrap().is_u64());
        let expected = json!({"node": "abcd", "operation": "join", "namespace": "/chat", "rooms": ["a"], "except": [], "join": ["b"]});
        assert_eq!(JsonValue::Object(written), expected);
    }
}
