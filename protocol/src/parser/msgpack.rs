//! The parser that matches `socket.io-msgpack-parser`: a packet is one binary message, a map of `type`, `data`, `nsp` and `id`.

use std::convert::Infallible;
use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;

use super::scan::Fault;
use super::{DecodeError, Decoder, Limits, Parser};
use crate::args::{Args, Encoding};
use crate::msgpack::{self, Kind, Token};
use crate::packet::{Body, MAIN_NAMESPACE, Packet, is_reserved};
use crate::websocket::{Frames, FramesBuilder};

/// The parser for clients that use `socket.io-msgpack-parser`.
///
/// Extension types of incoming packets are replaced. `undefined` becomes null, and a `Date` its ISO 8601 text, as in JSON. An `ArrayBuffer` or typed
/// array becomes binary, and any other type an array of its type and bytes.
///
/// Unlike the JavaScript parser, this one requires strings in UTF-8. Event names have to be strings or numbers, and not reserved. The JSON parser
/// does the same.
///
/// ```
/// use sociable_protocol::{Args, Body, Encoding, MsgPackParser, Packet, Parser};
/// use sociable_protocol::websocket::Payload;
///
/// let parser = MsgPackParser::default();
/// let packet = Packet::new(Body::Ack { args: Args::encode(Encoding::MsgPack, "done")?, id: Some(7) });
/// let frames = parser.encode(&packet);
/// let Some(Payload::Binary(message)) = frames.iter().next() else { panic!("one binary frame") };
/// assert_eq!(parser.decoder().binary(message.to_vec().into())?, Some(packet));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MsgPackParser {
    /// The limits of a packet. Binary is part of the message, so there are no attachments.
    pub limits: Limits,
}

impl MsgPackParser {
    /// Returns a parser with other limits than the default ones.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl Parser for MsgPackParser {
    fn encoding(&self) -> Encoding {
        Encoding::MsgPack
    }

    fn encode(&self, packet: &Packet) -> Frames {
        match &packet.body {
            Body::Connect(auth) => frames(packet, 0, None, None, auth.as_ref()),
            Body::Disconnect => frames(packet, 1, None, None, None),
            Body::Event { name, args, id } => frames(packet, 2, *id, Some(name), Some(args)),
            Body::Ack { args, id } => frames(packet, 3, *id, None, Some(args)),
            Body::ConnectError(error) => frames(packet, 4, None, None, Some(error)),
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(MsgPackDecoder { limits: self.limits })
    }
}

fn frames(packet: &Packet, kind: u8, id: Option<u64>, name: Option<&str>, args: Option<&Args>) -> Frames {
    /// The bytes of the keys, and of heads without a length of their own.
    const FIXED: usize = 64;
    let args = args.map(|args| args.in_encoding(Encoding::MsgPack));
    let items = args.as_ref().and_then(|args| args.raw_msgpack()).unwrap_or_default();
    let mut builder = FramesBuilder::with_capacity(FIXED + packet.namespace.len() + name.map_or(0, str::len) + items.len());
    let Ok(()) = builder.binary_with(|out| {
        let pairs = 2 + u8::from(args.is_some()) + u8::from(id.is_some());
        out.push(msgpack::SMALL_MAP | pairs);
        msgpack::write_text(out, "type");
        out.push(kind);
        if let Some(args) = &args {
            msgpack::write_text(out, "data");
            if matches!(packet.body, Body::Event { .. } | Body::Ack { .. }) {
                msgpack::write_array(out, args.len() + usize::from(name.is_some()));
            }
            if let Some(name) = name {
                msgpack::write_text(out, name);
            }
            out.extend_from_slice(items);
        }
        msgpack::write_text(out, "nsp");
        msgpack::write_text(out, if packet.namespace.is_empty() { MAIN_NAMESPACE } else { &packet.namespace });
        if let Some(id) = id {
            msgpack::write_text(out, "id");
            msgpack::write_unsigned(out, id);
        }
        Ok::<(), Infallible>(())
    });
    builder.finish()
}

#[derive(Debug)]
struct MsgPackDecoder {
    limits: Limits,
}

impl Decoder for MsgPackDecoder {
    fn text(&mut self, _: ByteString) -> Result<Option<Packet>, DecodeError> {
        Err(DecodeError::NotMsgPack)
    }

    fn binary(&mut self, bytes: Bytes) -> Result<Option<Packet>, DecodeError> {
        decode(&bytes, self.limits).map(Some)
    }
}

fn decode(bytes: &Bytes, limits: Limits) -> Result<Packet, DecodeError> {
    let whole = msgpack::skip(bytes, 0, limits.max_depth).map_err(|fault| match fault {
        Fault::Syntax => DecodeError::MalformedMsgPack,
        Fault::Depth => DecodeError::TooDeep { limit: limits.max_depth },
    })?;
    if whole.end != bytes.len() {
        return Err(DecodeError::MalformedMsgPack);
    }
    let fields = fields(bytes)?;
    let message = Message { bytes, extended: whole.extended };

    let kind = fields.kind.and_then(|range| message.unsigned(range)).filter(|kind| *kind <= 4).ok_or(DecodeError::InvalidType)?;
    let namespace = fields.namespace.and_then(|range| message.text(range)).ok_or(DecodeError::InvalidNamespace)?;
    let data = fields.data.filter(|range| !message.is_undefined(range));
    let body = match (kind, data) {
        (0, None) => Body::Connect(None),
        (0, Some(data)) => Body::Connect(Some(message.single(data, false)?)),
        (1, None) => Body::Disconnect,
        (2, Some(data)) => {
            let (name, args) = message.event(data)?;
            Body::Event { name, args, id: None }
        }
        (3, Some(data)) => {
            let (range, count) = message.array(data)?;
            Body::Ack { args: message.args(range, count), id: None }
        }
        (4, Some(data)) => Body::ConnectError(message.single(data, true)?),
        _ => return Err(DecodeError::InvalidPayload),
    };
    let number = match fields.id.filter(|range| !message.is_undefined(range)) {
        Some(range) => Some(message.unsigned(range).ok_or(DecodeError::InvalidId)?),
        None => None,
    };
    let body = match body {
        Body::Event { name, args, .. } => Body::Event { name, args, id: number },
        Body::Ack { args, .. } => Body::Ack { args, id: number },
        other => other,
    };
    Ok(Packet { namespace, body })
}

/// The ranges of the values in a packet.
#[derive(Default)]
struct Fields {
    kind: Option<Range<usize>>,
    data: Option<Range<usize>>,
    namespace: Option<Range<usize>>,
    id: Option<Range<usize>>,
}

/// Finds the fields of a validated message. The last of several equal keys counts. Unknown keys are ignored: the JavaScript client sends `options`.
fn fields(bytes: &[u8]) -> Result<Fields, DecodeError> {
    let skip = |at| msgpack::skip(bytes, at, usize::MAX).map(|skipped| skipped.end).map_err(|_| DecodeError::MalformedMsgPack);
    let Some(Token { kind: Kind::Map(pairs), body }) = msgpack::token(bytes, 0) else { return Err(DecodeError::InvalidType) };
    let mut fields = Fields::default();
    let mut at = body.end;
    for _ in 0..pairs {
        let begin = skip(at)?;
        let end = skip(begin)?;
        if let Some(Token { kind: Kind::Text, body }) = msgpack::token(bytes, at) {
            match &bytes[body] {
                b"type" => fields.kind = Some(begin..end),
                b"data" => fields.data = Some(begin..end),
                b"nsp" => fields.namespace = Some(begin..end),
                b"id" => fields.id = Some(begin..end),
                _ => {}
            }
        }
        at = end;
    }
    Ok(fields)
}

/// A validated message.
struct Message<'a> {
    bytes: &'a Bytes,
    /// Whether it has extensions, which have to be replaced.
    extended: bool,
}

impl Message<'_> {
    fn token(&self, range: &Range<usize>) -> Option<Token> {
        msgpack::token(self.bytes, range.start)
    }

    fn is_undefined(&self, range: &Range<usize>) -> bool {
        self.bytes[range.start..].starts_with(&[msgpack::FIXED_EXTENSION_1, 0])
    }

    fn unsigned(&self, range: Range<usize>) -> Option<u64> {
        match self.token(&range)?.kind {
            Kind::Unsigned(number) => Some(number),
            Kind::Signed(number) => number.try_into().ok(),
            // JavaScript does not distinguish 2.0 from 2.
            Kind::Float(number) if number >= 0.0 && number.fract() == 0.0 => Some(number as u64),
            _ => None,
        }
    }

    fn text(&self, range: Range<usize>) -> Option<ByteString> {
        let token = self.token(&range).filter(|token| token.kind == Kind::Text)?;
        self.bytes.slice(token.body).try_into().ok()
    }

    /// Returns the range of an array's elements, and their number.
    fn array(&self, range: Range<usize>) -> Result<(Range<usize>, usize), DecodeError> {
        match self.token(&range) {
            Some(Token { kind: Kind::Array(count), body }) => Ok((body.end..range.end, count as usize)),
            _ => Err(DecodeError::InvalidPayload),
        }
    }

    /// Returns a map, or a string if that is allowed.
    fn single(&self, range: Range<usize>, text: bool) -> Result<Args, DecodeError> {
        match self.token(&range).map(|token| token.kind) {
            Some(Kind::Map(_)) => Ok(self.args(range, 1)),
            Some(Kind::Text) if text => Ok(self.args(range, 1)),
            _ => Err(DecodeError::InvalidPayload),
        }
    }

    /// Returns name and arguments from an array.
    fn event(&self, range: Range<usize>) -> Result<(ByteString, Args), DecodeError> {
        let (range, count) = self.array(range)?;
        let rest = count.checked_sub(1).ok_or(DecodeError::InvalidPayload)?;
        let first = self.token(&range).ok_or(DecodeError::InvalidPayload)?;
        let name = match first.kind {
            Kind::Text => self.text(range.clone()).ok_or(DecodeError::InvalidPayload)?,
            Kind::Unsigned(number) => number.to_string().into(),
            Kind::Signed(number) => number.to_string().into(),
            Kind::Float(number) => number.to_string().into(),
            _ => return Err(DecodeError::InvalidPayload),
        };
        if is_reserved(&name) {
            return Err(DecodeError::InvalidPayload);
        }
        Ok((name, self.args(first.body.end..range.end, rest)))
    }

    fn args(&self, range: Range<usize>, count: usize) -> Args {
        let items = match self.extended {
            true => msgpack::without_extensions(&self.bytes[range]).into(),
            false => self.bytes.slice(range),
        };
        Args::from_msgpack(items, count)
    }
}
