//! WebSocket framing (RFC 6455) for servers.
//!
//! Outbound data is encoded once, as complete unmasked frames in one shared buffer: [`Frames`]. Queues hold that buffer, broadcasts share it, and
//! WebSockets write it unchanged; long-polling reads the packets back out of it. Inbound data passes a [`Decoder`]: masked frames in, whole messages
//! out. Each bound is checked before memory is allocated.

use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;
/// The longest header of an unmasked frame: two bytes and a length of eight.
const MAX_HEADER: usize = 10;

/// Complete, unmasked WebSocket frames that belong together: an Engine.IO packet, or a Socket.IO packet with its attachments.
///
/// Clones share the buffer.
///
/// ```
/// use sociable_protocol::websocket::{Frames, Payload};
///
/// let frames = Frames::text("4hello");
/// assert_eq!(&frames.as_bytes()[..], b"\x81\x064hello");
/// assert_eq!(frames.iter().collect::<Vec<_>>(), [Payload::Text("4hello")]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames(Bytes);

/// The payload of one frame of [`Frames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
}

impl Frames {
    /// Returns one text frame.
    pub fn text(payload: &str) -> Self {
        let mut builder = FramesBuilder::with_capacity(payload.len());
        builder.text(payload);
        builder.finish()
    }

    /// Returns one binary frame.
    pub fn binary(payload: &[u8]) -> Self {
        let mut builder = FramesBuilder::with_capacity(payload.len());
        builder.binary(payload);
        builder.finish()
    }

    /// Returns a text frame from constant bytes, header included, without allocation.
    ///
    /// # Panics
    ///
    /// `frame` is not one complete text frame with a payload of at most 125 bytes.
    pub const fn from_static(frame: &'static [u8]) -> Self {
        assert!(frame.len() >= 2 && frame[0] == FIN | TEXT && frame[1] as usize == frame.len() - 2 && frame[1] < 126);
        Self(Bytes::from_static(frame))
    }

    /// Returns the frames in bytes of another process.
    ///
    /// `None` unless they are complete text frames in UTF-8 or binary frames, and nothing else.
    ///
    /// ```
    /// use sociable_protocol::Frames;
    ///
    /// let frames = Frames::text("4hello");
    /// assert_eq!(Frames::read(frames.as_bytes().clone()), Some(frames));
    /// assert_eq!(Frames::read("\x01\x06".into()), None);
    /// ```
    pub fn read(bytes: Bytes) -> Option<Self> {
        let length = |payload| match payload {
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
        };
        let whole: usize = payloads(&bytes).map(length).map(|length| header(TEXT, length).1 + length).sum();
        (whole == bytes.len() && whole > 0).then_some(Self(bytes))
    }

    /// Returns the bytes on the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the bytes on the wire.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Returns the number of bytes on the wire, headers included.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns an iterator over the payloads of the frames, in order.
    pub fn iter(&self) -> impl Iterator<Item = Payload<'_>> {
        payloads(&self.0)
    }
}

/// Returns an iterator over the payloads of encoded [`Frames`]. Any other input ends the iteration.
pub fn payloads(mut bytes: &[u8]) -> impl Iterator<Item = Payload<'_>> {
    std::iter::from_fn(move || {
        let (&first, rest) = bytes.split_first()?;
        let (&short, rest) = rest.split_first()?;
        let (length, rest) = match short {
            126 => rest.split_first_chunk().map(|(n, rest)| (usize::from(u16::from_be_bytes(*n)), rest))?,
            127 => rest.split_first_chunk().map(|(n, rest)| (u64::from_be_bytes(*n) as usize, rest))?,
            n @ 0..126 => (usize::from(n), rest),
            _ => return None,
        };
        let (payload, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        const FINAL_TEXT: u8 = FIN | TEXT;
        const FINAL_BINARY: u8 = FIN | BINARY;
        match first {
            FINAL_TEXT => std::str::from_utf8(payload).ok().map(Payload::Text),
            FINAL_BINARY => Some(Payload::Binary(payload)),
            _ => None,
        }
    })
}

/// A builder of [`Frames`].
///
/// The first header goes in front of its payload once the length is final. So the payload is never moved.
#[derive(Debug)]
pub struct FramesBuilder {
    buffer: Vec<u8>,
    /// The start of the first header.
    start: usize,
}

impl FramesBuilder {
    /// Returns a builder. `payload` is an estimate of the length of all payloads together.
    pub fn with_capacity(payload: usize) -> Self {
        Self { buffer: Vec::with_capacity(payload + MAX_HEADER), start: 0 }
    }

    /// Adds a text frame.
    pub fn text(&mut self, payload: &str) {
        self.frame(TEXT, payload.as_bytes());
    }

    /// Adds a binary frame.
    pub fn binary(&mut self, payload: &[u8]) {
        self.frame(BINARY, payload);
    }

    /// Adds a text frame whose payload `write` appends to the buffer. The payload has to be UTF-8.
    ///
    /// # Errors
    ///
    /// The errors of `write`. The builder is then unusable.
    pub fn text_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.frame_with(TEXT, write)
    }

    /// Adds a binary frame whose payload `write` appends to the buffer.
    ///
    /// # Errors
    ///
    /// The errors of `write`. The builder is then unusable.
    pub fn binary_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.frame_with(BINARY, write)
    }

    /// Returns the frames added so far.
    pub fn finish(self) -> Frames {
        let mut bytes = Bytes::from(self.buffer);
        if self.start > 0 {
            bytes = bytes.slice(self.start..);
        }
        Frames(bytes)
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let (header, length) = header(opcode, payload.len());
        self.buffer.extend_from_slice(&header[..length]);
        self.buffer.extend_from_slice(payload);
    }

    fn frame_with<E>(&mut self, opcode: u8, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let first = self.buffer.is_empty();
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&[0; MAX_HEADER]);
        let payload = self.buffer.len();
        write(&mut self.buffer)?;
        let (header, length) = header(opcode, self.buffer.len() - payload);
        if first {
            self.start = payload - length;
            self.buffer[self.start..payload].copy_from_slice(&header[..length]);
        } else {
            self.buffer[begin..begin + length].copy_from_slice(&header[..length]);
            self.buffer.drain(begin + length..payload);
        }
        Ok(())
    }
}

fn header(opcode: u8, length: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = FIN | opcode;
    let used = match length {
        0..=125 => {
            header[1] = length as u8;
            2
        }
        126..=0xFFFF => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (header, used)
}

/// A close frame without a status, as the JavaScript server sends it.
pub const CLOSE_FRAME: &[u8] = &[FIN | CLOSE, 0];

/// Returns a close frame with a status code.
pub fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [FIN | CLOSE, 2, high, low]
}

/// Returns a pong frame with the payload of a ping, cut to the 125 bytes of a control frame.
pub fn pong_frame(payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    let mut frame = vec![FIN | PONG, payload.len() as u8];
    frame.extend_from_slice(payload);
    frame
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole text message.
    Text(ByteString),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping of the WebSocket layer, to be answered with the same payload.
    Ping(Bytes),
    /// A pong of the WebSocket layer.
    Pong,
    /// The client's close of the connection, with a status code or without.
    Close(Option<u16>),
}

/// The error of a client's frames. The connection cannot be used any more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The frame is not masked, as a client's has to be.
    #[error("frame not masked")]
    NotMasked,
    /// A reserved bit is set without an agreed extension.
    #[error("reserved bit set")]
    ReservedBit,
    /// The opcode is undefined.
    #[error("unknown opcode {0}")]
    UnknownOpcode(u8),
    /// A control frame is fragmented, longer than 125 bytes, or closes with a forbidden status code.
    #[error("malformed control frame")]
    BadControl,
    /// A continuation came without a beginning, or a beginning inside a fragmented message.
    #[error("frame out of order")]
    BadContinuation,
    /// The message is longer than the limit.
    #[error("message longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A text message is not UTF-8.
    #[error("text message is not UTF-8")]
    NotUtf8,
}

impl FrameError {
    /// Returns the status code for the close frame.
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLarge { .. } => 1009,
            Self::NotUtf8 => 1007,
            _ => 1002,
        }
    }
}

/// A decoder of one client's byte stream into messages.
///
/// An idle decoder holds no buffer: bytes are kept only while a frame or a fragmented message is incomplete. A buffer grows with the received bytes,
/// not with the announced length.
///
/// ```
/// use sociable_protocol::websocket::{Decoder, Message};
///
/// let mut decoder = Decoder::new(1_000_000);
/// let mut chunk = *b"\x81\x82\0\0\0\0hi\x81";
/// let mut messages = vec![];
/// decoder.read(&mut chunk, |message| messages.push(message))?;
/// assert_eq!(messages, [Message::Text("hi".into())]);
/// # Ok::<(), sociable_protocol::websocket::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// The longest message, in bytes.
    limit: usize,
    /// The beginning of an incomplete frame.
    partial: Vec<u8>,
    /// The opcode and the fragments of an incomplete message.
    fragments: Option<Box<(u8, Vec<u8>)>>,
}

struct Header {
    first: u8,
    /// The length of header and mask.
    length: usize,
    payload: usize,
}

impl Decoder {
    /// Returns a decoder. `limit` is the longest message, in bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), fragments: None }
    }

    /// Returns whether part of a frame or message is held.
    pub fn is_incomplete(&self) -> bool {
        !self.partial.is_empty() || self.fragments.is_some()
    }

    /// Returns the bytes allocated for an incomplete frame and an incomplete message.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.fragments.as_ref().map_or(0, |fragments| fragments.1.capacity())
    }

    /// Decodes received bytes, and calls `take` with each complete message, in order. `chunk` is unmasked in place.
    ///
    /// # Errors
    ///
    /// The first frame that breaks the protocol or a bound. Messages before it have been taken.
    pub fn read(&mut self, mut chunk: &mut [u8], mut take: impl FnMut(Message)) -> Result<(), FrameError> {
        while !self.partial.is_empty() {
            // Completes the kept frame with just the missing bytes: first of its header, then of its payload.
            let have = self.partial.len();
            let need = match self.parse_header(&self.partial)? {
                None => header_need(&self.partial),
                Some(header) => header.length.saturating_add(header.payload),
            };
            let (more, rest) = chunk.split_at_mut((need - have).min(chunk.len()));
            self.partial.extend_from_slice(more);
            chunk = rest;
            if self.partial.len() < need {
                return Ok(());
            }
            let mut frame = std::mem::take(&mut self.partial);
            if self.frame(&mut frame, &mut take)?.is_none() {
                self.partial = frame;
            }
        }
        while !chunk.is_empty() {
            match self.frame(chunk, &mut take)? {
                Some(used) => chunk = &mut chunk[used..],
                None => {
                    self.partial.extend_from_slice(chunk);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Decodes one frame at the front of `bytes`. Returns its length, or `None` if it is incomplete.
    fn frame(&mut self, bytes: &mut [u8], take: &mut impl FnMut(Message)) -> Result<Option<usize>, FrameError> {
        let Some(header) = self.parse_header(bytes)? else { return Ok(None) };
        let total = header.length.saturating_add(header.payload);
        let Some(payload) = bytes.get_mut(header.length - 4..total) else { return Ok(None) };
        let (mask, payload) = payload.split_at_mut(4);
        unmask(payload, [mask[0], mask[1], mask[2], mask[3]]);

        let last = header.first & FIN != 0;
        match header.first & 0x0F {
            opcode @ (TEXT | BINARY) if last => take(message(opcode, Bytes::copy_from_slice(payload))?),
            opcode @ (TEXT | BINARY) => self.fragments = Some(Box::new((opcode, payload.to_vec()))),
            CONTINUATION => {
                let Some(fragments) = &mut self.fragments else { return Err(FrameError::BadContinuation) };
                fragments.1.extend_from_slice(payload);
                if last && let Some(whole) = self.fragments.take() {
                    take(message(whole.0, Bytes::from(whole.1))?);
                }
            }
            CLOSE => take(Message::Close(status(payload)?)),
            PING => take(Message::Ping(Bytes::copy_from_slice(payload))),
            _ => take(Message::Pong),
        }
        Ok(Some(total))
    }

    /// Checks everything that a header reveals, before its payload has arrived.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (first, second) = (*first, *second);
        if first & RSV != 0 {
            return Err(FrameError::ReservedBit);
        }
        if second & MASKED == 0 {
            return Err(FrameError::NotMasked);
        }
        let opcode = first & 0x0F;
        let control = match opcode {
            CONTINUATION | TEXT | BINARY => false,
            CLOSE | PING | PONG => true,
            _ => return Err(FrameError::UnknownOpcode(opcode)),
        };
        let short = second & !MASKED;
        if control && (first & FIN == 0 || usize::from(short) > MAX_CONTROL) {
            return Err(FrameError::BadControl);
        }
        if !control && (opcode == CONTINUATION) != self.fragments.is_some() {
            return Err(FrameError::BadContinuation);
        }
        let (payload, length) = match short {
            126 => match rest.first_chunk() {
                Some(n) => (u64::from(u16::from_be_bytes(*n)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(n) => (u64::from_be_bytes(*n), 10),
                None => return Ok(None),
            },
            n => (u64::from(n), 2),
        };
        let before = match &self.fragments {
            Some(fragments) if !control => fragments.1.len(),
            _ => 0,
        };
        // The limit applies to messages; control frames are short.
        if !control && payload > (self.limit.saturating_sub(before)) as u64 {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        Ok(Some(Header { first, length: length + 4, payload: payload as usize }))
    }
}

/// Returns the status code of a close frame.
fn status(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(None),
        None => Err(FrameError::BadControl),
        Some((code, reason)) => match u16::from_be_bytes(*code) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => {
                std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
                Ok(Some(code))
            }
            _ => Err(FrameError::BadControl),
        },
    }
}

/// Returns the length of an incomplete header, as far as its beginning reveals it.
fn header_need(bytes: &[u8]) -> usize {
    match bytes.get(1).map(|second| second & !MASKED) {
        None => 2,
        Some(126) => 4,
        Some(127) => 10,
        Some(_) => 6,
    }
}

fn message(opcode: u8, payload: Bytes) -> Result<Message, FrameError> {
    match opcode {
        TEXT => ByteString::try_from(payload).map(Message::Text).map_err(|_| FrameError::NotUtf8),
        _ => Ok(Message::Binary(payload)),
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 99, 200, 3];
        let (mut header, length) = header(0, payload.len());
        header[0] = first;
        header[1] |= MASKED;
        let mut frame = header[..length].to_vec();
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    fn decode(limit: usize, bytes: &[u8], step: usize) -> (Vec<Message>, Result<(), FrameError>) {
        let mut decoder = Decoder::new(limit);
        let mut messages = vec![];
        for chunk in bytes.chunks(step.max(1)) {
            if let Err(error) = decoder.read(&mut chunk.to_vec(), |message| messages.push(message)) {
                return (messages, Err(error));
            }
        }
        (messages, Ok(()))
    }

    #[test]
    fn frames_of_every_header_length_are_read_back() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            let mut builder = FramesBuilder::with_capacity(0);
            builder
                .text_with(|out| {
                    out.extend_from_slice(text.as_bytes());
                    Ok::<_, ()>(())
                })
                .unwrap();
            builder.binary(text.as_bytes());
            builder
                .text_with(|out| {
                    out.extend_from_slice(text.as_bytes());
                    Ok::<_, ()>(())
                })
                .unwrap();
            let frames = builder.finish();
            let expected = [Payload::Text(&text), Payload::Binary(text.as_bytes()), Payload::Text(&text)];
            assert_eq!(frames.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn control_frame_may_come_between_fragments() {
        let mut bytes = client_frame(TEXT, b"he");
        bytes.extend(client_frame(FIN | PING, b"?"));
        bytes.extend(client_frame(FIN | CONTINUATION, b"llo"));
        let (messages, end) = decode(100, &bytes, 1);
        assert_eq!(messages, [Message::Ping(Bytes::from_static(b"?")), Message::Text("hello".into())]);
        assert_eq!(end, Ok(()));
    }

    #[test]
    fn protocol_violations_are_refused() {
        let refused = |bytes: &[u8]| decode(10, bytes, 3).1.unwrap_err();
        assert_eq!(refused(&[FIN | TEXT, 1, b'x']), FrameError::NotMasked);
        assert_eq!(refused(&client_frame(FIN | 0x40 | TEXT, b"x")), FrameError::ReservedBit);
        assert_eq!(refused(&client_frame(FIN | 3, b"x")), FrameError::UnknownOpcode(3));
        assert_eq!(refused(&client_frame(PING, b"x")), FrameError::BadControl);
        assert_eq!(refused(&client_frame(FIN | PING, &[0; 126])), FrameError::BadControl);
        assert_eq!(refused(&client_frame(FIN | CONTINUATION, b"x")), FrameError::BadContinuation);
        assert_eq!(refused(&[client_frame(TEXT, b"x"), client_frame(TEXT, b"x")].concat()), FrameError::BadContinuation);
        assert_eq!(refused(&client_frame(FIN | TEXT, &[0xFF])), FrameError::NotUtf8);
        assert_eq!(refused(&client_frame(FIN | TEXT, &[b'x'; 11])), FrameError::TooLarge { limit: 10 });
    }

    #[test]
    fn limit_applies_to_all_fragments_together() {
        let bytes = [client_frame(BINARY, &[0; 6]), client_frame(FIN | CONTINUATION, &[0; 6])].concat();
        assert_eq!(decode(10, &bytes, 100).1, Err(FrameError::TooLarge { limit: 10 }));
        assert_eq!(decode(12, &bytes, 100).0, [Message::Binary(Bytes::from_static(&[0; 12]))]);
    }

    #[test]
    fn announced_length_takes_no_memory() {
        let mut decoder = Decoder::new(usize::MAX);
        let mut head = vec![FIN | BINARY, MASKED | 127];
        head.extend((1u64 << 40).to_be_bytes());
        head.extend([0; 4]);
        decoder.read(&mut head, |_| panic!("no message")).unwrap();
        assert!(decoder.partial.capacity() < 100);
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5), step in 1usize..400) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| client_frame(FIN | BINARY, payload)).collect();
            let (messages, end) = decode(1000, &bytes, step);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(messages, payloads.into_iter().map(|p| Message::Binary(p.into())).collect::<Vec<_>>());
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
            let _ = decode(64, &bytes, step);
        }
    }
}
