//! What nodes tell each other over the bus, as bytes: envelopes with records. `docs/wire-format.md` describes it for other languages.
//!
//! An envelope says who published it and where it belongs in what that publisher sent. A record is one thing that is told, asked or
//! answered. Names and arguments of events travel as the packets that a client would get, so that the parsers check them when they come.
//! Nothing that is read shares the buffer it came in: the client reads into blocks of 64 KiB, which one small event in an outbox would hold.

use bytes::{BufMut, Bytes};
use bytestring::ByteString;
use sociable_protocol::parser::Limits;
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Args, Body, Encoding, Frames, Id, JsonParser, MsgPackParser, NodeTag, Packet, Parser};
use thiserror::Error;

use crate::message::{Answer, Ask, Message, Operation, Request, Room, SocketInfo, Target};

/// The versions of the format that are read here, the lowest and the highest. The version is the first byte of every envelope, and the head is the same in
/// all versions.
pub(crate) const VERSIONS: (u8, u8) = (1, 1);
/// The length of the head of an envelope.
pub(crate) const HEAD: usize = 1 + 4 + 8 + 8 + 8;

/// Packets between nodes are as their applications made them: more may be attached than a client may attach.
const LIMITS: Limits = Limits { max_attachments: 65_536, max_depth: 1_000 };

/// A process on the bus: its tag, and a number that is new at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Publisher {
    pub(crate) tag: NodeTag,
    pub(crate) epoch: u64,
}

/// Who published an envelope, and which of its envelopes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) publisher: Publisher,
    /// Which one of all that it published.
    pub(crate) order: u64,
    /// Which one of those on this lane, from 1 on; 0 on a lane that is not counted.
    pub(crate) sequence: u64,
}

impl Head {
    pub(crate) fn write(&self, version: u8, out: &mut [u8; HEAD]) {
        let mut out = &mut out[..];
        out.put_u8(version);
        out.put_slice(self.publisher.tag.as_str().as_bytes());
        out.put_u64(self.publisher.epoch);
        out.put_u64(self.order);
        out.put_u64(self.sequence);
    }

    /// Reads the head off the front, whatever the version of what follows.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        if reader.u8()? == 0 {
            return Err(WireError::Malformed("version"));
        }
        let tag =
            std::str::from_utf8(reader.take(4)?).ok().and_then(|tag| NodeTag::try_from(tag).ok()).ok_or(WireError::Malformed("tag"))?;
        let publisher = Publisher { tag, epoch: reader.u64()? };
        Ok(Self { publisher, order: reader.u64()?, sequence: reader.u64()? })
    }
}

/// The records of an envelope. `None` if it is of a version that is not read here.
pub(crate) fn records(envelope: &[u8]) -> Option<Reader<'_>> {
    let (version, records) = (*envelope.first()?, envelope.get(HEAD..)?);
    (VERSIONS.0..=VERSIONS.1).contains(&version).then(|| Reader::new(records))
}

/// The highest version that all read, if there is one.
pub(crate) fn common_version(mine: (u8, u8), others: impl Iterator<Item = (u8, u8)>) -> Option<u8> {
    let (lowest, highest) = others.fold(mine, |(low, high), (lowest, highest)| (low.max(lowest), high.min(highest)));
    (lowest <= highest).then_some(highest)
}

/// Something that is told, asked or answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// To be done by whoever hears it.
    Tell(Message),
    /// An order of the history that nodes share, with its number at its node.
    Order(u64, Message),
    /// An event of the history that nodes share.
    Kept(Kept),
    /// Something that its publisher sent before is lost: the server did not keep it in time.
    Lost,
    /// To be answered under this number.
    Ask(u64, Request),
    /// Who asked under this number does not wait any more.
    Cancel(u64),
    /// An answer to what was asked under this number.
    Answer(u64, Answer),
    /// The last answer has been given.
    End(u64),
    /// What was asked under this number is not answered, or not wholly.
    Refused(u64),
}

/// An event of the history that nodes share, as its node wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// Its number there.
    pub(crate) number: u64,
    /// Where its offset begins in the frames, if it has one.
    pub(crate) at: Option<usize>,
    pub(crate) namespace: ByteString,
    pub(crate) target: Target,
    pub(crate) compress: bool,
    /// Not looked at yet.
    pub(crate) frames: Bytes,
}

/// Why bytes from the bus are not understood. They are counted and passed by.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum WireError {
    #[error("a record of the unknown kind {0}")]
    Kind(u8),
    #[error("it ends too early")]
    Short,
    #[error("malformed {0}")]
    Malformed(&'static str),
}

mod kind {
    pub(super) const EMIT: u8 = 1;
    pub(super) const JOIN: u8 = 2;
    pub(super) const LEAVE: u8 = 3;
    pub(super) const DISCONNECT: u8 = 4;
    pub(super) const SERVER_EVENT: u8 = 5;
    pub(super) const KEPT: u8 = 6;
    pub(super) const LOST: u8 = 7;
    pub(super) const ASK_ACK: u8 = 16;
    pub(super) const ASK_SOCKETS: u8 = 17;
    pub(super) const ASK_SERVERS: u8 = 18;
    pub(super) const CANCEL: u8 = 19;
    pub(super) const CLIENTS: u8 = 32;
    pub(super) const ACK: u8 = 33;
    pub(super) const GONE: u8 = 34;
    pub(super) const SOCKETS: u8 = 35;
    pub(super) const SERVER_ACK: u8 = 36;
    pub(super) const END: u8 = 37;
    pub(super) const REFUSED: u8 = 38;
}

const VOLATILE: u8 = 1;
const COMPRESS: u8 = 2;
/// The event has no offset.
const NOWHERE: u32 = u32::MAX;

// ---- writing

/// The record of a message, with room for the head of an envelope in front, so that one that travels alone is not copied.
pub(crate) fn tell(message: &Message) -> Vec<u8> {
    let Message { namespace, target, operation } = message;
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

/// The record of an order of the history that nodes share: who does not know its number, passes it by.
pub(crate) fn order(number: u64, message: &Message) -> Vec<u8> {
    let mut out = tell(message);
    out.put_u64(number);
    end_record(&mut out);
    out
}

/// True if a record is an order.
pub(crate) fn is_order(record: &[u8]) -> bool {
    matches!(record.get(HEAD + 4), Some(&(kind::JOIN | kind::LEAVE | kind::DISCONNECT)))
}

/// The record of an event of the history that nodes share.
pub(crate) fn kept(number: u64, at: Option<usize>, namespace: &str, target: &Target, compress: bool, frames: &[u8]) -> Vec<u8> {
    record(kind::KEPT, frames.len() + 96, |out| {
        out.put_u64(number);
        out.put_u32(at.and_then(|at| u32::try_from(at).ok()).unwrap_or(NOWHERE));
        put_text(out, namespace);
        put_target(out, target);
        out.put_u8(flags(false, compress));
        out.put_slice(frames);
    })
}

/// The record by which a node tells that something is lost that it sent before.
pub(crate) fn lost() -> Vec<u8> {
    record(kind::LOST, 0, |_| {})
}

/// A value as it is kept by the server. `None` if it can't be written.
pub(crate) fn pack(value: &impl serde::Serialize) -> Option<Vec<u8>> {
    let mut out = vec![];
    put_ack(&mut out, &Args::encode(Encoding::MsgPack, value).ok()?);
    Some(out)
}

/// Reads a value back. `None` if it is another.
pub(crate) fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    Reader(bytes).args().ok()?.decode(0).ok()
}

pub(crate) fn ask(id: u64, request: &Request) -> Vec<u8> {
    let Request { namespace, ask } = request;
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

pub(crate) fn cancel(id: u64) -> Vec<u8> {
    record(kind::CANCEL, 8, |out| out.put_u64(id))
}

pub(crate) fn end(id: u64) -> Vec<u8> {
    record(kind::END, 8, |out| out.put_u64(id))
}

pub(crate) fn refused(id: u64) -> Vec<u8> {
    record(kind::REFUSED, 8, |out| out.put_u64(id))
}

/// The records of an answer: several where one would be longer than `limit` and can be parted. One that can't be is given as it is.
pub(crate) fn answer(id: u64, answer: &Answer, limit: usize) -> Vec<Vec<u8>> {
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
                        // Its data and auth are values, which can always be written.
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
        // What an adapter adds to the answers that come is not sent.
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

/// What is longer than four bytes can tell is refused by its length before it is sent.
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

// ---- reading

/// Reads off the front of bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, WireError> {
        Ok(u32::from_be_bytes(self.array()?) as usize)
    }

    fn text(&mut self) -> Result<ByteString, WireError> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map(ByteString::from).map_err(|_| WireError::Malformed("text"))
    }

    fn id(&mut self) -> Result<Id, WireError> {
        let text = std::str::from_utf8(self.take(20)?).map_err(|_| WireError::Malformed("id"))?;
        Id::try_from(text).map_err(|_| WireError::Malformed("id"))
    }

    /// A list that says its length first. Memory is taken for what is there, not for what is said.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
        let mut items = vec![];
        for _ in 0..self.length()? {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn rooms(&mut self) -> Result<Vec<Room>, WireError> {
        self.list(Self::text)
    }

    fn target(&mut self) -> Result<Target, WireError> {
        Ok(Target { rooms: self.rooms()?, except: self.rooms()? })
    }

    fn frames(&mut self) -> Result<Frames, WireError> {
        let bytes = std::mem::take(&mut self.0);
        Frames::read(Bytes::copy_from_slice(bytes)).ok_or(WireError::Malformed("frames"))
    }

    fn packet(&mut self) -> Result<Packet, WireError> {
        let mut decoder = match self.u8()? {
            0 => JsonParser::new(LIMITS).decoder(),
            1 => MsgPackParser::new(LIMITS).decoder(),
            _ => return Err(WireError::Malformed("encoding")),
        };
        let mut packet = None;
        for payload in self.frames()?.iter() {
            let read = match payload {
                Payload::Text(text) => decoder.text(text.get(1..).unwrap_or_default().into()),
                Payload::Binary(bytes) => decoder.binary(Bytes::copy_from_slice(bytes)),
            };
            packet = read.map_err(|_| WireError::Malformed("packet"))?;
        }
        packet.ok_or(WireError::Malformed("packet"))
    }

    fn event(&mut self) -> Result<(ByteString, ByteString, Args), WireError> {
        let namespace = self.text()?;
        match self.packet()?.body {
            Body::Event { name, args, .. } => Ok((namespace, name, args)),
            _ => Err(WireError::Malformed("event")),
        }
    }

    fn args(&mut self) -> Result<Args, WireError> {
        match self.packet()?.body {
            Body::Ack { args, .. } => Ok(args),
            _ => Err(WireError::Malformed("acknowledgement")),
        }
    }

    /// The next record of an envelope, `None` behind the last. What a record holds behind what is known of it is for later versions.
    pub(crate) fn record(&mut self) -> Option<Result<Record, WireError>> {
        if self.0.is_empty() {
            return None;
        }
        let body = self.length().and_then(|length| self.take(length));
        if body.is_err() {
            // Where the next would begin can't be told.
            self.0 = &[];
        }
        Some(body.and_then(|body| Reader(body).one_record()))
    }

    fn one_record(&mut self) -> Result<Record, WireError> {
        let tell = |namespace, target, operation| Ok(Record::Tell(Message { namespace, target, operation }));
        let ask = |id, namespace, ask| Ok(Record::Ask(id, Request { namespace, ask }));
        match self.u8()? {
            kind::EMIT => {
                let (namespace, target, flags) = (self.text()?, self.target()?, self.u8()?);
                let (volatile, compress) = (flags & VOLATILE != 0, flags & COMPRESS != 0);
                tell(namespace, target, Operation::Emit { frames: self.frames()?, volatile, compress })
            }
            kind @ (kind::JOIN | kind::LEAVE | kind::DISCONNECT) => {
                let (namespace, target) = (self.text()?, self.target()?);
                let operation = match kind {
                    kind::JOIN => Operation::Join(self.rooms()?),
                    kind::LEAVE => Operation::Leave(self.rooms()?),
                    _ => Operation::Disconnect { close: self.u8()? != 0 },
                };
                let message = Message { namespace, target, operation };
                // A process that has no sockets does not number what it orders.
                Ok(match self.u64() {
                    Ok(number) => Record::Order(number, message),
                    Err(_) => Record::Tell(message),
                })
            }
            kind::SERVER_EVENT => {
                let (namespace, name, args) = self.event()?;
                tell(namespace, Target::default(), Operation::ServerEvent { name, args })
            }
            kind::KEPT => {
                let (number, at) = (self.u64()?, u32::from_be_bytes(self.array()?));
                let (namespace, target, flags) = (self.text()?, self.target()?, self.u8()?);
                let frames = Bytes::copy_from_slice(std::mem::take(&mut self.0));
                let at = (at != NOWHERE).then_some(at as usize);
                Ok(Record::Kept(Kept { number, at, namespace, target, compress: flags & COMPRESS != 0, frames }))
            }
            kind::LOST => Ok(Record::Lost),
            kind::ASK_ACK => {
                let (id, target, flags) = (self.u64()?, self.target()?, self.u8()?);
                let (namespace, name, args) = self.event()?;
                ask(id, namespace, Ask::Ack { target, name, args, compress: flags & COMPRESS != 0 })
            }
            kind::ASK_SOCKETS => ask(self.u64()?, self.text()?, Ask::Sockets { target: self.target()? }),
            kind::ASK_SERVERS => {
                let id = self.u64()?;
                let (namespace, name, args) = self.event()?;
                ask(id, namespace, Ask::ServerEvent { name, args })
            }
            kind::CANCEL => Ok(Record::Cancel(self.u64()?)),
            kind::CLIENTS => Ok(Record::Answer(self.u64()?, Answer::Clients(self.list(Self::id)?))),
            kind::ACK => Ok(Record::Answer(self.u64()?, Answer::Ack(self.id()?, self.args()?))),
            kind::GONE => Ok(Record::Answer(self.u64()?, Answer::Gone(self.id()?))),
            kind::SOCKETS => {
                let (id, args) = (self.u64()?, self.args()?);
                let sockets = args.iter().map(|arg| arg.decode::<SocketInfo>(0).map_err(|_| WireError::Malformed("socket")));
                Ok(Record::Answer(id, Answer::Sockets(sockets.collect::<Result<_, _>>()?)))
            }
            kind::SERVER_ACK => Ok(Record::Answer(self.u64()?, Answer::ServerAck(self.args()?))),
            kind::END => Ok(Record::End(self.u64()?)),
            kind::REFUSED => Ok(Record::Refused(self.u64()?)),
            other => Err(WireError::Kind(other)),
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
