//! Outbound frames: packets encoded once, for every receiver.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::deflate::{MAX_WINDOW_BITS, Settings, deflate_alone};
use super::header::{frame_header, raw_frames};
use super::{BINARY, FIN, MAX_HEADER, TEXT};

/// Complete, unmasked WebSocket frames that belong together: an Engine.IO packet, or a Socket.IO packet with its attachments.
///
/// Clones share the buffer. [Shared](Self::sharing) frames also share their compressed form.
///
/// ```
/// use sociable_protocol::websocket::{Frames, Payload};
///
/// let frames = Frames::text("4hello");
/// assert_eq!(&frames.as_bytes()[..], b"\x81\x064hello");
/// assert_eq!(frames.iter().collect::<Vec<_>>(), [Payload::Text("4hello")]);
/// ```
#[derive(Clone, Debug)]
pub struct Frames {
    bytes: Bytes,
    /// The compressed form, if all clones share it: `None` inside if compression does not pay.
    deflated: Option<Arc<OnceLock<Option<Bytes>>>>,
}

/// Frames are equal if their bytes are.
impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frames {}

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
        Self { bytes: Bytes::from_static(frame), deflated: None }
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
        let whole: usize = payloads(&bytes).map(length).map(|length| frame_header(TEXT, length).1 + length).sum();
        (whole == bytes.len() && whole > 0).then_some(bytes.into())
    }

    /// Returns the bytes on the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the bytes on the wire.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Returns the number of bytes on the wire, headers included.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the frames with a compressed form that all clones share. A broadcast is compressed once by it.
    pub fn sharing(self) -> Self {
        Self { deflated: Some(Arc::default()), ..self }
    }

    /// Returns whether all clones share one compressed form.
    pub fn is_shared(&self) -> bool {
        self.deflated.is_some()
    }

    /// Returns the frames compressed alone, for a client with this window of 8 to 15 bits. `None` if they do not get shorter.
    ///
    /// The first call for shared frames compresses them; other threads wait for that meanwhile. A client with a small window gets a form of its own,
    /// if the message does not fit into its window.
    ///
    /// ```
    /// use sociable_protocol::websocket::Frames;
    /// use sociable_protocol::websocket::deflate::Settings;
    ///
    /// let frames = Frames::text(&"x".repeat(2000)).sharing();
    /// let settings = Settings { threshold: 1024, level: 6, memory_level: 8 };
    /// let deflated = frames.deflated(&settings, 15, |_| {}).unwrap();
    /// assert!(deflated.len() < 50);
    /// assert_eq!(frames.clone().deflated(&settings, 15, |_| unreachable!("compressed before")), Some(deflated));
    /// ```
    ///
    /// `ran` is called after each run of a compressor, with its result.
    pub fn deflated(&self, settings: &Settings, window_bits: u8, ran: impl FnOnce(Option<&Bytes>)) -> Option<Bytes> {
        let run = |bits| {
            let deflated = deflate_alone(&self.bytes, settings, bits);
            ran(deflated.as_ref());
            deflated
        };
        match &self.deflated {
            _ if !self.reach(settings.threshold) => None,
            Some(shared) if self.fits_window(window_bits) => shared.get_or_init(|| run(MAX_WINDOW_BITS)).clone(),
            _ => run(window_bits),
        }
    }

    /// Returns whether some payload has at least this length.
    fn reach(&self, length: usize) -> bool {
        self.bytes.len() >= length && raw_frames(&self.bytes).any(|frame| frame.payload.len() >= length)
    }

    /// Returns whether a client with this window can read the form for the largest. No payload refers further back than to its own beginning.
    fn fits_window(&self, window_bits: u8) -> bool {
        window_bits >= MAX_WINDOW_BITS || raw_frames(&self.bytes).all(|frame| frame.payload.len() <= 1 << window_bits)
    }

    /// Returns an iterator over the payloads of the frames, in order.
    pub fn iter(&self) -> impl Iterator<Item = Payload<'_>> {
        payloads(&self.bytes)
    }
}

impl From<Bytes> for Frames {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, deflated: None }
    }
}

/// Returns an iterator over the payloads of encoded [`Frames`]. Any other input ends the iteration.
pub fn payloads(bytes: &[u8]) -> impl Iterator<Item = Payload<'_>> {
    raw_frames(bytes).map_while(|frame| match frame.opcode {
        TEXT => std::str::from_utf8(frame.payload).ok().map(Payload::Text),
        BINARY => Some(Payload::Binary(frame.payload)),
        _ => None,
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
        bytes.into()
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let (header, length) = frame_header(opcode, payload.len());
        self.buffer.extend_from_slice(&header[..length]);
        self.buffer.extend_from_slice(payload);
    }

    fn frame_with<E>(&mut self, opcode: u8, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let first = self.buffer.is_empty();
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&[0; MAX_HEADER]);
        let payload = self.buffer.len();
        write(&mut self.buffer)?;
        let (header, length) = frame_header(opcode, self.buffer.len() - payload);
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
