//! Records as bytes, each with room for the head of an envelope in front. A record that travels alone is not copied.

use bytes::BufMut;
use bytestring::ByteString;
use sociable_protocol::{Args, Body, Encoding, Id, JsonParser, MsgPackParser, Packet, Parser};

use super::format::{COMPRESS, HEAD, Head, LIMITS, NOWHERE, VOLATILE, kind};
use crate::message::{Answer, Ask, Message, Operation, Request, Room, Target};

impl Head {
    pub(crate) fn write(&self, version: u8, out: &mut [u8; HEAD]) {
        let mut out = &mut out[..];
        out.put_u8(version);
        out.put_slice(self.publisher.tag.as_str().as_bytes());
        out.put_u64(self.publisher.epoch);
        out.put_u64(self.order);
        out.put_u64(self.sequence);
    }
}

/// Returns the record of a message.
pub(crate) fn encode_message(message: &Message) -> Vec<u8> {
    let Message { namespace, target, operation, .. } = message;
    let length = if let Operation::Emit { frames, .. } = operation { frames.len() } else { 64 };
    match operation {
        Operation::Emit { frames, volatile, compress } => record(kind::EMIT, length + 64, |out| {
            put_text(out, namespace);
            put_target(out, target);
            out.put_u8(flags(*volatile, *compress));
            out.put_slice(frames.as_bytes());
        }),
        Operation::Join(rooms) => record(kind::JOIN, length, |out| put_rooms_of(out, namespace, target, rooms)),
        Operation::Leave(rooms) => record(kind::LEAVE, length, |out| put_rooms_of(out, namespace, target, rooms)),
        Operation::Disconnect { close } => record(kind::DISCONNECT, length, |out| {
            put_text(out, namespace);
            put_target(out, target);
            out.put_u8(u8::from(*close));
        }),
        Operation::ServerEvent { name, args } => record(kind::SERVER_EVENT, length, |out| put_event(out, namespace, name, args)),
    }
}

/// Returns the record of an order of the shared history. Older nodes ignore its number.
pub(crate) fn encode_order(number: u64, message: &Message) -> Vec<u8> {
    let mut out = encode_message(message);
    out.put_u64(number);
    end_record(&mut out);
    out
}

/// Returns true if a record is an order.
pub(crate) fn is_order(record: &[u8]) -> bool {
    matches!(record.get(HEAD + 4), Some(&(kind::JOIN | kind::LEAVE | kind::DISCONNECT)))
}

/// Returns the record of an event of the shared history.
pub(crate) fn encode_persisted(number: u64, at: Option<usize>, namespace: &str, target: &Target, compress: bool, frames: &[u8]) -> Vec<u8> {
    record(kind::PERSISTED, frames.len() + 96, |out| {
        out.put_u64(number);
        out.put_u32(at.and_then(|at| u32::try_from(at).ok()).unwrap_or(NOWHERE));
        put_text(out, namespace);
        put_target(out, target);
        out.put_u8(flags(false, compress));
        out.put_slice(frames);
    })
}

/// Returns the record by which a node announces that earlier events are lost.
pub(crate) fn encode_lost() -> Vec<u8> {
    record(kind::LOST, 0, |_| {})
}

/// Encodes a value for the bucket. `None` if it can't be encoded.
pub(crate) fn encode_value(value: &impl serde::Serialize) -> Option<Vec<u8>> {
    let mut out = vec![];
    put_ack(&mut out, &Args::encode(Encoding::MsgPack, value).ok()?);
    Some(out)
}

pub(crate) fn encode_request(id: u64, request: &Request) -> Vec<u8> {
    let Request { namespace, ask, .. } = request;
    match ask {
        Ask::Ack { target, name, args, compress } => record(kind::ASK_ACK, 128, |out| {
            out.put_u64(id);
            put_target(out, target);
            out.put_u8(flags(false, *compress));
            put_event(out, namespace, name, args);
        }),
        Ask::Sockets { target } => record(kind::ASK_SOCKETS, 64, |out| {
            out.put_u64(id);
            put_text(out, namespace);
            put_target(out, target);
        }),
        Ask::ServerEvent { name, args } => record(kind::ASK_SERVERS, 128, |out| {
            out.put_u64(id);
            put_event(out, namespace, name, args);
        }),
    }
}

pub(crate) fn encode_cancel(id: u64) -> Vec<u8> {
    record(kind::CANCEL, 8, |out| out.put_u64(id))
}

pub(crate) fn encode_end(id: u64) -> Vec<u8> {
    record(kind::END, 8, |out| out.put_u64(id))
}

pub(crate) fn encode_refused(id: u64) -> Vec<u8> {
    record(kind::REFUSED, 8, |out| out.put_u64(id))
}

/// Returns the records of an answer: several where one would be longer than `limit` and can be split. An answer that
/// can't be split is returned whole.
pub(crate) fn encode_answer(id: u64, answer: &Answer, limit: usize) -> Vec<Vec<u8>> {
    match answer {
        Answer::Clients(ids) => {
            let put = |part: &[Id]| {
                record(kind::CLIENTS, 16 + 20 * part.len(), |out| {
                    out.put_u64(id);
                    put_length(out, part.len());
                    part.iter().for_each(|id| out.put_slice(id.as_str().as_bytes()));
                })
            };
            let most = (limit / 20).saturating_sub(8).max(1);
            if ids.is_empty() { vec![put(&[])] } else { ids.chunks(most).map(put).collect() }
        }
        Answer::Ack(client, args) => vec![record(kind::ACK, 128, |out| {
            out.put_u64(id);
            out.put_slice(client.as_str().as_bytes());
            put_ack(out, args);
        })],
        Answer::Gone(client) => vec![record(kind::GONE, 32, |out| {
            out.put_u64(id);
            out.put_slice(client.as_str().as_bytes());
        })],
        Answer::Sockets(sockets) => {
            let mut records = vec![];
            let mut parts = vec![&sockets[..]];
            while let Some(part) = parts.pop() {
                let written = record(kind::SOCKETS, 256 * part.len(), |out| {
                    out.put_u64(id);
                    let mut args = Args::builder(Encoding::Json);
                    for socket in part {
                        // The data and auth of a socket are values, which always encode.
                        drop(args.push(socket));
                    }
                    put_ack(out, &args.finish());
                });
                if written.len() > limit && part.len() > 1 {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                } else {
                    records.push(written);
                }
            }
            records
        }
        Answer::ServerAck(args) => vec![record(kind::SERVER_ACK, 128, |out| {
            out.put_u64(id);
            put_ack(out, args);
        })],
        // Answers that an adapter adds are not sent.
        Answer::Asked(_) | Answer::Done(_) | Answer::Lost(_) | Answer::Failed(_) => vec![],
    }
}

fn record(kind: u8, capacity: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + 5 + capacity);
    out.resize(HEAD + 4, 0);
    out.push(kind);
    write(&mut out);
    end_record(&mut out);
    out
}

/// Writes the length of a record in front of it.
fn end_record(out: &mut [u8]) {
    let length = u32::try_from(out.len() - HEAD - 4).unwrap_or(u32::MAX);
    out[HEAD..HEAD + 4].copy_from_slice(&length.to_be_bytes());
}

fn flags(volatile: bool, compress: bool) -> u8 {
    (u8::from(volatile) * VOLATILE) | (u8::from(compress) * COMPRESS)
}

/// Records of lengths beyond four bytes are refused before they are sent.
fn put_length(out: &mut Vec<u8>, length: usize) {
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.put_slice(text.as_bytes());
}

fn put_rooms(out: &mut Vec<u8>, rooms: &[Room]) {
    put_length(out, rooms.len());
    rooms.iter().for_each(|room| put_text(out, room));
}

fn put_target(out: &mut Vec<u8>, target: &Target) {
    put_rooms(out, &target.rooms);
    put_rooms(out, &target.except);
}

fn put_rooms_of(out: &mut Vec<u8>, namespace: &str, target: &Target, rooms: &[Room]) {
    put_text(out, namespace);
    put_target(out, target);
    put_rooms(out, rooms);
}

fn put_packet(out: &mut Vec<u8>, encoding: Encoding, packet: &Packet) {
    out.put_u8(match encoding {
        Encoding::Json => 0,
        Encoding::MsgPack => 1,
    });
    let frames = match encoding {
        Encoding::Json => JsonParser::new(LIMITS).encode(packet),
        Encoding::MsgPack => MsgPackParser::new(LIMITS).encode(packet),
    };
    out.put_slice(frames.as_bytes());
}

fn put_event(out: &mut Vec<u8>, namespace: &ByteString, name: &ByteString, args: &Args) {
    // Not in the packet: a name with a comma could not be read back.
    put_text(out, namespace);
    put_packet(out, args.encoding(), &Packet::new(Body::Event { name: name.clone(), args: args.clone(), id: None }));
}

fn put_ack(out: &mut Vec<u8>, args: &Args) {
    put_packet(out, args.encoding(), &Packet::new(Body::Ack { args: args.clone(), id: Some(0) }));
}
