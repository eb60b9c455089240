//! Decodes packets and describes them, for comparison with other parsers: see `tests/js/differential.test.mjs`.
//!
//! Each line of the input is one packet in JSON, `{"parser":"json","text":"51-[…]","attachments":["AQI="]}` or
//! `{"parser":"msgpack","attachments":["g6R0…"]}`, with binary in base64. The answer is one line, too: `{"error":"invalid payload"}`,
//! `{"waits":true}` if attachments are missing, or
//!
//! ```json
//! {"packet": {"type": 2, "nsp": "/", "id": "7", "data": […]}, "encoded": ["2[…]", {"binary": "AQI="}]}
//! ```
//!
//! In `data`, binary is `{"binary":"AQI="}`, an object `{"object":[["key",value],…]}`, and an undecodable argument `{"unreadable":"why"}`. Ids are
//! text, because JavaScript cannot represent every number.
//!
//! ```text
//! echo '{"parser":"json","text":"2[\"a\",1]"}' | cargo run -q --package sociable-protocol --example parse
//! ```

use std::error::Error;
use std::io::{self, BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Args, Body, DecodeError, Frames, JsonParser, MsgPackParser, Packet, Parser, Value};

#[derive(Deserialize)]
struct Input {
    parser: Name,
    text: Option<String>,
    #[serde(default)]
    attachments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Json,
    MsgPack,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        writeln!(out, "{}", answer(serde_json::from_str(&line?)?)?)?;
    }
    Ok(out.flush()?)
}

fn answer(input: Input) -> Result<Json, Box<dyn Error>> {
    let parser: &dyn Parser = match input.parser {
        Name::Json => &JsonParser::default(),
        Name::MsgPack => &MsgPackParser::default(),
    };
    let attachments = input.attachments.iter().map(|text| STANDARD.decode(text).map(Bytes::from)).collect::<Result<_, _>>()?;
    Ok(match decode(parser, input.text, attachments) {
        Ok(Some(packet)) => json!({ "packet": describe(&packet), "encoded": encoded(&parser.encode(&packet)) }),
        Ok(None) => json!({ "waits": true }),
        Err(error) => json!({ "error": error.to_string() }),
    })
}

fn decode(parser: &dyn Parser, text: Option<String>, attachments: Vec<Bytes>) -> Result<Option<Packet>, DecodeError> {
    let mut decoder = parser.decoder();
    let mut packet = match text {
        Some(text) => decoder.text(text.into())?,
        None => None,
    };
    for attachment in attachments {
        packet = decoder.binary(attachment)?;
    }
    Ok(packet)
}

fn describe(packet: &Packet) -> Json {
    let (kind, data, id) = match &packet.body {
        Body::Connect(auth) => (0, auth.as_ref().map(first), None),
        Body::Disconnect => (1, None, None),
        Body::Event { name, args, id } => (2, Some([vec![Json::from(&**name)], all(args)].concat().into()), *id),
        Body::Ack { args, id } => (3, Some(all(args).into()), *id),
        Body::ConnectError(error) => (4, Some(first(error)), None),
    };
    json!({ "type": kind, "nsp": &*packet.namespace, "id": id.map(|id| id.to_string()), "data": data })
}

fn first(args: &Args) -> Json {
    all(args).into_iter().next().unwrap_or(Json::Null)
}

fn all(args: &Args) -> Vec<Json> {
    let read = |arg: Args| arg.decode(0).map_or_else(|error| json!({ "unreadable": error.to_string() }), value_json);
    args.iter().map(read).collect()
}

fn value_json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => bool.into(),
        Value::Number(number) => number.into(),
        Value::String(text) => text.into(),
        Value::Binary(bytes) => json!({ "binary": STANDARD.encode(bytes) }),
        Value::Array(elements) => elements.into_iter().map(value_json).collect(),
        Value::Object(pairs) => {
            json!({ "object": pairs.into_iter().map(|(key, value)| json!([key, value_json(value)])).collect::<Vec<_>>() })
        }
    }
}

/// Returns the messages of a packet, without the `4` of Engine.IO.
fn encoded(frames: &Frames) -> Vec<Json> {
    let message = |payload| match payload {
        Payload::Text(text) => Json::from(&text[1..]),
        Payload::Binary(bytes) => json!({ "binary": STANDARD.encode(bytes) }),
    };
    frames.iter().map(message).collect()
}
