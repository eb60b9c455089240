//! Writes packets for the default parser.

use std::convert::Infallible;
use std::io::Write;

use crate::args::{Args, Encoding};
use crate::packet::{Body, MAIN_NAMESPACE, Packet};
use crate::websocket::{Frames, FramesBuilder};

/// The longest that the parts have which have no length of their own: type, number of attachments, id, quotes and brackets.
const FIXED: usize = 64;

/// The Engine.IO messages of a packet: one text, then the attachments.
///
/// Only events and acknowledgements have attachments. In the other packets, which never hold binary, a placeholder stays what it is.
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
    // Outside of an array, no receiver takes null for a payload: the JavaScript parser leaves it out.
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

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}
