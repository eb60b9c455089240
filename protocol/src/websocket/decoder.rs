//! Inbound frames: the messages of one client.

use bytes::Bytes;
use bytestring::ByteString;

use super::deflate::{Agreement, Inflater};
use super::error::FrameError;
use super::{BINARY, CLOSE, CONTINUATION, FIN, MASKED, MAX_CONTROL, PING, PONG, RSV, RSV1, TEXT};

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
    /// The opcode with the bit of compression, and the fragments of an incomplete message.
    fragments: Option<Box<(u8, Vec<u8>)>>,
    /// The inflater, if compression was agreed.
    inflater: Option<Box<Inflater>>,
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
        Self { limit, partial: Vec::new(), fragments: None, inflater: None }
    }

    /// Returns the decoder for a client that may compress its messages.
    pub fn deflated(self, agreement: Agreement) -> Self {
        Self { inflater: Some(Box::new(Inflater::new(agreement))), ..self }
    }

    /// Returns whether part of a frame or message is held.
    pub fn is_incomplete(&self) -> bool {
        !self.partial.is_empty() || self.fragments.is_some()
    }

    /// Returns the bytes allocated for an incomplete frame and an incomplete message.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.fragments.as_ref().map_or(0, |fragments| fragments.1.capacity())
    }

    /// Returns the bytes allocated for the context of compressed messages.
    pub fn context_bytes(&self) -> usize {
        self.inflater.as_ref().map_or(0, |inflater| inflater.context_bytes())
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
        let kind = header.first & (RSV1 | 0x0F);
        match header.first & 0x0F {
            TEXT | BINARY if last => {
                let whole = if kind & RSV1 == 0 { Bytes::copy_from_slice(payload) } else { self.inflate(payload)? };
                take(message(kind, whole)?);
            }
            TEXT | BINARY => self.fragments = Some(Box::new((kind, payload.to_vec()))),
            CONTINUATION => {
                let Some(fragments) = &mut self.fragments else { return Err(FrameError::BadContinuation) };
                fragments.1.extend_from_slice(payload);
                if last && let Some(fragments) = self.fragments.take() {
                    let (kind, whole) = *fragments;
                    let whole = if kind & RSV1 == 0 { Bytes::from(whole) } else { self.inflate(&whole)? };
                    take(message(kind, whole)?);
                }
            }
            CLOSE => take(Message::Close(status(payload)?)),
            PING => take(Message::Ping(Bytes::copy_from_slice(payload))),
            _ => take(Message::Pong),
        }
        Ok(Some(total))
    }

    fn inflate(&mut self, payload: &[u8]) -> Result<Bytes, FrameError> {
        self.inflater.as_mut().ok_or(FrameError::ReservedBit)?.inflate(payload, self.limit)
    }

    /// Returns whether the reserved bits mark a compressed message, on its first frame.
    fn is_compressed(&self, first: u8) -> bool {
        self.inflater.is_some() && first & RSV == RSV1 && matches!(first & 0x0F, TEXT | BINARY)
    }

    /// Checks everything that a header reveals, before its payload has arrived.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (first, second) = (*first, *second);
        if first & RSV != 0 && !self.is_compressed(first) {
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

fn message(kind: u8, payload: Bytes) -> Result<Message, FrameError> {
    match kind & 0x0F {
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
