//! Envelopes and records, out of bytes.

use bytes::Bytes;
use bytestring::ByteString;
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Args, Body, Frames, Id, JsonParser, MsgPackParser, NodeTag, Packet, Parser};
use thiserror::Error;

use super::format::{COMPRESS, HEAD, Head, LIMITS, NOWHERE, PersistedEvent, Publisher, Record, VERSIONS, VOLATILE, kind};
use crate::message::{Answer, Ask, Message, Operation, Request, Room, SocketInfo, Target};

/// Bytes from the bus that are not understood. They are counted and skipped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum WireError {
    #[error("unknown kind of record {0}")]
    Kind(u8),
    #[error("record ends too early")]
    Short,
    #[error("malformed {0}")]
    Malformed(&'static str),
}

impl Head {
    /// Reads the head off the front, whatever the version of what follows.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        if reader.u8()? == 0 {
            return Err(WireError::Malformed("version"));
        }
        let tag =
            std::str::from_utf8(reader.bytes(4)?).ok().and_then(|tag| NodeTag::try_from(tag).ok()).ok_or(WireError::Malformed("tag"))?;
        let publisher = Publisher { tag, epoch: reader.u64()? };
        Ok(Self { publisher, order: reader.u64()?, sequence: reader.u64()? })
    }
}

/// Returns the records of an envelope. `None` if its version is not read here.
pub(crate) fn records(envelope: &[u8]) -> Option<Reader<'_>> {
    let (version, records) = (*envelope.first()?, envelope.get(HEAD..)?);
    (VERSIONS.0..=VERSIONS.1).contains(&version).then(|| Reader::new(records))
}

/// Decodes a value. `None` if it is of another type.
pub(crate) fn decode_value<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    Reader(bytes).args().ok()?.decode(0).ok()
}

/// A reader of bytes from the front.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
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
        std::str::from_utf8(self.bytes(length)?).map(ByteString::from).map_err(|_| WireError::Malformed("text"))
    }

    fn id(&mut self) -> Result<Id, WireError> {
        let text = std::str::from_utf8(self.bytes(20)?).map_err(|_| WireError::Malformed("id"))?;
        Id::try_from(text).map_err(|_| WireError::Malformed("id"))
    }

    /// Reads a list behind its length. Memory is allocated for the items that are there, not for the length.
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

    /// Returns the next record of an envelope, `None` behind the last. Bytes of a record behind its known parts are for later versions.
    pub(crate) fn record(&mut self) -> Option<Result<Record, WireError>> {
        if self.0.is_empty() {
            return None;
        }
        let body = self.length().and_then(|length| self.bytes(length));
        if body.is_err() {
            // The start of the next record is unknown.
            self.0 = &[];
        }
        Some(body.and_then(|body| Reader(body).decode_record()))
    }

    fn decode_record(&mut self) -> Result<Record, WireError> {
        let message = |namespace, target, operation| Ok(Record::Message(Message { namespace, target, operation, trace: None }));
        let request = |id, namespace, ask| Ok(Record::Request(id, Request { namespace, ask, trace: None }));
        match self.u8()? {
            kind::EMIT => {
                let (namespace, target, flags) = (self.text()?, self.target()?, self.u8()?);
                let (volatile, compress) = (flags & VOLATILE != 0, flags & COMPRESS != 0);
                message(namespace, target, Operation::Emit { frames: self.frames()?, volatile, compress })
            }
            kind @ (kind::JOIN | kind::LEAVE | kind::DISCONNECT) => {
                let (namespace, target) = (self.text()?, self.target()?);
                let operation = match kind {
                    kind::JOIN => Operation::Join(self.rooms()?),
                    kind::LEAVE => Operation::Leave(self.rooms()?),
                    _ => Operation::Disconnect { close: self.u8()? != 0 },
                };
                let message = Message { namespace, target, operation, trace: None };
                // A process that has no sockets does not number what it orders.
                Ok(match self.u64() {
                    Ok(number) => Record::Order(number, message),
                    Err(_) => Record::Message(message),
                })
            }
            kind::SERVER_EVENT => {
                let (namespace, name, args) = self.event()?;
                message(namespace, Target::default(), Operation::ServerEvent { name, args })
            }
            kind::PERSISTED => {
                let (number, at) = (self.u64()?, u32::from_be_bytes(self.array()?));
                let (namespace, target, flags) = (self.text()?, self.target()?, self.u8()?);
                let frames = Bytes::copy_from_slice(std::mem::take(&mut self.0));
                let at = (at != NOWHERE).then_some(at as usize);
                Ok(Record::Persisted(PersistedEvent { number, at, namespace, target, compress: flags & COMPRESS != 0, frames }))
            }
            kind::LOST => Ok(Record::Lost),
            kind::ASK_ACK => {
                let (id, target, flags) = (self.u64()?, self.target()?, self.u8()?);
                let (namespace, name, args) = self.event()?;
                request(id, namespace, Ask::Ack { target, name, args, compress: flags & COMPRESS != 0 })
            }
            kind::ASK_SOCKETS => request(self.u64()?, self.text()?, Ask::Sockets { target: self.target()? }),
            kind::ASK_SERVERS => {
                let id = self.u64()?;
                let (namespace, name, args) = self.event()?;
                request(id, namespace, Ask::ServerEvent { name, args })
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
