//! The encoder of the default parser.

use std::convert::Infallible;
use std::io::Write;

use crate::args::{Args, Encoding};
use crate::packet::{Body, MAIN_NAMESPACE, Packet};
use crate::websocket::{Frames, FramesBuilder, Payload};

/// The longest total of the fixed parts: type, number of attachments, id, quotes and brackets.
const FIXED: usize = 64;

/// Returns the Engine.IO messages of a packet: one text, then the attachments.
///
/// Only events and acknowledgements have attachments. Other packets never contain binary, so their placeholders are plain objects.
pub(super) fn encode(packet: &Packet) -> Frames {
    match &packet.body {
        Body::Connect(auth) => frames(packet, '0', None, None, auth.as_ref()),
        Body::Disconnect => frames(packet, '1', None, None, None),
        Body::Event { name, args, id } => frames(packet, '2', *id, Some(name), Some(args)),
        Body::Ack { args, id } => frames(packet, '3', *id, None, Some(args)),
        Body::ConnectError(error) => frames(packet, '4', None, None, Some(error)),
    }
}

fn frames(packet: &Packet, kind: char, id: Option<u64>, name: Option<&str>, args: Option<&Args>) -> Frames {
    let args = args.map(|args| args.in_encoding(Encoding::Json));
    let bracketed = matches!(kind, '2' | '3');
    // Outside of an array, no receiver accepts null as a payload. The JavaScript parser leaves it out.
    let items = args.as_ref().and_then(|args| args.raw_json()).filter(|items| bracketed || *items != "null").unwrap_or_default();
    let attachments = args.as_ref().map(|args| args.attachments()).filter(|_| bracketed).unwrap_or_default();

    let binary: usize = attachments.iter().map(|attachment| attachment.len() + FIXED).sum();
    let length = FIXED + packet.namespace.len() + name.map_or(0, str::len) + items.len() + binary;
    let mut builder = FramesBuilder::with_capacity(length);
    let Ok(()) = builder.text_with(|out| {
        out.push(b'4');
        match (kind, attachments.len()) {
            (kind, 0) => out.push(kind as u8),
            ('2', count) => append(out, format_args!("5{count}-")),
            (_, count) => append(out, format_args!("6{count}-")),
        }
        if !matches!(&*packet.namespace, "" | MAIN_NAMESPACE) {
            out.extend_from_slice(packet.namespace.as_bytes());
            out.push(b',');
        }
        if let Some(id) = id {
            append(out, format_args!("{id}"));
        }
        if bracketed {
            out.push(b'[');
        }
        if let Some(name) = name {
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut *out, name);
            if !items.is_empty() {
                out.push(b',');
            }
        }
        out.extend_from_slice(items.as_bytes());
        if bracketed {
            out.push(b']');
        }
        Ok::<(), Infallible>(())
    });
    for attachment in attachments {
        builder.binary(attachment);
    }
    builder.finish()
}

/// Returns an event without an acknowledgement, with a text added after its arguments. All else stays unchanged.
pub(super) fn append_text(frames: &Frames, text: &str) -> Option<Frames> {
    let mut payloads = frames.iter();
    let Some(Payload::Text(event)) = payloads.next() else { return None };
    let before = event.strip_suffix(']').filter(|_| is_event_without_ack(event))?;
    let mut builder = FramesBuilder::with_capacity(frames.len() + text.len() + FIXED);
    builder
        .text_with(|out| {
            out.extend_from_slice(before.as_bytes());
            out.push(b',');
            serde_json::to_writer(&mut *out, text)?;
            out.push(b']');
            Ok::<(), serde_json::Error>(())
        })
        .ok()?;
    for payload in payloads {
        let Payload::Binary(attachment) = payload else { return None };
        builder.binary(attachment);
    }
    Some(builder.finish())
}

/// Returns whether a text of this parser is an event without an id for its acknowledgement. Its array follows type, number of attachments and
/// namespace.
fn is_event_without_ack(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("42").or_else(|| text.strip_prefix("45")?.split_once('-').map(|(_, rest)| rest)) else {
        return false;
    };
    let array = if rest.starts_with('/') { rest.split_once(',').map(|(_, array)| array) } else { Some(rest) };
    array.is_some_and(|array| array.starts_with('['))
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::value::Value;

    fn event(namespace: &str, args: &Args, id: Option<u64>) -> Packet {
        Packet::for_namespace(namespace, Body::Event { name: "say".into(), args: args.clone(), id })
    }

    #[test]
    fn appended_text_equals_an_encoded_argument() {
        let binary = Value::Array(vec![Value::Binary(Bytes::from_static(b"a]b")), Value::String("x]".into())]);
        for args in [
            Args::empty(Encoding::Json),
            Args::encode(Encoding::Json, &["a", "]"]).unwrap(),
            Args::encode(Encoding::Json, &binary).unwrap(),
        ] {
            for namespace in ["/", "/chat", "/a[b]-1"] {
                let text = "off\"set";
                let mut longer = Args::builder(Encoding::Json);
                longer.append(&args).unwrap().push(text).unwrap();
                let expected = encode(&event(namespace, &longer.finish(), None));
                assert_eq!(append_text(&encode(&event(namespace, &args, None)), text).as_ref(), Some(&expected), "{namespace}");
                assert_eq!(append_text(&encode(&event(namespace, &args, Some(7))), text), None, "the event asks for an acknowledgement");
            }
        }
        let ack = Packet::for_namespace("/", Body::Ack { args: Args::empty(Encoding::Json), id: Some(1) });
        let disconnect = Packet::for_namespace("/chat", Body::Disconnect);
        for other in [encode(&ack), encode(&disconnect), Frames::binary(b"x"), Frames::text("4")] {
            assert_eq!(append_text(&other, "x"), None);
        }
    }
}
