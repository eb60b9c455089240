//! Packets made up from the input, as a server would send them.

use arbitrary::{Arbitrary, Result, Unstructured};
use sociable_protocol::packet::RESERVED_EVENTS;
use sociable_protocol::{Args, Body, Encoding, JsonParser, MsgPackParser, Packet, Parser, Value};

use crate::{json, msgpack};

/// Deep enough for arrays in objects in arrays; what is deeper is no other case.
const MAX_DEPTH: usize = 4;

/// The input decides the contents of the packet. Both parsers encode and decode it without a change.
pub fn packets(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(made) = Made::arbitrary(&mut input) else { return };
    let packet = made.packet(Encoding::Json);
    assert_eq!(json::received(&JsonParser::default().encode(&packet)), Some(packet));
    let packet = made.packet(Encoding::MsgPack);
    assert_eq!(msgpack::received(&MsgPackParser::default().encode(&packet)), packet);
}

/// A packet whose arguments have no encoding yet.
struct Made {
    kind: u8,
    namespace: String,
    name: String,
    id: Option<u64>,
    values: Vec<Value>,
}

impl<'a> Arbitrary<'a> for Made {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind = input.int_in_range(0..=4)?;
        let namespace = format!("/{}", String::arbitrary(input)?.replace(',', ""));
        let mut name = String::arbitrary(input)?;
        if RESERVED_EVENTS.contains(&&*name) {
            name.push('!');
        }
        let id = Option::arbitrary(input)?;
        let mut values = vec![];
        while !input.is_empty() {
            values.push(value(input, MAX_DEPTH)?);
        }
        Ok(Self { kind, namespace, name, id, values })
    }
}

fn value(input: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let kinds = if depth == 0 { 6 } else { 8 };
    Ok(match input.int_in_range(0..=kinds - 1)? {
        0 => Value::Null,
        1 => bool::arbitrary(input)?.into(),
        2 => i64::arbitrary(input)?.into(),
        3 => f64::arbitrary(input)?.into(),
        4 => String::arbitrary(input)?.into(),
        5 => Value::Binary(<Vec<u8>>::arbitrary(input)?.into()),
        6 => {
            let length = input.int_in_range(0..=4)?;
            Value::Array((0..length).map(|_| value(input, depth - 1)).collect::<Result<_>>()?)
        }
        _ => {
            let length = input.int_in_range(0..=4)?;
            // With attachments, an object that looks like a placeholder is ambiguous.
            let mut pair = || Ok((String::arbitrary(input)?.replace("_placeholder", "placeholder"), value(input, depth - 1)?));
            Value::Object((0..length).map(|_| pair()).collect::<Result<_>>()?)
        }
    })
}

impl Made {
    fn packet(&self, encoding: Encoding) -> Packet {
        let encode = |values: &[Value]| {
            let mut builder = Args::builder(encoding);
            for value in values {
                builder.push(value).expect("a value can be encoded");
            }
            builder.finish()
        };
        // Only events and acknowledgements can have attachments.
        let object = || encode(&[Value::Object(vec![(self.name.clone(), self.namespace.as_str().into())])]);
        let body = match self.kind {
            0 => Body::Connect((!self.values.is_empty()).then(object)),
            1 => Body::Disconnect,
            2 => Body::Event { name: self.name.as_str().into(), args: encode(&self.values), id: self.id },
            3 => Body::Ack { args: encode(&self.values), id: self.id },
            _ => Body::ConnectError(object()),
        };
        Packet::for_namespace(self.namespace.clone(), body)
    }
}
