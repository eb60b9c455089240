//! The default parser: a text message `type [N-] [/namespace,] [id] [JSON]`, then N attachments.

use bytes::Bytes;
use bytestring::ByteString;

use super::placeholder::Check;
use super::scan::{self, Fault};
use super::unescape::unescape;
use super::{DecodeError, Decoder, Limits, Parser, json_encode};
use crate::args::{Args, Encoding};
use crate::packet::{Body, MAIN_NAMESPACE, Packet, is_reserved};
use crate::websocket::Frames;

/// The default parser, which every client supports.
///
/// ```
/// use sociable_protocol::{JsonParser, Parser};
/// use sociable_protocol::websocket::Payload;
///
/// let parser = JsonParser::default();
/// let mut decoder = parser.decoder();
/// let text = r#"51-/chat,7["file",{"_placeholder":true,"num":0}]"#;
/// assert_eq!(decoder.text(text.into())?, None);
/// let packet = decoder.binary(vec![1, 2, 3].into())?.expect("complete");
///
/// let frames = parser.encode(&packet);
/// let encoded: Vec<_> = frames.iter().collect();
/// assert_eq!(encoded, [Payload::Text(&format!("4{text}")), Payload::Binary(&[1, 2, 3])]);
/// # Ok::<(), sociable_protocol::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonParser {
    /// The limits of a packet.
    pub limits: Limits,
}

impl JsonParser {
    /// Returns a parser with other limits than the default ones.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl Parser for JsonParser {
    fn encoding(&self) -> Encoding {
        Encoding::Json
    }

    fn encode(&self, packet: &Packet) -> Frames {
        json_encode::encode(packet)
    }

    fn append_text(&self, frames: &Frames, text: &str) -> Option<Frames> {
        json_encode::append_text(frames, text)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(JsonDecoder { limits: self.limits, pending: None })
    }
}

#[derive(Debug)]
struct JsonDecoder {
    limits: Limits,
    /// The packet that awaits attachments.
    pending: Option<Box<Pending>>,
}

#[derive(Debug)]
struct Pending {
    packet: Packet,
    /// The number of attachments, and those received. The list grows as they arrive.
    count: usize,
    attachments: Vec<Bytes>,
}

impl Decoder for JsonDecoder {
    fn text(&mut self, text: ByteString) -> Result<Option<Packet>, DecodeError> {
        if self.pending.is_some() {
            return Err(DecodeError::UnexpectedText);
        }
        let (packet, count) = decode(&text, self.limits)?;
        if count == 0 {
            return Ok(Some(packet));
        }
        self.pending = Some(Box::new(Pending { packet, count, attachments: Vec::new() }));
        Ok(None)
    }

    fn binary(&mut self, bytes: Bytes) -> Result<Option<Packet>, DecodeError> {
        let Some(pending) = &mut self.pending else { return Err(DecodeError::UnexpectedBinary) };
        pending.attachments.push(bytes);
        if pending.attachments.len() < pending.count {
            return Ok(None);
        }
        let complete = self.pending.take().map(|pending| {
            let Pending { mut packet, attachments, .. } = *pending;
            if let Body::Event { args, .. } | Body::Ack { args, .. } = &mut packet.body {
                args.attach(attachments);
            }
            packet
        });
        Ok(complete)
    }
}

/// Decodes a text message. Returns the packet, and the number of attachments that follow.
///
/// The JavaScript parser also accepts an empty message, or whitespace as the type, as a CONNECT, because `Number("")` is 0. No client sends either.
fn decode(text: &ByteString, limits: Limits) -> Result<(Packet, usize), DecodeError> {
    let (kind, rest) = match text.as_bytes().first() {
        Some(digit @ b'0'..=b'6') => (digit - b'0', &text[1..]),
        Some(digit @ b'7'..=b'9') => return Err(DecodeError::UnknownType(Some(digit - b'0'))),
        _ => return Err(DecodeError::UnknownType(None)),
    };
    let (attachments, rest) = if kind >= 5 { attachments(rest, limits)? } else { (0, rest) };
    let (namespace, rest) = namespace(text, rest);
    let (id, payload) = id(rest)?;
    let body = match kind {
        0 if payload.is_empty() => Body::Connect(None),
        0 => Body::Connect(Some(single(text, payload, b"{", limits)?)),
        1 if payload.is_empty() => Body::Disconnect,
        1 => return Err(DecodeError::InvalidPayload),
        2 | 5 => {
            let (name, args) = event(text, payload, attachments, limits)?;
            Body::Event { name, args, id }
        }
        3 | 6 => Body::Ack { args: ack(text, payload, attachments, limits)?, id },
        _ if payload.is_empty() => Body::ConnectError(Args::null(Encoding::Json)),
        _ => Body::ConnectError(single(text, payload, b"{\"", limits)?),
    };
    Ok((Packet { namespace, body }, attachments))
}

/// Parses `N-`.
fn attachments(rest: &str, limits: Limits) -> Result<(usize, &str), DecodeError> {
    let (digits, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
    let rest = rest.strip_prefix('-').ok_or(DecodeError::IllegalAttachments)?;
    if digits.bytes().all(|digit| digit == b'0') {
        return Err(DecodeError::IllegalAttachments);
    }
    match digits.parse() {
        Ok(count) if count <= limits.max_attachments => Ok((count, rest)),
        _ => Err(DecodeError::TooManyAttachments),
    }
}

/// Parses `/namespace,`, or `/namespace` up to the end; without one it is the main namespace. A query is part of the name.
fn namespace<'a>(text: &ByteString, rest: &'a str) -> (ByteString, &'a str) {
    if !rest.starts_with('/') {
        return (ByteString::from_static(MAIN_NAMESPACE), rest);
    }
    let (name, rest) = rest.split_once(',').unwrap_or((rest, ""));
    (text.slice_ref(name), rest)
}

/// Parses the digits of an id. JavaScript also reads whitespace as a number: alone it is 0, around digits it is ignored.
///
/// Whitespace among digits is no number. The JavaScript parser still takes such an id; here it is refused.
fn id(rest: &str) -> Result<(Option<u64>, &str), DecodeError> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let whitespace = |c: char| c == '\u{feff}' || (c != '\u{85}' && c.is_whitespace());
    if !rest[digits..].starts_with(whitespace) {
        let (digits, rest) = rest.split_at(digits);
        return Ok(((!digits.is_empty()).then(|| saturating(digits)), rest));
    }
    let (id, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && !whitespace(c)).unwrap_or(rest.len()));
    let id = id.trim_matches(whitespace);
    if id.contains(whitespace) {
        return Err(DecodeError::InvalidPayload);
    }
    Ok((Some(saturating(id)), rest))
}

/// Returns the number that digits spell, saturated at the greatest; 0 without digits.
fn saturating(digits: &str) -> u64 {
    digits.bytes().fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// Parses an array of name and arguments.
fn event(text: &ByteString, payload: &str, attachments: usize, limits: Limits) -> Result<(ByteString, Args), DecodeError> {
    if payload.is_empty() {
        return Ok((ByteString::new(), Args::empty(Encoding::Json)));
    }
    let array = array(payload, attachments, limits)?;
    let first = &payload[array.first];
    let name = match first.as_bytes() {
        [b'"', raw @ .., b'"'] if raw.contains(&b'\\') => unescape(raw).into(),
        [b'"', .., b'"'] => text.slice_ref(&first[1..first.len() - 1]),
        [b'-' | b'0'..=b'9', ..] => text.slice_ref(first),
        _ => return Err(DecodeError::InvalidPayload),
    };
    if is_reserved(&name) {
        return Err(DecodeError::InvalidPayload);
    }
    Ok((name, Args::from_json(text.slice_ref(&payload[array.rest]), array.count - 1)))
}

/// Parses an array of arguments.
fn ack(text: &ByteString, payload: &str, attachments: usize, limits: Limits) -> Result<Args, DecodeError> {
    if payload.is_empty() {
        return Ok(Args::empty(Encoding::Json));
    }
    let array = array(payload, attachments, limits)?;
    Ok(Args::from_json(text.slice_ref(&payload[array.all]), array.count))
}

fn array(payload: &str, attachments: usize, limits: Limits) -> Result<scan::Array, DecodeError> {
    let refuse = |fault| refuse(fault, limits);
    if attachments == 0 {
        return scan::array(payload.as_bytes(), limits.max_depth, &mut ()).map_err(refuse);
    }
    // Clients send one placeholder for each attachment. A packet that repeats one would multiply its memory.
    let mut check = Check::new(attachments, limits.max_attachments);
    let array = scan::array(payload.as_bytes(), limits.max_depth, &mut check).map_err(refuse)?;
    check.verdict().map(|()| array)
}

/// Parses one value that begins with one of the given characters.
fn single(text: &ByteString, payload: &str, first: &[u8], limits: Limits) -> Result<Args, DecodeError> {
    // The level of an array of arguments is absent, but counts.
    let depth = limits.max_depth.saturating_sub(1);
    let value = &payload[scan::scan_value(payload.as_bytes(), depth).map_err(|fault| refuse(fault, limits))?];
    if !value.as_bytes().first().is_some_and(|byte| first.contains(byte)) {
        return Err(DecodeError::InvalidPayload);
    }
    Ok(Args::from_json(text.slice_ref(value), 1))
}

fn refuse(fault: Fault, limits: Limits) -> DecodeError {
    match fault {
        Fault::Syntax => DecodeError::InvalidPayload,
        Fault::Depth => DecodeError::TooDeep { limit: limits.max_depth },
    }
}
