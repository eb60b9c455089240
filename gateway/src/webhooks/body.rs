//! The bodies of webhooks.

use std::collections::BTreeMap;

use serde::Serialize;
use sociable::{DisconnectReason, RawArgs, Socket, Value};

use crate::json::Json;

/// Returns the data of a socket; null if there is none.
pub(super) fn data_of(socket: &Socket) -> Json {
    Json(socket.data().unwrap_or_default())
}

/// Returns the body of `connect`, with these headers of the client's request.
pub(super) fn connect(socket: &Socket, headers: &[String]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Connect<'a> {
        namespace: &'a str,
        socket: &'a str,
        auth: Json,
        address: Option<String>,
        url: &'a str,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<&'a str, &'a str>,
        data: Json,
    }
    let handshake = socket.handshake();
    let headers = headers.iter().filter_map(|name| Some((&**name, handshake.header(name)?))).collect();
    to_json(&Connect {
        namespace: socket.namespace().name(),
        socket: socket.id().as_str(),
        auth: Json(socket.auth().unwrap_or_default()),
        address: handshake.peer_addr().map(|peer| peer.ip().to_string()),
        url: handshake.url(),
        headers,
        data: data_of(socket),
    })
}

/// Returns the body of `connected`.
pub(super) fn connected(socket: &Socket) -> Vec<u8> {
    #[derive(Serialize)]
    struct Connected<'a> {
        namespace: &'a str,
        socket: &'a str,
        recovered: bool,
        data: Json,
    }
    to_json(&Connected {
        namespace: socket.namespace().name(),
        socket: socket.id().as_str(),
        recovered: socket.recovered(),
        data: data_of(socket),
    })
}

/// Returns the body of `disconnected`.
pub(super) fn disconnected(socket: &Socket, reason: DisconnectReason) -> Vec<u8> {
    #[derive(Serialize)]
    struct Disconnected<'a> {
        namespace: &'a str,
        socket: &'a str,
        reason: &'a str,
        rooms: Vec<&'a str>,
        data: Json,
    }
    let (rooms, own) = (socket.rooms(), socket.client_id());
    to_json(&Disconnected {
        namespace: socket.namespace().name(),
        socket: socket.id().as_str(),
        reason: reason.as_str(),
        rooms: rooms.iter().filter(|room| **room != own).map(|room| &**room).collect(),
        data: data_of(socket),
    })
}

/// Returns the body of an event. `args` and `data` are JSON.
pub(super) fn event(namespace: &str, socket: &str, name: &str, args: &str, ack: bool, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(96 + namespace.len() + name.len() + args.len() + data.len());
    body.extend_from_slice(br#"{"namespace":"#);
    push(&mut body, namespace);
    body.extend_from_slice(br#","socket":"#);
    push(&mut body, socket);
    body.extend_from_slice(br#","event":"#);
    push(&mut body, name);
    body.extend_from_slice(br#","args":"#);
    body.extend_from_slice(args.as_bytes());
    body.extend_from_slice(if ack { br#","ack":true,"data":"# } else { br#","ack":false,"data":"# });
    body.extend_from_slice(data);
    body.push(b'}');
    body
}

/// Returns the arguments of an event as a JSON array. `None` if they are nested too deeply.
pub(super) fn args(args: &RawArgs) -> Option<String> {
    // Text without `$` and escapes has no key that needs the form for binary values, so it is taken as it is.
    if let Some(text) = args.raw_json().filter(|text| args.attachments().is_empty() && !text.contains('$') && !text.contains("\\u")) {
        return Some(format!("[{text}]"));
    }
    let values: Vec<Value> = args.decode_all().ok()?;
    let values: Vec<_> = values.into_iter().map(Json).collect();
    serde_json::to_string(&values).ok()
}

/// Returns a value as JSON.
pub(super) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // Text, numbers and values of clients can always be written.
    serde_json::to_vec(value).unwrap_or_default()
}

fn push(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&to_json(&text));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sociable::protocol::Encoding;

    use super::*;

    fn encoded(encoding: Encoding, values: &[Value]) -> String {
        let mut builder = RawArgs::builder(encoding);
        for value in values {
            builder.push(value).unwrap();
        }
        args(&builder.finish()).unwrap()
    }

    #[test]
    fn arguments_have_one_form_in_every_encoding() {
        let object = |key: &str| Value::Object(vec![(key.into(), "x".into())]);
        for (values, json) in [
            (vec![], "[]"),
            (vec!["a".into(), Value::from(1_u64)], r#"["a",1]"#),
            (vec![Value::Binary(Bytes::from_static(&[1, 2, 3]))], r#"[{"$binary":"AQID"}]"#),
            (vec![object("$binary")], r#"[{"$$binary":"x"}]"#),
            (vec![object("$other")], r#"[{"$other":"x"}]"#),
        ] {
            assert_eq!(encoded(Encoding::Json, &values), json);
            assert_eq!(encoded(Encoding::MsgPack, &values), json);
        }
    }

    #[test]
    fn body_of_an_event_is_json() {
        let body = event("/a\"b", "AAAA", "say\n", r#"["x",{"y":1}]"#, true, br#"{"z":null}"#);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({ "namespace": "/a\"b", "socket": "AAAA", "event": "say\n", "args": ["x", {"y": 1}], "ack": true, "data": {"z": null} })
        );
    }
}
